// From a chat's messages to the text that a model continues, as the model's chat template says.
#ifndef TERN_ENGINE_CHAT_TEMPLATE_H_
#define TERN_ENGINE_CHAT_TEMPLATE_H_

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/config.h"
#include "engine/tokenizer.h"

namespace tern {

struct ChatMessage {
  std::string role;  // system, user or assistant
  std::string content;
};

// A Jinja template of Hugging Face's tokenizer files. This version knows a few templates by their
// text (the table in chat_template.cc) and runs no other.
class ChatTemplate {
 public:
  ChatTemplate() = default;  // none
  ChatTemplate(std::string source, std::string bos_token);
  // Reads `dir`/chat_template.jinja, else chat_template of `dir`/tokenizer_config.json (a string,
  // or a list in which "default" is taken). A folder without either has none. Throws kBadFile.
  static ChatTemplate Load(const std::string& dir);

  bool present() const { return !source_.empty(); }
  // Why Render throws; empty where it does not.
  std::string Problem() const;
  const std::string& bos_token() const { return bos_token_; }

  // The prompt's text, beginning with bos_token() where the template says so. Throws kUnsupported
  // saying Problem().
  std::string Render(std::span<const ChatMessage> messages) const;

 private:
  using Renderer = std::string (*)(std::span<const ChatMessage>);

  std::string source_, bos_token_;
  Renderer renderer_ = nullptr;  // gives the text behind bos_token_
};

// Ids of the rendered prompt. bos_token() at its front becomes the model's beginning-of-sequence
// token; the same characters in a message stay text. Throws as Render does, and kInvalidArgument
// where the prompt is empty.
std::vector<TokenId> EncodeChat(const ModelConfig& config, const Tokenizer& tokenizer,
                                const ChatTemplate& chat, std::span<const ChatMessage> messages);

}  // namespace tern

#endif  // TERN_ENGINE_CHAT_TEMPLATE_H_
