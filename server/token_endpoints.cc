#include "server/token_endpoints.h"

#include <string>
#include <utility>
#include <vector>

#include "engine/error.h"
#include "engine/generator.h"
#include "engine/utf8.h"
#include "server/json_fields.h"
#include "server/prompt_fields.h"
#include "server/text_tokens.h"

namespace tern {
namespace {

RequestError Missing(const std::string& field, const std::string& expected) {
  return {400, "missing_required_parameter", field + " is missing, expected " + expected, field};
}

bool IsUtf8(std::string_view text) {
  while (const size_t length = Utf8Length(text)) text.remove_prefix(length);
  return text.empty();
}

// llama.cpp's: a text, or the bytes of a token that is only a part of a character.
OrderedJson Piece(const ServedModel& served, TokenId id) {
  const std::string_view bytes = TokenBytes(served.tokenizer, id);
  if (IsUtf8(bytes)) return std::string(bytes);
  OrderedJson list = OrderedJson::array();
  for (const char c : bytes) list.push_back(static_cast<unsigned char>(c));
  return list;
}

void AddBos(const ServedModel& served, std::vector<TokenId>& ids) {
  const TokenId bos = served.config.bos_token_id;
  if (bos >= 0 && served.tokenizer.bos() >= 0 && (ids.empty() || ids.front() != bos))
    ids.insert(ids.begin(), bos);
}

OrderedJson TokenizeContent(const ServedModel& served, const JsonFields& fields) {
  const std::string content = *fields.String("content");
  const PromptPart part{content, fields.Bool("parse_special").value_or(false)};
  std::vector<TokenId> ids = EncodeParts(served.tokenizer, {&part, 1});
  if (fields.Bool("add_special").value_or(false)) AddBos(served, ids);
  if (!fields.Bool("with_pieces").value_or(false)) return {{"tokens", ids}};
  OrderedJson tokens = OrderedJson::array();
  for (const TokenId id : ids)
    tokens.push_back(OrderedJson{{"id", id}, {"piece", Piece(served, id)}});
  return {{"tokens", std::move(tokens)}};
}

OrderedJson TokenizePrompt(const ServedModel& served, const JsonFields& fields) {
  std::vector<TokenId> ids;
  if (const auto prompt = fields.String("prompt")) {
    ids = served.tokenizer.Encode(*prompt);
    if (fields.Bool("add_special_tokens").value_or(true)) AddBos(served, ids);
  } else {
    ids = EncodeMessages(served, ParseMessages(fields));
  }
  OrderedJson strings;
  if (fields.Bool("return_token_strs").value_or(false)) {
    strings = OrderedJson::array();
    for (const TokenId id : ids) strings.push_back(std::string(TokenBytes(served.tokenizer, id)));
  }
  return {{"count", ids.size()},
          {"max_model_len", served.max_context},
          {"tokens", ids},
          {"token_strs", std::move(strings)}};
}

}  // namespace

OrderedJson TokenizeJson(const ServedModel& served, std::string_view body) {
  const Json json = ParseObject(body);
  const JsonFields fields(json);
  const bool content = fields.Find("content") != nullptr;
  const bool prompt = fields.Find("prompt") != nullptr;
  const bool messages = fields.Find("messages") != nullptr;
  if (int{content} + int{prompt} + int{messages} > 1) {
    throw BadField(content ? "content" : "prompt",
                   "content, prompt and messages exclude each other, expected one of them");
  }
  if (content) return TokenizeContent(served, fields);
  if (prompt || messages) return TokenizePrompt(served, fields);
  throw Missing("content", "it, prompt or messages");
}

OrderedJson DetokenizeJson(const ServedModel& served, std::string_view body) {
  const Json json = ParseObject(body);
  const Json* tokens = json.contains("tokens") ? &json["tokens"] : nullptr;
  if (tokens == nullptr || tokens->is_null()) throw Missing("tokens", "a list of token ids");
  const std::vector<TokenId> ids = ParseIds(*tokens, "tokens");
  CheckIds(served, ids, "tokens");
  const std::string text = DecodeIds(served.tokenizer, ids);
  return {{"content", text}, {"prompt", text}};
}

OrderedJson ApplyTemplateJson(const ServedModel& served, std::string_view body) {
  const Json json = ParseObject(body);
  const std::vector<ChatMessage> messages = ParseMessages(JsonFields(json));
  RequireChatTemplate(served);
  try {
    std::string prompt;
    for (const PromptPart& part : served.chat_template.Render(messages)) prompt += part.text;
    return {{"prompt", prompt}};
  } catch (const Error& error) {
    throw BadField("messages", error.what());
  }
}

OrderedJson PropsJson(const ServedModel& served, size_t slots) {
  const std::string problem = served.chat_template.Problem();
  return {{"default_generation_settings", {{"n_ctx", served.max_context}}},
          {"total_slots", slots},
          {"model_alias", served.id},
          {"chat_template", served.chat_template.source()},
          {"chat_problem", problem.empty() ? OrderedJson() : OrderedJson(problem)},
          {"modalities", {{"vision", false}, {"audio", false}}},
          {"build_info", served.fingerprint}};
}

}  // namespace tern
