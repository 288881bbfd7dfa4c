#include "engine/hf_tokenizer_writer.h"

#include <nlohmann/json.hpp>

#include "engine/atomic_file.h"
#include "engine/chat_template.h"
#include "engine/gguf_tokenizer.h"
#include "engine/tokenizer_json_writer.h"

namespace tern {
namespace {

using Json = nlohmann::ordered_json;

std::string Spelled(const GgufFile& file, const char* name) {
  const int64_t id = file.Integer(std::string("tokenizer.ggml.") + name).value_or(-1);
  const std::span<const std::string_view> tokens = file.Texts("tokenizer.ggml.tokens");
  if (id < 0 || static_cast<size_t>(id) >= tokens.size()) return "";
  return std::string(tokens[static_cast<size_t>(id)]);
}

void WriteJson(const std::string& path, const Json& json) {
  WriteFileAtomically(path, json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

Json AddedTokensDecoder(const SentencePieceModel& model, const std::vector<AddedPiece>& added) {
  Json decoder = Json::object();
  const auto add = [&](size_t id, const std::string& text, bool special) {
    decoder[std::to_string(id)] = {{"content", text}, {"lstrip", false},      {"normalized", false},
                                   {"rstrip", false}, {"single_word", false}, {"special", special}};
  };
  for (size_t id = 0; id < model.pieces.size(); ++id) {
    const auto& [text, score, type] = model.pieces[id];
    const bool special = type == TokenType::kControl || type == TokenType::kUnknown;
    if (special || type == TokenType::kUserDefined) add(id, text, special);
  }
  for (const auto& [token, control] : added) {
    add(static_cast<size_t>(token.id), token.text, control);
  }
  return decoder;
}

}  // namespace

void WriteHfTokenizer(const GgufFile& file, const std::string& dir) {
  const auto model = file.Text("tokenizer.ggml.model");
  if (!model) return;
  Json special = Json::object();
  for (const auto& [name, key] : {std::pair{"bos_token", "bos_token_id"},
                                  {"eos_token", "eos_token_id"},
                                  {"unk_token", "unknown_token_id"},
                                  {"pad_token", "padding_token_id"}}) {
    if (const std::string text = Spelled(file, key); !text.empty()) special[name] = text;
  }
  Json config = special;
  config["tokenizer_class"] = "PreTrainedTokenizerFast";
  config["clean_up_tokenization_spaces"] = false;
  TokenId bos = -1;
  if (*model == "gpt2") {
    const BpeVocabulary vocabulary = ReadGgufBpe(file);
    bos = vocabulary.bos;
    WriteFileAtomically(dir + "/tokenizer.json", ByteLevelTokenizerJson(vocabulary));
  } else {
    const auto [pieces, added] = ReadGgufSentencePiece(file);
    bos = LoadGgufTokenizer(file)->bos();
    WriteFileAtomically(dir + "/tokenizer.model", SerializeSentencePieceModel(pieces));
    WriteFileAtomically(dir + "/tokenizer.json", SentencePieceTokenizerJson(pieces, added));
    config["added_tokens_decoder"] = AddedTokensDecoder(pieces, added);
  }
  config["add_bos_token"] = bos >= 0;
  config["add_eos_token"] = false;
  const ChatTemplate chat = ChatTemplate::Load(file.path());
  if (chat.present()) config["chat_template"] = chat.source();
  WriteJson(dir + "/tokenizer_config.json", config);
  WriteJson(dir + "/special_tokens_map.json", special);
}

}  // namespace tern
