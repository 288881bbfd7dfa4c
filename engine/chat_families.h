// The chat templates that this version can run. They are recognised by their text, not executed: no
// Jinja engine for C++ is packaged.
#ifndef TERN_ENGINE_CHAT_FAMILIES_H_
#define TERN_ENGINE_CHAT_FAMILIES_H_

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/tokenizer.h"
#include "engine/tool_calls.h"

namespace tern {

struct ChatMessage {
  std::string role;  // system, user or assistant; tool for what a call gave
  std::string content;
  std::vector<ToolCall> tool_calls;  // an assistant's, behind the content
};

struct ChatFamily {
  std::string name;
  // The whole prompt, without a beginning-of-sequence token, with the prompt for an answer.
  std::function<std::vector<PromptPart>(std::span<const ChatMessage>)> render;
  // The same of chats in which functions may be called, each described by JSON as Python's
  // json.dumps writes it; empty: the template knows nothing of functions.
  std::function<std::vector<PromptPart>(std::span<const ChatMessage>,
                                        std::span<const std::string> tools)>
      render_tools;
  ToolCallForm call_form = ToolCallForm::kMarked;  // of the calls, where there are any
  // An answer begins inside a thought, so it cannot be a call at once.
  bool thinks_first = false;
};

// The family of a template's text (without white space around it). `bos_token` and `eos_token` are
// what the template means by these names. Nothing where the text is of no family, or of one with
// additions that this version does not know.
std::optional<ChatFamily> RecogniseChatTemplate(std::string_view source,
                                                const std::string& bos_token,
                                                const std::string& eos_token);

// Whether `source` is what a faulty conversion wrote into GGUF files of BitNet 2B, and the model's
// own template.
bool IsFaultyBitnetTemplate(std::string_view source);
extern const char* const kBitnetTemplate;

// Names of all families, for messages.
std::string ChatFamilyNames();

}  // namespace tern

#endif  // TERN_ENGINE_CHAT_FAMILIES_H_
