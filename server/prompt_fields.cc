#include "server/prompt_fields.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <string>
#include <utility>

#include "server/tool_fields.h"

namespace tern {
namespace {

constexpr int64_t kMaxInt32 = std::numeric_limits<int32_t>::max();

PromptInput ParsePrompt(const Json& value, const std::string& path) {
  if (value.is_string()) return value.get<std::string>();
  std::vector<TokenId> ids = ParseIds(value, path);
  if (ids.empty()) throw BadField(path, path + " is an empty list, expected at least one token id");
  return ids;
}

// A string, or a list of parts of which only text is understood.
std::string ParseContent(const JsonFields& message) {
  const Json* value = message.Find("content");
  const std::string path = message.Path("content");
  if (value == nullptr) {
    throw RequestError(400, "missing_required_parameter",
                       path + " is missing, expected a string or a list of text parts", path);
  }
  if (value->is_string()) return value->get<std::string>();
  if (!value->is_array()) throw WrongValue(path, *value, "a string or a list of text parts");
  std::string content;
  for (size_t i = 0; i < value->size(); ++i) {
    const std::string at = path + "[" + std::to_string(i) + "]";
    if (!(*value)[i].is_object()) throw WrongValue(at, (*value)[i], "an object");
    const JsonFields part((*value)[i], at + ".");
    const auto type = part.String("type");
    if (type != "text") {
      throw UnsupportedField(at + ".type", at + ".type is " +
                                               (type ? "\"" + *type + "\"" : "missing") +
                                               ", expected \"text\": this model reads text only");
    }
    const auto text = part.String("text");
    if (!text) throw BadField(at + ".text", at + ".text is missing, expected a string");
    content += *text;
  }
  return content;
}

ChatMessage ParseMessage(const Json& value, const std::string& path) {
  if (!value.is_object()) throw WrongValue(path, value, "an object with role and content");
  const JsonFields message(value, path + ".");
  const auto role = message.String("role");
  if (!role) {
    throw RequestError(400, "missing_required_parameter",
                       path + ".role is missing, expected system, user or assistant",
                       path + ".role");
  }
  constexpr const char* kRoles[] = {"system", "developer", "user", "assistant", "tool"};
  if (std::ranges::find(kRoles, *role) == std::end(kRoles)) {
    throw WrongValue(path + ".role", value["role"], "system, developer, user, assistant or tool");
  }
  std::vector<ToolCall> calls;
  if (*role == "assistant") calls = ParseToolCalls(message);
  // A message of calls alone has no content.
  const bool silent = !calls.empty() && message.Find("content") == nullptr;
  // "developer" is the newer name of the same role.
  return {*role == "developer" ? "system" : *role, silent ? "" : ParseContent(message),
          std::move(calls)};
}

}  // namespace

std::vector<TokenId> ParseIds(const Json& value, const std::string& path) {
  if (!value.is_array()) throw WrongValue(path, value, "a list of token ids");
  std::vector<TokenId> ids;
  for (size_t i = 0; i < value.size(); ++i) {
    const std::string at = path + "[" + std::to_string(i) + "]";
    if (!value[i].is_number_integer()) throw WrongValue(at, value[i], "a token id");
    const Json holder = {{"id", value[i]}};
    try {
      ids.push_back(static_cast<TokenId>(*JsonFields(holder).Integer("id", 0, kMaxInt32)));
    } catch (const RequestError&) {
      throw WrongValue(at, value[i], "a token id");
    }
  }
  return ids;
}

std::vector<PromptInput> ParsePrompts(const JsonFields& fields) {
  constexpr const char* kExpected =
      "a string, a list of token ids, a list of strings or a list of lists of token ids";
  const Json* value = fields.Find("prompt");
  if (value == nullptr) {
    throw RequestError(400, "missing_required_parameter",
                       "prompt is missing, expected " + std::string(kExpected), "prompt");
  }
  if (value->is_string()) return {ParsePrompt(*value, "prompt")};
  if (!value->is_array()) throw WrongValue("prompt", *value, kExpected);
  if (value->empty())
    throw BadField("prompt", "prompt is an empty list, expected " + std::string(kExpected));
  if (value->front().is_number()) return {ParsePrompt(*value, "prompt")};
  std::vector<PromptInput> prompts;
  const bool lists = value->front().is_array();
  for (size_t i = 0; i < value->size(); ++i) {
    const Json& entry = (*value)[i];
    const std::string at = "prompt[" + std::to_string(i) + "]";
    if (lists ? !entry.is_array() : !entry.is_string()) {
      throw WrongValue(at, entry, lists ? "a list of token ids like the first" : "a string");
    }
    prompts.push_back(ParsePrompt(entry, at));
  }
  return prompts;
}

std::vector<ChatMessage> ParseMessages(const JsonFields& fields) {
  const Json* value = fields.Find("messages");
  if (value == nullptr) {
    throw RequestError(400, "missing_required_parameter",
                       "messages is missing, expected a list of messages", "messages");
  }
  if (!value->is_array() || value->empty())
    throw WrongValue("messages", *value, "a list of at least one message");
  std::vector<ChatMessage> messages;
  for (size_t i = 0; i < value->size(); ++i)
    messages.push_back(ParseMessage((*value)[i], "messages[" + std::to_string(i) + "]"));
  return messages;
}

}  // namespace tern
