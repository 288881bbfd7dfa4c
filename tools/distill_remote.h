// Distillation through a server: its texts, with the local model's tokens and hidden states.
#ifndef TERN_TOOLS_DISTILL_REMOTE_H_
#define TERN_TOOLS_DISTILL_REMOTE_H_

#include <span>

#include "tools/completion_client.h"
#include "trainer/distill.h"
#include "trainer/distill_prompts.h"

namespace tern {

struct RemotePrompts {
  std::span<const Prompt> lines;           // what the server is asked
  std::span<const DistillPrompt> encoded;  // the same for the local model
  ConversationUse use;
};

// As Distill. The server answers, options.parallel requests at a time; prompt i with seed
// sampling.seed + i. Its texts are tokenised here and run through `model`, teacher-forced, for what
// the writer stores. A text ends where the local context is full. Throws the client's errors; what
// was written stays.
DistillCounts DistillRemote(const CompletionServer& server, const Model& model,
                            const Tokenizer& tokenizer, const RemotePrompts& prompts,
                            const DistillOptions& options, HiddenCacheWriter& writer,
                            const DistillCallback& on_text);

}  // namespace tern

#endif  // TERN_TOOLS_DISTILL_REMOTE_H_
