// Self-distillation: the model's own continuations of prompts, with the hidden states that arise
// while they are generated.
#ifndef TERN_TRAINER_DISTILL_H_
#define TERN_TRAINER_DISTILL_H_

#include <cstdint>
#include <functional>
#include <span>

#include "engine/model.h"
#include "engine/sampler.h"
#include "engine/tokenizer.h"
#include "kernels/kv_block.h"
#include "trainer/distilled_text.h"
#include "trainer/hidden_cache_writer.h"

namespace tern {

struct DistillOptions {
  SamplingOptions sampling;  // `stream` is the prompt's index
  int32_t max_tokens = 200;  // of each answer
  KvType kv_type = KvType::kBFloat16;
  int32_t parallel = 16;  // texts that are written at once, 1 to kMaxRows; changes none of them
};

struct DistillCounts {
  uint64_t prompts = 0;           // done, those of earlier runs included
  uint64_t generated_tokens = 0;  // by this run
  uint64_t tokens = 0;            // of the texts of this run, prompts included
  double seconds = 0;             // of this run
};
using DistillCallback = std::function<void(const DistillCounts&)>;

// The most tokens that a text of these may have.
int32_t LongestText(std::span<const DistillPrompt> prompts, int32_t max_tokens,
                    const ModelConfig& config);

// Continues `prompts` (each shorter than the model's context) from the writer's next one on and
// finishes the cache; the writer's info says what is stored. In a conversation the model answers
// every turn, until all are answered or the context is full. Calls `on_text` after each text that
// was written, which happens in order. What a prompt gives depends on the model, the options
// without `parallel`, and its index and tokens; so stopping and going on changes nothing.
DistillCounts Distill(const Model& model, const Tokenizer& tokenizer,
                      std::span<const DistillPrompt> prompts, const DistillOptions& options,
                      HiddenCacheWriter& writer, const DistillCallback& on_text);

}  // namespace tern

#endif  // TERN_TRAINER_DISTILL_H_
