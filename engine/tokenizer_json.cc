// A sentencepiece model in the files of Hugging Face's tokenizers.
#include <sentencepiece_processor.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <system_error>
#include <vector>

#include "engine/atomic_file.h"
#include "engine/error.h"
#include "engine/piece_table.h"
#include "engine/tokenizer_train.h"
#include "engine/utf8.h"

namespace tern {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using sentencepiece::SentencePieceProcessor;

bool IsLearned(const SentencePieceProcessor& model, int id) {
  return !model.IsControl(id) && !model.IsUnknown(id) && !model.IsByte(id) &&
         model.IdToPiece(id) != "\n";
}

// `tokenizers` matches every piece against the text, also those that sentencepiece keeps out of it
// ("<0x41>", "</s>"). A score below any path of learned pieces keeps them from winning.
constexpr double kNeverScore = -1e4;

Json UnigramModel(const SentencePieceProcessor& model) {
  Json vocab = Json::array();
  for (int id = 0; id < model.GetPieceSize(); ++id) {
    const double score =
        IsLearned(model, id) ? static_cast<double>(model.GetScore(id)) : kNeverScore;
    vocab.push_back(Json::array({model.IdToPiece(id), score}));
  }
  return {
      {"type", "Unigram"}, {"unk_id", model.unk_id()}, {"vocab", vocab}, {"byte_fallback", true}};
}

// Sentencepiece joins the neighbours whose union scores highest, so every split of a piece into two
// pieces is a merge, ranked by the piece's score.
Json BpeModel(const SentencePieceProcessor& model) {
  struct Merge {
    float score;
    int left, right;
  };
  std::vector<Merge> merges;
  Json vocab = Json::object();
  for (int id = 0; id < model.GetPieceSize(); ++id) {
    const std::string& piece = model.IdToPiece(id);
    vocab[piece] = id;
    if (!IsLearned(model, id)) continue;
    const std::string_view view = piece;
    for (size_t cut = Utf8Length(view); cut > 0 && cut < view.size();
         cut += Utf8Length(view.substr(cut))) {
      const int left = model.PieceToId(view.substr(0, cut)),
                right = model.PieceToId(view.substr(cut));
      if (IsLearned(model, left) && IsLearned(model, right))
        merges.push_back({model.GetScore(id), left, right});
    }
  }
  std::stable_sort(merges.begin(), merges.end(),
                   [](const Merge& a, const Merge& b) { return a.score > b.score; });
  Json pairs = Json::array();
  for (const Merge& merge : merges) {
    pairs.push_back(Json::array({model.IdToPiece(merge.left), model.IdToPiece(merge.right)}));
  }
  return {{"type", "BPE"},          {"unk_token", model.IdToPiece(model.unk_id())},
          {"fuse_unk", true},       {"byte_fallback", true},
          {"ignore_merges", false}, {"vocab", vocab},
          {"merges", pairs}};
}

// A unigram model's scores are log probabilities; BPE's are 0, -1, -2... in order of merging.
bool IsBpe(const SentencePieceProcessor& model) {
  float expected = 0.0f;
  for (int id = 0; id < model.GetPieceSize(); ++id) {
    if (IsLearned(model, id) && model.GetScore(id) != expected--) return false;
  }
  return true;
}

Json AddedToken(const SentencePieceProcessor& model, int id) {
  return {{"id", id},
          {"content", model.IdToPiece(id)},
          {"single_word", false},
          {"lstrip", false},
          {"rstrip", false},
          {"normalized", false},
          {"special", model.IsControl(id) || model.IsUnknown(id)}};
}

Json TokenizerJsonOf(const SentencePieceProcessor& model) {
  Json added = Json::array();
  for (int id = 0; id < model.GetPieceSize(); ++id) {
    if (!IsLearned(model, id) && !model.IsByte(id)) added.push_back(AddedToken(model, id));
  }
  const std::string bos = model.IdToPiece(model.bos_id());
  const Json bos_item = {{"SpecialToken", {{"id", bos}, {"type_id", 0}}}};
  const auto sequence = [](const char* id) {
    return Json{{"Sequence", {{"id", id}, {"type_id", 0}}}};
  };
  const Json to_space = {
      {"type", "Replace"}, {"pattern", {{"String", kSpaceMark}}}, {"content", " "}};
  Json json;
  json["version"] = "1.0";
  json["truncation"] = nullptr;
  json["padding"] = nullptr;
  json["added_tokens"] = added;
  json["normalizer"] = {
      {"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", kSpaceMark}};
  json["pre_tokenizer"] = nullptr;
  json["post_processor"] = {
      {"type", "TemplateProcessing"},
      {"single", Json::array({bos_item, sequence("A")})},
      {"pair", Json::array({bos_item, sequence("A"), sequence("B")})},
      {"special_tokens",
       {{bos,
         {{"id", bos}, {"ids", Json::array({model.bos_id()})}, {"tokens", Json::array({bos})}}}}}};
  json["decoder"] = {
      {"type", "Sequence"},
      {"decoders", Json::array({to_space, {{"type", "ByteFallback"}}, {{"type", "Fuse"}}})}};
  json["model"] = IsBpe(model) ? BpeModel(model) : UnigramModel(model);
  return json;
}

void Load(const std::string& serialized_model, SentencePieceProcessor& model) {
  const auto status = model.LoadFromSerializedProto(serialized_model);
  if (!status.ok()) throw InvalidArgument("not a sentencepiece model: " + status.ToString());
}

}  // namespace

std::string TokenizerJson(const std::string& serialized_model) {
  SentencePieceProcessor model;
  Load(serialized_model, model);
  return TokenizerJsonOf(model).dump(1) + "\n";
}

void WriteTokenizer(const std::string& dir, const std::string& serialized_model) {
  SentencePieceProcessor model;
  Load(serialized_model, model);
  const std::string bos = model.IdToPiece(model.bos_id()), eos = model.IdToPiece(model.eos_id()),
                    unk = model.IdToPiece(model.unk_id());
  const Json special = {{"bos_token", bos}, {"eos_token", eos}, {"unk_token", unk}};
  Json config = special;
  config["tokenizer_class"] = "PreTrainedTokenizerFast";
  config["add_bos_token"] = true;
  config["add_eos_token"] = false;
  config["clean_up_tokenization_spaces"] = false;
  const Json generation = {{"bos_token_id", model.bos_id()}, {"eos_token_id", model.eos_id()}};

  std::error_code code;
  if (fs::exists(dir, code) && !(fs::is_directory(dir, code) && fs::is_empty(dir, code))) {
    throw InvalidArgument(dir + ": exists already; remove it or write elsewhere");
  }
  const fs::path parent = fs::absolute(dir).lexically_normal();
  const fs::path target = parent.has_filename() ? parent : parent.parent_path();
  fs::path temporary = target;
  temporary += ".tmp" + std::to_string(getpid());
  fs::create_directories(temporary, code);
  if (code) throw SystemError(temporary.string() + ": cannot create folder", code.value());
  try {
    const auto write = [&](const char* name, const std::string& content) {
      WriteFileAtomically((temporary / name).string(), content);
    };
    write("tokenizer.model", serialized_model);
    write("tokenizer.json", TokenizerJsonOf(model).dump(1) + "\n");
    write("tokenizer_config.json", config.dump(2) + "\n");
    write("special_tokens_map.json", special.dump(2) + "\n");
    write("generation_config.json", generation.dump(2) + "\n");
    fs::rename(temporary, target, code);
    if (code) throw SystemError(dir + ": cannot create folder", code.value());
  } catch (...) {
    fs::remove_all(temporary, code);
    throw;
  }
}

}  // namespace tern
