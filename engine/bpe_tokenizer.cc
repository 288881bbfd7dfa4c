#include "engine/bpe_tokenizer.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <new>
#include <optional>
#include <set>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "engine/bpe_merger.h"
#include "engine/byte_alphabet.h"
#include "engine/error.h"
#include "engine/piece_table.h"
#include "engine/utf8.h"

namespace tern {
namespace {

// Below U+0300, UTF-8's CC 80, no character composes with another.
bool MayNotBeNfc(std::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return static_cast<uint8_t>(c) >= 0xCC; });
}

// `text` is valid UTF-8.
std::string ToNfc(std::string_view text) {
  utf8proc_uint8_t* mapped = nullptr;
  const utf8proc_ssize_t size =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                   static_cast<utf8proc_ssize_t>(text.size()), &mapped,
                   static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  if (size < 0) throw std::bad_alloc();  // nothing else fails on valid text
  const std::string result(reinterpret_cast<const char*>(mapped), static_cast<size_t>(size));
  std::free(mapped);
  return result;
}

class BpeTokenizer final : public PieceTableTokenizer {
 public:
  explicit BpeTokenizer(const BpeVocabulary& vocabulary)
      : where_(vocabulary.where),
        pre_tokenizer_(vocabulary.stages, vocabulary.where),
        by_bytes_(vocabulary.spelling == BpeVocabulary::Spelling::kByteLevel),
        prefix_(vocabulary.prefix),
        nfc_(vocabulary.nfc),
        bos_(vocabulary.bos),
        eos_(vocabulary.eos) {
    puts_space_ = prefix_ != BpeVocabulary::Prefix::kNone;
    ReadTokens(vocabulary);
    ReadMerges(vocabulary);
    if (vocabulary.ignore_merges) ReadWholePieces(vocabulary);
    for (const TokenId id : {bos_, eos_}) {
      if (id < -1 || id >= vocab_size()) {
        throw Bad("id of a special token", "at most " + std::to_string(vocab_size() - 1),
                  std::to_string(id));
      }
    }
  }

  TokenId bos() const override { return bos_; }
  TokenId eos() const override { return eos_; }
  std::vector<AddedToken> ControlTokens() const override { return control_; }

  std::vector<TokenId> Encode(std::string_view text) const override {
    std::vector<TokenId> ids;
    Run run{BpeMerger(merges_), {}, ids};
    user_defined_.Scan(
        text, [&](std::string_view stretch) { EncodeStretch(stretch, run); },
        [&](TokenId id) { ids.push_back(id); });
    return ids;
  }

 private:
  struct Run {
    BpeMerger merger;
    std::vector<TokenId> symbols;  // scratch
    std::vector<TokenId>& ids;
  };

  Error Bad(const std::string& what, const std::string& expected, const std::string& got) const {
    return BadFile({where_, what, expected, got, "fetch the tokenizer's files again"});
  }

  void ReadTokens(const BpeVocabulary& vocabulary) {
    if (vocabulary.types.size() != vocabulary.tokens.size()) {
      throw Bad("token types", std::to_string(vocabulary.tokens.size()) + " as of tokens",
                std::to_string(vocabulary.types.size()));
    }
    byte_ids_.fill(-1);
    bytes_.resize(vocabulary.tokens.size());
    std::vector<AddedToken> user_defined;
    for (size_t i = 0; i < bytes_.size(); ++i) {
      const auto id = static_cast<TokenId>(i);
      const std::string& token = vocabulary.tokens[i];
      switch (vocabulary.types[i]) {
        case TokenType::kControl:
        case TokenType::kUnknown:
          control_.push_back({token, id});
          break;
        case TokenType::kUserDefined:
          user_defined.push_back({token, id});
          bytes_[i] = token;
          break;
        case TokenType::kUnused:
          break;
        case TokenType::kByte:
          ReadByteToken(token, id);
          break;
        case TokenType::kNormal:
          ReadNormalToken(token, id);
      }
    }
    user_defined_ = AddedTokenMatcher(std::move(user_defined));
    for (uint8_t byte = ' '; byte <= '~'; ++byte) {
      if (byte_ids_[byte] >= 0 || characters_.contains(std::string(1, static_cast<char>(byte)))) {
        continue;
      }
      throw Unsupported(where_ + ": byte " + std::to_string(byte) + " has no token, so plain " +
                        "text could not be represented; use a tokenizer with byte-level tokens " +
                        "or byte fallback");
    }
  }

  void ReadByteToken(const std::string& token, TokenId id) {  // "<0xAB>"
    uint8_t value = 0;
    const char* const end = token.data() + token.size() - 1;
    const bool framed = token.size() == 6 && token.starts_with("<0x") && token.ends_with('>');
    if (!framed || std::from_chars(token.data() + 3, end, value, 16).ptr != end) {
      throw Bad("byte token " + std::to_string(id), "<0x00> to <0xFF>", "\"" + token + "\"");
    }
    bytes_[static_cast<size_t>(id)].assign(1, static_cast<char>(value));
    byte_ids_[value] = id;
  }

  void ReadNormalToken(const std::string& token, TokenId id) {
    std::string& bytes = bytes_[static_cast<size_t>(id)];
    if (!by_bytes_) {
      bytes = WithSpaces(token);
      if (!bytes.empty() && Utf8Length(bytes) == bytes.size()) characters_.emplace(bytes, id);
      return;
    }
    // What is not spelled in bytes can still be written by the model, as it stands.
    bytes = UnspellBytes(token).value_or(token);
    if (bytes.size() == 1 && SpellBytes(bytes) == token) {
      byte_ids_[static_cast<uint8_t>(bytes[0])] = id;
    }
  }

  void ReadMerges(const BpeVocabulary& vocabulary) {
    std::unordered_map<std::string_view, TokenId> ids;
    std::set<std::string, std::less<>> added;
    ids.reserve(vocabulary.tokens.size());
    for (size_t i = 0; i < vocabulary.tokens.size(); ++i) {
      if (vocabulary.types[i] == TokenType::kNormal) {
        ids.emplace(vocabulary.tokens[i], static_cast<TokenId>(i));
      } else {
        added.insert(by_bytes_ ? SpellBytes(vocabulary.tokens[i]) : vocabulary.tokens[i]);
      }
    }
    merges_.Reserve(vocabulary.merges.size());
    std::string merged;
    for (size_t rank = 0; rank < vocabulary.merges.size(); ++rank) {
      const std::string_view merge = vocabulary.merges[rank];
      const size_t space = merge.find(' ');
      if (space == std::string_view::npos) {
        throw Bad("merge " + std::to_string(rank), "two tokens with a space between them",
                  "\"" + vocabulary.merges[rank] + "\"");
      }
      merged.assign(merge.substr(0, space)).append(merge.substr(space + 1));
      const auto left = ids.find(merge.substr(0, space)), right = ids.find(merge.substr(space + 1)),
                 whole = ids.find(merged);
      if (left == ids.end() || right == ids.end() || whole == ids.end()) {
        // Added tokens are found before merges or not at all, so merges must not make them.
        if (added.contains(merge.substr(0, space)) || added.contains(merge.substr(space + 1)) ||
            added.contains(merged)) {
          continue;
        }
        throw Bad("merge " + std::to_string(rank), "two tokens whose union is a token",
                  "\"" + vocabulary.merges[rank] + "\"");
      }
      merges_.Add(left->second, right->second, {static_cast<uint32_t>(rank), whole->second});
    }
  }

  void ReadWholePieces(const BpeVocabulary& vocabulary) {
    whole_.reserve(bytes_.size());
    for (size_t i = 0; i < bytes_.size(); ++i) {
      const bool spelled = !by_bytes_ || UnspellBytes(vocabulary.tokens[i]);
      if (vocabulary.types[i] == TokenType::kNormal && spelled) {
        whole_.emplace(bytes_[i], static_cast<TokenId>(i));
      }
    }
  }

  // Runs of invalid bytes are pieces of their own: patterns know characters only.
  void EncodeStretch(std::string_view text, Run& run) const {
    std::string prefixed;
    if (prefix_ == BpeVocabulary::Prefix::kSpace ||
        (prefix_ == BpeVocabulary::Prefix::kSpaceIfMissing && !text.starts_with(' '))) {
      prefixed.append(" ").append(text);
      text = prefixed;
    }
    for (size_t at = 0; at < text.size();) {
      const size_t begin = at;
      while (const size_t length = Utf8Length(text.substr(at))) at += length;
      if (at > begin) EncodeValid(text.substr(begin, at - begin), run);
      const size_t bad = at;
      while (at < text.size() && Utf8Length(text.substr(at)) == 0) ++at;
      if (at > bad) EncodePiece(text.substr(bad, at - bad), run);
    }
  }

  void EncodeValid(std::string_view text, Run& run) const {
    std::string normal;
    if (nfc_ && MayNotBeNfc(text)) {
      normal = ToNfc(text);
      text = normal;
    }
    for (const std::string_view piece : pre_tokenizer_.Split(text)) EncodePiece(piece, run);
  }

  void EncodePiece(std::string_view piece, Run& run) const {
    const auto whole = whole_.find(piece);
    if (whole != whole_.end()) {
      run.ids.push_back(whole->second);
      return;
    }
    run.symbols.clear();
    for (size_t at = 0; at < piece.size();) {
      const size_t length = by_bytes_ ? 1 : std::max<size_t>(Utf8Length(piece.substr(at)), 1);
      const auto character = characters_.find(piece.substr(at, length));
      if (character != characters_.end()) {
        run.symbols.push_back(character->second);
      } else {
        for (const char c : piece.substr(at, length)) {
          const TokenId byte = byte_ids_[static_cast<uint8_t>(c)];
          if (byte >= 0) run.symbols.push_back(byte);
        }
      }
      at += length;
    }
    run.merger.Run(run.symbols, run.ids);
  }

  std::string where_;
  PreTokenizer pre_tokenizer_;
  bool by_bytes_;  // symbols are bytes, else characters
  BpeVocabulary::Prefix prefix_;
  bool nfc_;
  TokenId bos_, eos_;
  std::array<TokenId, 256> byte_ids_;                         // the token of each byte, -1: none
  std::unordered_map<std::string_view, TokenId> characters_;  // into bytes_, unless by_bytes_
  std::unordered_map<std::string_view, TokenId> whole_;  // into bytes_, where merges are ignored
  BpeMerges merges_;
  std::vector<AddedToken> control_;
  AddedTokenMatcher user_defined_;
};

constexpr const char* kLlama3Pattern =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|"
    " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
constexpr const char* kQwen2Pattern =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|"
    " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
constexpr size_t kMaxPiece = 1024;  // bytes; no model's is longer, and every cut of it is tried

}  // namespace

std::unique_ptr<Tokenizer> MakeBpeTokenizer(const BpeVocabulary& vocabulary) {
  return std::make_unique<BpeTokenizer>(vocabulary);
}

void SetPreTokenizer(std::string_view pre, BpeVocabulary& vocabulary) {
  using Behaviour = SplitStage::Behaviour;
  const auto is = [pre](auto... names) { return ((pre == names) || ...); };
  const bool old_llama3 = pre.empty() && vocabulary.tokens.size() == kLlama3Tokens;
  if (old_llama3 || is("llama-bpe", "llama3", "llama-v3", "falcon3", "falcon_e", "falcon-e")) {
    vocabulary.stages = {{kLlama3Pattern}};
    vocabulary.ignore_merges = true;
  } else if (is("qwen2")) {
    vocabulary.stages = {{kQwen2Pattern}};
    vocabulary.nfc = true;  // as in the models' own files; GGUF has no key for it
  } else if (is("gpt-2", "phi-2", "mpt", "olmo", "jais")) {
    vocabulary.stages = {{kGpt2Pattern}};
  } else if (is("falcon")) {
    vocabulary.stages = {{kPunctuationPattern, Behaviour::kContiguous},
                         {kGpt2Pattern},
                         {"\\p{N}", Behaviour::kContiguous, false, true},
                         {"[0-9][0-9][0-9]", Behaviour::kIsolated, false, true}};
  } else if (is("starcoder", "refact", "command-r", "smollm", "codeshell", "exaone")) {
    vocabulary.stages = {{"\\p{N}"}, {kGpt2Pattern}};
  } else {
    throw Unsupported(vocabulary.where + ": tokenizer.ggml.pre is \"" + std::string(pre) +
                      "\", expected llama-bpe, falcon3, falcon, qwen2, gpt-2, starcoder, refact " +
                      "or a name of the same rules; use the model's Hugging Face files");
  }
}

std::string PreTokenizerName(const BpeVocabulary& vocabulary) {
  for (const char* name : {"llama-bpe", "qwen2", "gpt-2", "falcon", "starcoder"}) {
    BpeVocabulary named;
    SetPreTokenizer(name, named);
    if (named.stages == vocabulary.stages && named.nfc == vocabulary.nfc) return name;
  }
  return "";
}

void SetSentencePieceMerges(std::span<const float> scores, BpeVocabulary& vocabulary) {
  struct Merge {
    float score;
    std::string text;
  };
  const std::vector<std::string>& tokens = vocabulary.tokens;
  if (scores.size() != tokens.size() || vocabulary.types.size() != tokens.size()) {
    throw BadFile(
        {vocabulary.where, "token scores and types", std::to_string(tokens.size()),
         std::to_string(scores.size()) + " and " + std::to_string(vocabulary.types.size()),
         "fetch the file again"});
  }
  std::unordered_set<std::string_view> pieces;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (vocabulary.types[i] == TokenType::kNormal) pieces.insert(tokens[i]);
  }
  std::vector<Merge> merges;
  for (size_t i = 0; i < tokens.size(); ++i) {
    const std::string_view token = tokens[i];
    if (vocabulary.types[i] != TokenType::kNormal || token.size() > kMaxPiece) continue;
    if (!std::isfinite(scores[i])) {
      throw BadFile({vocabulary.where, "score of token " + std::to_string(i), "a number",
                     std::to_string(scores[i]), "fetch the file again"});
    }
    for (size_t cut = Utf8Length(token); cut > 0 && cut < token.size();) {
      const std::string_view left = token.substr(0, cut), right = token.substr(cut);
      if (pieces.contains(left) && pieces.contains(right)) {
        merges.push_back({scores[i], std::string(left).append(" ").append(right)});
      }
      const size_t next = Utf8Length(right);
      cut = next == 0 ? 0 : cut + next;
    }
  }
  std::stable_sort(merges.begin(), merges.end(),
                   [](const Merge& a, const Merge& b) { return a.score > b.score; });
  vocabulary.spelling = BpeVocabulary::Spelling::kSpaceMarks;
  vocabulary.merges.clear();
  for (Merge& merge : merges) vocabulary.merges.push_back(std::move(merge.text));
}

}  // namespace tern
