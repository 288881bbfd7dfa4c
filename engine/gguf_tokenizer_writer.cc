#include "engine/gguf_tokenizer_writer.h"

#include <algorithm>
#include <filesystem>
#include <limits>
#include <map>
#include <set>

#include "engine/atomic_file.h"
#include "engine/bpe_tokenizer.h"
#include "engine/chat_template.h"
#include "engine/error.h"
#include "engine/gguf.h"
#include "engine/gguf_tokenizer.h"
#include "engine/sentencepiece_proto.h"
#include "engine/tokenizer.h"
#include "engine/tokenizer_json_reader.h"

namespace tern {
namespace {

constexpr const char* kChatTemplate = "tokenizer.chat_template";
constexpr const char* kEnds[] = {"eos_token_id", "eot_token_id", "eom_token_id"};

std::string Key(const char* name) { return std::string("tokenizer.ggml.") + name; }

// What every kind of tokenizer has.
struct Vocabulary {
  std::vector<std::string> tokens;
  std::vector<int32_t> types;
  std::vector<float> scores;  // empty: none

  void Put(size_t id, const std::string& text, TokenType type, float score = 0) {
    if (id >= tokens.size()) Resize(id + 1);
    tokens[id] = text;
    types[id] = static_cast<int32_t>(type);
    scores[id] = score;
  }
  // Ids without a token become padding, which nothing makes.
  void Resize(size_t size) {
    for (size_t id = tokens.size(); id < size; ++id) {
      tokens.push_back("[PAD" + std::to_string(id) + "]");
      types.push_back(static_cast<int32_t>(TokenType::kUnused));
      scores.push_back(0);
    }
  }
};

void AddVocabulary(Vocabulary vocabulary, const ModelConfig& config, bool with_scores,
                   GgufMetadataToWrite& metadata) {
  const auto size = static_cast<size_t>(config.vocab_size);
  if (vocabulary.tokens.size() > size) {
    throw Unsupported("the tokenizer has " + std::to_string(vocabulary.tokens.size()) +
                      " tokens and the model " + std::to_string(size) +
                      "; GGUF holds one vocabulary for both");
  }
  vocabulary.Resize(size);
  metadata.emplace_back(Key("tokens"), std::move(vocabulary.tokens));
  metadata.emplace_back(Key("token_type"), std::move(vocabulary.types));
  if (with_scores) metadata.emplace_back(Key("scores"), std::move(vocabulary.scores));
}

Vocabulary VocabularyOf(const BpeVocabulary& bpe) {
  Vocabulary vocabulary;
  vocabulary.Resize(bpe.tokens.size());
  for (size_t id = 0; id < bpe.tokens.size(); ++id) {
    if (bpe.types[id] != TokenType::kUnused) vocabulary.Put(id, bpe.tokens[id], bpe.types[id]);
  }
  return vocabulary;
}

// Merges by the text they make, in groups of the same text: what scores can say.
std::vector<std::set<std::string>> MergeGroups(const std::vector<std::string>& merges,
                                               std::vector<std::string>* texts) {
  std::vector<std::set<std::string>> groups;
  std::string last;
  for (const std::string& merge : merges) {
    std::string text = merge;
    text.erase(text.find(' '), 1);
    if (groups.empty() || text != last) {
      groups.emplace_back();
      if (texts != nullptr) texts->push_back(text);
    }
    groups.back().insert(merge);
    last = text;
  }
  return groups;
}

// Scores by which sentencepiece's BPE merges as `bpe` does: the earlier, the higher.
void SetScores(const BpeVocabulary& bpe, Vocabulary& vocabulary) {
  std::vector<std::string> texts;
  const auto groups = MergeGroups(bpe.merges, &texts);
  std::map<std::string, float> score_of;
  for (const std::string& text : texts) {
    score_of.emplace(text, -static_cast<float>(score_of.size()));
  }
  for (size_t id = 0; id < bpe.tokens.size(); ++id) {
    const auto found = score_of.find(bpe.tokens[id]);
    const float last = -static_cast<float>(texts.size());
    vocabulary.scores[id] = found != score_of.end() ? found->second : last;
  }
  BpeVocabulary read = bpe;
  SetSentencePieceMerges({vocabulary.scores.data(), bpe.tokens.size()}, read);
  if (MergeGroups(read.merges, nullptr) != groups) {
    throw Unsupported(bpe.where +
                      ": its merges are in no order that a score per token gives, "
                      "which is what GGUF holds");
  }
}

void AddTokenizerJson(const std::string& dir, const ModelConfig& config,
                      GgufMetadataToWrite& metadata) {
  const BpeVocabulary bpe = ReadTokenizerJson(ReadTokenizerFiles(dir));
  Vocabulary vocabulary = VocabularyOf(bpe);
  if (bpe.spelling == BpeVocabulary::Spelling::kByteLevel) {
    const std::string pre = PreTokenizerName(bpe);
    if (pre.empty()) {
      throw Unsupported(bpe.where + ": GGUF has no name for its pre-tokenizer's rules");
    }
    metadata.emplace_back(Key("model"), std::string("gpt2"));
    metadata.emplace_back(Key("pre"), pre);
    AddVocabulary(std::move(vocabulary), config, /*with_scores=*/false, metadata);
    metadata.emplace_back(Key("merges"), bpe.merges);
    return;
  }
  if (!bpe.stages.empty() || bpe.nfc || bpe.ignore_merges ||
      bpe.prefix == BpeVocabulary::Prefix::kSpaceIfMissing) {
    throw Unsupported(bpe.where +
                      ": GGUF's \"llama\" tokenizer has no normal form, pre-tokenizer " +
                      "or optional space before a text, and this one has");
  }
  SetScores(bpe, vocabulary);
  const auto unknown = std::find(bpe.types.begin(), bpe.types.end(), TokenType::kUnknown);
  if (unknown != bpe.types.end()) {
    metadata.emplace_back(Key("unknown_token_id"),
                          static_cast<uint32_t>(unknown - bpe.types.begin()));
  }
  metadata.emplace_back(Key("model"), std::string("llama"));
  AddVocabulary(std::move(vocabulary), config, /*with_scores=*/true, metadata);
  metadata.emplace_back(Key("add_space_prefix"), bpe.prefix == BpeVocabulary::Prefix::kSpace);
}

void AddSentencePiece(const std::string& dir, const ModelConfig& config,
                      GgufMetadataToWrite& metadata) {
  const std::string path = dir + "/tokenizer.model";
  const SentencePieceModel model = ParseSentencePieceModel(ReadFile(path), path);
  Vocabulary vocabulary;
  int64_t unknown = -1;
  for (size_t id = 0; id < model.pieces.size(); ++id) {
    const auto& [text, score, type] = model.pieces[id];
    vocabulary.Put(id, text, type, score);
    if (type == TokenType::kUnknown) unknown = static_cast<int64_t>(id);
  }
  for (const auto& [token, control] : AddedPieces(ReadTokenizerFiles(dir))) {
    const auto id = static_cast<size_t>(token.id);
    if (id < model.pieces.size()) continue;
    vocabulary.Put(id, token.text, control ? TokenType::kControl : TokenType::kUserDefined);
  }
  metadata.emplace_back(Key("model"), std::string(model.bpe ? "llama" : "t5"));
  AddVocabulary(std::move(vocabulary), config, /*with_scores=*/true, metadata);
  metadata.emplace_back(Key("add_space_prefix"), model.space_prefix);
  metadata.emplace_back(Key("remove_extra_whitespaces"), false);
  if (unknown >= 0) metadata.emplace_back(Key("unknown_token_id"), static_cast<uint32_t>(unknown));
}

// The value as it stands; nothing for types that no tokenizer's metadata has.
std::optional<GgufValueToWrite> Copied(const GgufFile& file, const std::string& key,
                                       const GgufValue& value) {
  const bool is_array = value.type == GgufType::kArray;
  switch (value.element) {
    case GgufType::kString: {
      if (!is_array) return std::string(value.texts[0]);
      return std::vector<std::string>(value.texts.begin(), value.texts.end());
    }
    case GgufType::kBool:
      if (is_array) return std::nullopt;
      return *file.Bool(key);
    case GgufType::kFloat32:
    case GgufType::kFloat64: {
      if (!is_array) return static_cast<float>(*file.Number(key));
      const std::vector<double> numbers = file.Numbers(key);
      return std::vector<float>(numbers.begin(), numbers.end());
    }
    default: {
      if (!is_array) return static_cast<uint32_t>(*file.Integer(key));
      const std::vector<int64_t> numbers = file.Integers(key);
      return std::vector<int32_t>(numbers.begin(), numbers.end());
    }
  }
}

void CopyTokenizer(const GgufFile& file, GgufMetadataToWrite& metadata) {
  std::set<std::string> own = {kChatTemplate};
  for (const char* key : kEnds) own.insert(Key(key));
  for (const auto& [key, value] : file.metadata()) {
    if (!key.starts_with("tokenizer.") || own.contains(key)) continue;
    if (auto copied = Copied(file, key, value)) metadata.emplace_back(key, std::move(*copied));
  }
  // Old files leave it out, and other programs then guess wrongly.
  const bool old_llama3 = file.Text(Key("model")) == "gpt2" && !file.Text(Key("pre")) &&
                          file.Texts(Key("tokens")).size() == kLlama3Tokens;
  if (old_llama3) metadata.emplace_back(Key("pre"), std::string("llama-bpe"));
}

void AddFirstToken(TokenId bos, bool added, GgufMetadataToWrite& metadata) {
  if (bos >= 0) metadata.emplace_back(Key("bos_token_id"), static_cast<uint32_t>(bos));
  metadata.emplace_back(Key("add_bos_token"), added);
}

void AddEnds(const ModelConfig& config, GgufMetadataToWrite& metadata) {
  for (size_t i = 0; i < std::min(std::size(kEnds), config.eos_token_ids.size()); ++i) {
    metadata.emplace_back(Key(kEnds[i]), static_cast<uint32_t>(config.eos_token_ids[i]));
  }
}

}  // namespace

GgufMetadataToWrite GgufSpecialTokens(const ModelConfig& config) {
  GgufMetadataToWrite metadata;
  AddFirstToken(config.bos_token_id, config.bos_token_id >= 0, metadata);
  AddEnds(config, metadata);
  return metadata;
}

GgufMetadataToWrite GgufTokenizerMetadata(const std::string& model_path,
                                          const ModelConfig& config) {
  GgufMetadataToWrite metadata;
  const bool is_gguf = IsGgufFile(model_path);
  const bool is_sentencepiece = !is_gguf && HasSentencePieceModel(model_path);
  if (is_gguf) {
    CopyTokenizer(GgufFile(model_path), metadata);
  } else if (is_sentencepiece) {
    AddSentencePiece(model_path, config, metadata);
  } else if (std::filesystem::exists(model_path + "/tokenizer.json")) {
    AddTokenizerJson(model_path, config, metadata);
  }
  if (metadata.empty()) return GgufSpecialTokens(config);
  if (!is_gguf) {
    const TokenId first = LoadTokenizer(model_path)->bos();
    AddFirstToken(first >= 0 ? first : config.bos_token_id, first >= 0, metadata);
  }
  AddEnds(config, metadata);
  const ChatTemplate chat = ChatTemplate::Load(model_path);
  if (chat.present()) metadata.emplace_back(kChatTemplate, chat.source());
  return metadata;
}

}  // namespace tern
