// From the lines of a prompt file to the tokens that a model continues.
#ifndef TERN_TRAINER_DISTILL_PROMPTS_H_
#define TERN_TRAINER_DISTILL_PROMPTS_H_

#include <span>
#include <string>
#include <vector>

#include "engine/chat_template.h"
#include "engine/config.h"
#include "engine/tokenizer.h"
#include "trainer/distilled_text.h"
#include "trainer/prompt_file.h"

namespace tern {

enum class ConversationUse {
  kFirstAnswer,  // the model answers the first turn
  kAllAnswers,   // and every later one
  kRaw,          // the first user message is continued as it stands, without the chat template
};

// Texts as they stand, conversations as the chat template writes them. Throws kBadFile naming file
// and line for a prompt that does not fit the model's context, and for a conversation where the
// template cannot be used.
std::vector<DistillPrompt> EncodePrompts(const ModelConfig& config, const Tokenizer& tokenizer,
                                         const ChatTemplate& chat, std::span<const Prompt> prompts,
                                         ConversationUse use);

}  // namespace tern

#endif  // TERN_TRAINER_DISTILL_PROMPTS_H_
