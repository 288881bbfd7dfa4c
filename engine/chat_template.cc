#include "engine/chat_template.h"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "engine/atomic_file.h"
#include "engine/error.h"
#include "engine/gguf.h"
#include "engine/json_text.h"

namespace tern {
namespace {

using nlohmann::json;

std::string Trimmed(const std::string& text) {
  constexpr const char* kSpace = " \t\r\n";
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string::npos) return "";
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

// tokenizer_config.json writes a special token as a string or as an object with its content.
std::string TokenText(const json& config, const char* name) {
  const auto found = config.find(name);
  if (found == config.end()) return "";
  if (found->is_string()) return found->get<std::string>();
  if (!found->is_object()) return "";
  const auto content = found->find("content");
  const bool there = content != found->end() && content->is_string();
  return there ? content->get<std::string>() : "";
}

std::string TemplateText(const json& config, const std::string& path) {
  const auto found = config.find("chat_template");
  if (found == config.end() || found->is_null()) return "";
  if (found->is_string()) return found->get<std::string>();
  if (found->is_array()) {
    for (const json& entry : *found) {
      if (entry.is_object() && entry.value("name", json()) == "default" &&
          entry.value("template", json()).is_string()) {
        return entry["template"].get<std::string>();
      }
    }
  }
  throw BadFile({path, "chat_template", "a string or a list with a template named default",
                 found->type_name(), ""});
}

json ParseConfig(const std::string& path, const std::string& text) {
  if (text.empty()) return json::object();
  json config = ParseJson<json>(text);
  if (!config.is_object()) throw BadFile({path, "content", "a JSON object", "something else", ""});
  return config;
}

// tokenizer.chat_template, and how the file's vocabulary spells the tokens.
ChatTemplate GgufChatTemplate(const GgufFile& file) {
  const auto spelled = [&](const char* key) {
    const std::span<const std::string_view> tokens = file.Texts("tokenizer.ggml.tokens");
    const int64_t id = file.Integer(key).value_or(-1);
    const bool known = id >= 0 && static_cast<size_t>(id) < tokens.size();
    return known ? std::string(tokens[static_cast<size_t>(id)]) : std::string();
  };
  return {std::string(file.Text("tokenizer.chat_template").value_or("")),
          spelled("tokenizer.ggml.bos_token_id"), spelled("tokenizer.ggml.eos_token_id")};
}

}  // namespace

ChatTemplate::ChatTemplate(std::string source, std::string bos_token, const std::string& eos_token)
    : source_(Trimmed(source)),
      bos_token_(std::move(bos_token)),
      family_(RecogniseChatTemplate(source_, bos_token_, eos_token)) {}

ChatTemplate ChatTemplate::Load(const std::string& dir) {
  if (IsGgufFile(dir)) return GgufChatTemplate(GgufFile(dir));
  const auto content = [&](const char* name) { return ReadFileIfThere(dir + "/" + name); };
  return FromFiles(dir, content("tokenizer_config.json"), content("chat_template.jinja"));
}

ChatTemplate ChatTemplate::FromFiles(const std::string& dir, const std::string& tokenizer_config,
                                     const std::string& chat_template) {
  const std::string path = dir + "/tokenizer_config.json";
  const json config = ParseConfig(path, tokenizer_config);
  const std::string source = chat_template.empty() ? TemplateText(config, path) : chat_template;
  return {source, TokenText(config, "bos_token"), TokenText(config, "eos_token")};
}

std::string ChatTemplate::source() const {
  return IsFaultyBitnetTemplate(source_) ? kBitnetTemplate : source_;
}

std::string ChatTemplate::Problem() const {
  if (!present()) {
    return "this model has no chat template, expected one in its tokenizer_config.json or "
           "chat_template.jinja; ask for completions of a prompt instead";
  }
  if (family_) return "";
  std::string start = source_.substr(0, 60);
  for (char& c : start) {
    if (c == '\n') c = ' ';
  }
  return "the model's chat template, which begins \"" + start +
         "\", is not among those that this version can run (" + ChatFamilyNames() +
         "); ask for completions of a prompt instead";
}

std::vector<PromptPart> ChatTemplate::Render(std::span<const ChatMessage> messages,
                                             std::span<const std::string> tools) const {
  if (!family_) throw Unsupported(Problem());
  for (const ChatMessage& message : messages) {
    if (TakesTools() && message.role == "tool") continue;
    if (!TakesTools() && !message.tool_calls.empty())
      throw Unsupported("this model's chats have no calls of functions: it has no form for them");
    if (message.role == "system" || message.role == "user" || message.role == "assistant") continue;
    throw InvalidArgument("role of a message is \"" + message.role +
                          "\", expected system, user or assistant");
  }
  if (TakesTools()) return family_->render_tools(messages, tools);
  if (!tools.empty())
    throw Unsupported("this model's chat template has no place for functions to call");
  return family_->render(messages);
}

bool ChatTemplate::WritesBos() const {
  return !bos_token_.empty() && (source_.find("bos_token") != std::string::npos ||
                                 source_.find(bos_token_) != std::string::npos);
}

std::vector<TokenId> EncodeChat(const ModelConfig& config, const Tokenizer& tokenizer,
                                const ChatTemplate& chat, std::span<const ChatMessage> messages,
                                std::span<const std::string> tools) {
  std::vector<TokenId> ids = EncodeParts(tokenizer, chat.Render(messages, tools));
  const TokenId bos = config.bos_token_id;
  const bool wanted = bos >= 0 && (chat.WritesBos() || tokenizer.bos() >= 0);
  if (wanted && (ids.empty() || ids.front() != bos)) ids.insert(ids.begin(), bos);
  if (ids.empty()) throw InvalidArgument("messages give an empty prompt, expected some text");
  return ids;
}

}  // namespace tern
