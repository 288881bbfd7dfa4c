// A sentencepiece model in the files of Hugging Face's tokenizers.
#include <sentencepiece_processor.h>

#include <nlohmann/json.hpp>

#include "engine/atomic_folder.h"
#include "engine/error.h"
#include "engine/sentencepiece_proto.h"
#include "engine/tokenizer_json_writer.h"
#include "engine/tokenizer_train.h"

namespace tern {
namespace {

using Json = nlohmann::ordered_json;
using sentencepiece::SentencePieceProcessor;

void Load(const std::string& serialized_model, SentencePieceProcessor& model) {
  const auto status = model.LoadFromSerializedProto(serialized_model);
  if (!status.ok()) throw InvalidArgument("not a sentencepiece model: " + status.ToString());
}

}  // namespace

std::string TokenizerJson(const std::string& serialized_model) {
  SentencePieceProcessor model;
  Load(serialized_model, model);
  return SentencePieceTokenizerJson(
      ParseSentencePieceModel(serialized_model, "sentencepiece model"), {});
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

  AtomicFolder folder(dir);
  folder.Write("tokenizer.model", serialized_model);
  folder.Write("tokenizer.json", TokenizerJson(serialized_model));
  folder.Write("tokenizer_config.json", config.dump(2) + "\n");
  folder.Write("special_tokens_map.json", special.dump(2) + "\n");
  folder.Write("generation_config.json", generation.dump(2) + "\n");
  folder.Commit();
}

}  // namespace tern
