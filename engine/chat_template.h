// From a chat's messages to the text that a model continues, as the model's chat template says.
#ifndef TERN_ENGINE_CHAT_TEMPLATE_H_
#define TERN_ENGINE_CHAT_TEMPLATE_H_

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/chat_families.h"
#include "engine/config.h"
#include "engine/tokenizer.h"

namespace tern {

// A Jinja template of Hugging Face's tokenizer files or a GGUF file. This version knows families of
// templates (chat_families.h) and runs no other.
class ChatTemplate {
 public:
  ChatTemplate() = default;  // none
  // The tokens as the template knows them, spelled.
  ChatTemplate(std::string source, std::string bos_token, const std::string& eos_token = "");
  // Reads `dir`/chat_template.jinja, else chat_template of `dir`/tokenizer_config.json (a string,
  // or a list in which "default" is taken), or the template of a GGUF file. A folder or file
  // without one has none. Throws kBadFile.
  static ChatTemplate Load(const std::string& dir);
  // The same of the files' contents; empty for those that are not there.
  static ChatTemplate FromFiles(const std::string& dir, const std::string& tokenizer_config,
                                const std::string& chat_template);

  bool present() const { return !source_.empty(); }
  // What other programs should be given: the text as it was read, without white space around it;
  // for the faulty copy of BitNet 2B's template in its GGUF file, the model's own.
  std::string source() const;
  // Why Render throws; empty where it does not.
  std::string Problem() const;
  std::string family() const { return family_ ? family_->name : ""; }

  // The prompt, without a beginning-of-sequence token: which one that is, and whether there is one,
  // the model and its tokenizer know. Throws kUnsupported saying Problem().
  // `tools` as in ChatFamily::render_tools.
  std::vector<PromptPart> Render(std::span<const ChatMessage> messages,
                                 std::span<const std::string> tools = {}) const;
  // Whether functions can be called: else Render takes no tools and no messages about them.
  bool TakesTools() const { return family_ && family_->render_tools; }
  // REQUIRES TakesTools().
  ToolCallForm CallForm() const { return family_->call_form; }
  // Whether an answer begins inside a thought.
  bool ThinksFirst() const { return family_ && family_->thinks_first; }

  // True where the template writes the beginning-of-sequence token itself.
  bool WritesBos() const;

 private:
  std::string source_, bos_token_;
  std::optional<ChatFamily> family_;
};

// Ids of the rendered prompt. It begins with the model's beginning-of-sequence token, once, where
// the template or the tokenizer asks for one. Control tokens come from the template alone: their
// spelling in a message stays text. Throws as Render does, and kInvalidArgument where the prompt is
// empty.
std::vector<TokenId> EncodeChat(const ModelConfig& config, const Tokenizer& tokenizer,
                                const ChatTemplate& chat, std::span<const ChatMessage> messages,
                                std::span<const std::string> tools = {});

}  // namespace tern

#endif  // TERN_ENGINE_CHAT_TEMPLATE_H_
