#include "engine/tokenizer_json_writer.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "engine/piece_table.h"
#include "engine/utf8.h"
#include "kernels/check.h"

namespace tern {
namespace {

using Json = nlohmann::ordered_json;
using Piece = SentencePieceModel::Piece;

// `tokenizers` matches every piece against the text, also those that sentencepiece keeps out of it
// ("<0x41>", "</s>"). A score below any path of learned pieces keeps them from winning.
constexpr double kNeverScore = -1e4;

bool IsLearned(const Piece& piece) { return piece.type == TokenType::kNormal; }
bool IsSpecial(TokenType type) {
  return type == TokenType::kControl || type == TokenType::kUnknown;
}

// `vocab`["text"] = id, without the search that would find an entry of this text: a vocabulary's
// texts are unique.
void Append(Json& vocab, const std::string& text, size_t id) {
  vocab.get_ref<Json::object_t&>().emplace_back(text, id);
}

// The id of the piece of a type with a spelling.
std::optional<size_t> Find(const SentencePieceModel& model, const std::string& text,
                           TokenType type) {
  for (size_t id = 0; id < model.pieces.size(); ++id) {
    if (model.pieces[id].type == type && model.pieces[id].text == text) return id;
  }
  return std::nullopt;
}

Json UnigramModel(const SentencePieceModel& model) {
  Json vocab = Json::array();
  for (const Piece& piece : model.pieces) {
    const double score = IsLearned(piece) ? static_cast<double>(piece.score) : kNeverScore;
    vocab.push_back(Json::array({piece.text, score}));
  }
  return {{"type", "Unigram"},
          {"unk_id", Find(model, model.unk, TokenType::kUnknown).value_or(0)},
          {"vocab", vocab},
          {"byte_fallback", true}};
}

// Sentencepiece joins the neighbours whose union scores highest, so every split of a piece into two
// pieces is a merge, ranked by the piece's score.
Json BpeModel(const SentencePieceModel& model) {
  std::unordered_map<std::string_view, size_t> learned;
  for (size_t id = 0; id < model.pieces.size(); ++id) {
    if (IsLearned(model.pieces[id])) learned.emplace(model.pieces[id].text, id);
  }
  struct Merge {
    float score;
    size_t left, right;
  };
  std::vector<Merge> merges;
  Json vocab = Json::object();
  for (size_t id = 0; id < model.pieces.size(); ++id) {
    const Piece& piece = model.pieces[id];
    Append(vocab, piece.text, id);
    if (!IsLearned(piece)) continue;
    const std::string_view text = piece.text;
    for (size_t cut = Utf8Length(text); cut > 0 && cut < text.size();) {
      const auto left = learned.find(text.substr(0, cut)), right = learned.find(text.substr(cut));
      if (left != learned.end() && right != learned.end()) {
        merges.push_back({piece.score, left->second, right->second});
      }
      const size_t next = Utf8Length(text.substr(cut));
      cut = next == 0 ? 0 : cut + next;
    }
  }
  std::stable_sort(merges.begin(), merges.end(),
                   [](const Merge& a, const Merge& b) { return a.score > b.score; });
  Json pairs = Json::array();
  for (const Merge& merge : merges) {
    pairs.push_back(Json::array({model.pieces[merge.left].text, model.pieces[merge.right].text}));
  }
  return {{"type", "BPE"},         {"unk_token", model.unk}, {"fuse_unk", true},
          {"byte_fallback", true}, {"ignore_merges", false}, {"vocab", vocab},
          {"merges", pairs}};
}

Json AddedTokenJson(size_t id, const std::string& text, bool special) {
  return {{"id", id},        {"content", text},     {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", special}};
}

// Puts the token `bos` before every text.
Json PostProcessor(const std::string& bos, size_t id) {
  const Json first = {{"SpecialToken", {{"id", bos}, {"type_id", 0}}}};
  const auto sequence = [](const char* which) {
    return Json{{"Sequence", {{"id", which}, {"type_id", 0}}}};
  };
  return {{"type", "TemplateProcessing"},
          {"single", Json::array({first, sequence("A")})},
          {"pair", Json::array({first, sequence("A"), sequence("B")})},
          {"special_tokens",
           {{bos, {{"id", bos}, {"ids", Json::array({id})}, {"tokens", Json::array({bos})}}}}}};
}

Json Frame(Json added) {
  Json json;
  json["version"] = "1.0";
  json["truncation"] = nullptr;
  json["padding"] = nullptr;
  json["added_tokens"] = std::move(added);
  return json;
}

Json Replace(std::string_view from, std::string_view to) {
  return {{"type", "Replace"}, {"pattern", {{"String", from}}}, {"content", to}};
}

std::string Dump(const Json& json) {
  // GGUF files may hold tokens that are no UTF-8.
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

const char* BehaviourName(SplitStage::Behaviour behaviour) {
  switch (behaviour) {
    case SplitStage::Behaviour::kIsolated:
      return "Isolated";
    case SplitStage::Behaviour::kMergedWithPrevious:
      return "MergedWithPrevious";
    case SplitStage::Behaviour::kMergedWithNext:
      return "MergedWithNext";
    case SplitStage::Behaviour::kContiguous:
      break;
  }
  return "Contiguous";
}

Json ByteLevel() {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", false},
          {"trim_offsets", true},
          {"use_regex", false}};
}

Json PreTokenizerJson(const std::vector<SplitStage>& stages) {
  Json list = Json::array();
  bool on_bytes = false;
  for (const SplitStage& stage : stages) {
    if (stage.on_bytes && !on_bytes) list.push_back(ByteLevel());
    on_bytes |= stage.on_bytes;
    list.push_back({{"type", "Split"},
                    {"pattern", {{"Regex", stage.pattern}}},
                    {"behavior", BehaviourName(stage.behaviour)},
                    {"invert", stage.invert}});
  }
  if (!on_bytes) list.push_back(ByteLevel());
  return {{"type", "Sequence"}, {"pretokenizers", list}};
}

Json ByteLevelModel(const BpeVocabulary& vocabulary) {
  Json vocab = Json::object();
  std::unordered_set<std::string_view> known;
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    const std::string& token = vocabulary.tokens[id];
    if (vocabulary.types[id] != TokenType::kNormal || !known.insert(token).second) continue;
    Append(vocab, token, id);
  }
  Json merges = Json::array();
  for (const std::string& merge : vocabulary.merges) {
    const size_t space = merge.find(' ');
    const std::string left = merge.substr(0, space), right = merge.substr(space + 1);
    if (known.contains(left) && known.contains(right) && known.contains(left + right)) {
      merges.push_back(merge);
    }
  }
  return {{"type", "BPE"},
          {"dropout", nullptr},
          {"unk_token", nullptr},
          {"continuing_subword_prefix", nullptr},
          {"end_of_word_suffix", nullptr},
          {"fuse_unk", false},
          {"byte_fallback", false},
          {"ignore_merges", vocabulary.ignore_merges},
          {"vocab", vocab},
          {"merges", merges}};
}

}  // namespace

std::string SentencePieceTokenizerJson(const SentencePieceModel& model,
                                       std::span<const AddedPiece> added) {
  Json tokens = Json::array();
  for (size_t id = 0; id < model.pieces.size(); ++id) {
    const auto& [text, score, type] = model.pieces[id];
    if (IsSpecial(type) || type == TokenType::kUserDefined) {
      tokens.push_back(AddedTokenJson(id, text, IsSpecial(type)));
    }
  }
  for (const auto& [token, control] : added) {
    tokens.push_back(AddedTokenJson(static_cast<size_t>(token.id), token.text, control));
  }
  Json json = Frame(std::move(tokens));
  const Json marks = Replace(" ", kSpaceMark);
  Json decoders =
      Json::array({Replace(kSpaceMark, " "), {{"type", "ByteFallback"}}, {{"type", "Fuse"}}});
  json["normalizer"] = marks;
  if (model.space_prefix) {
    const Json prefix = {{"type", "Prepend"}, {"prepend", kSpaceMark}};
    json["normalizer"] = {{"type", "Sequence"}, {"normalizers", Json::array({prefix, marks})}};
    decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  }
  json["pre_tokenizer"] = nullptr;
  const auto bos = Find(model, model.bos, TokenType::kControl);
  json["post_processor"] = bos ? PostProcessor(model.bos, *bos) : Json();
  json["decoder"] = {{"type", "Sequence"}, {"decoders", decoders}};
  json["model"] = model.bpe ? BpeModel(model) : UnigramModel(model);
  return Dump(json);
}

std::string ByteLevelTokenizerJson(const BpeVocabulary& vocabulary) {
  TERN_CHECK(vocabulary.spelling == BpeVocabulary::Spelling::kByteLevel) << vocabulary.where;
  Json added = Json::array();
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    const TokenType type = vocabulary.types[id];
    if (IsSpecial(type) || type == TokenType::kUserDefined) {
      added.push_back(AddedTokenJson(id, vocabulary.tokens[id], IsSpecial(type)));
    }
  }
  Json json = Frame(std::move(added));
  json["normalizer"] = vocabulary.nfc ? Json{{"type", "NFC"}} : Json();
  json["pre_tokenizer"] = PreTokenizerJson(vocabulary.stages);
  json["post_processor"] = ByteLevel();
  if (vocabulary.bos >= 0) {
    const auto bos = static_cast<size_t>(vocabulary.bos);
    json["post_processor"] = PostProcessor(vocabulary.tokens[bos], bos);
  }
  json["decoder"] = ByteLevel();
  json["model"] = ByteLevelModel(vocabulary);
  return Dump(json);
}

}  // namespace tern
