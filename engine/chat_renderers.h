// From messages to the prompts of the families of chat_families.h: without a beginning-of-sequence
// token, with the prompt for an answer. Roles are system, user and assistant.
#ifndef TERN_ENGINE_CHAT_RENDERERS_H_
#define TERN_ENGINE_CHAT_RENDERERS_H_

#include <span>
#include <string>
#include <vector>

#include "engine/chat_families.h"

namespace tern::chat {

using Messages = std::span<const ChatMessage>;
using Parts = std::vector<PromptPart>;
using Tools = std::span<const std::string>;

Parts Contents(Messages messages);
// A story: what the user writes opens or continues it, the assistant's part goes on from there.
// Instructions have no place in it.
Parts Story(Messages messages);
Parts Bitnet2b(Messages messages);
// Throws kInvalidArgument where user and assistant do not take turns behind a system message.
Parts Llama2(Messages messages, const std::string& bos, const std::string& eos);
Parts Llama3(Messages messages);
// Begins with a system message of its own, which names the day. `tools` as in ChatFamily; they
// stand before the first question. Throws kInvalidArgument where there is none, and for several
// calls in a message.
Parts Llama31(Messages messages, const std::string& date, Tools tools);
// Throws kInvalidArgument as Llama2 does, and for a system message.
Parts Gemma(Messages messages);
Parts Falcon3(Messages messages, const std::string& eos);
Parts Zephyr(Messages messages, const std::string& eos);
// `system` speaks first where the chat has no system message. `tools` as in ChatFamily.
Parts ChatMl(Messages messages, const std::string& system, Tools tools);
// Answers' thoughts are left out, but those of answers behind the last question are kept, and the
// very last answer has a place for them even where there are none.
Parts Qwen3(Messages messages, const std::string& answer, Tools tools);

}  // namespace tern::chat

#endif  // TERN_ENGINE_CHAT_RENDERERS_H_
