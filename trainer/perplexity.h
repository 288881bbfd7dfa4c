// How well a model predicts a text that it has not seen.
#ifndef TERN_TRAINER_PERPLEXITY_H_
#define TERN_TRAINER_PERPLEXITY_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <span>

#include "engine/batch.h"
#include "engine/model.h"
#include "kernels/kv_block.h"

namespace tern {

// The same windows with a bf16 cache.
struct BFloat16Comparison {
  double nats = 0.0;
  int64_t same_best = 0;  // tokens whose most probable candidate is the same with both
};

struct PerplexityReport {
  int64_t tokens = 0;                      // predicted: all of the text
  int64_t bytes = 0;                       // of the text
  int32_t context = 0;                     // tokens of a window
  double nats = 0.0;                       // sum over the tokens of -log p(token | window so far)
  double seconds = 0.0;                    // without the comparison
  std::optional<BFloat16Comparison> bf16;  // where the cache was of another type

  double loss() const;           // nats per token
  double perplexity() const;     // exp(loss)
  double bits_per_byte() const;  // independent of the tokenizer
};

using PerplexityProgress = std::function<void(int64_t tokens_done)>;

// `ids` are those of a text of `bytes` bytes, without a beginning-of-sequence token at their front.
//
// Slides a window of `context` tokens over the text, half a window at a time (0: the model's
// context, 512 at most), so that every token is predicted once, with half a window or more before
// it where the text has that. A window begins with the beginning-of-sequence token where the model
// has one; without one, the text's first token is not predicted. With a `kv_type` other than bf16
// everything is done once more with that, to compare. Throws Error(kInvalidArgument) for
// a context out of range or a text of less than two tokens.
PerplexityReport MeasurePerplexity(const Model& model, std::span<const TokenId> ids, int64_t bytes,
                                   int32_t context, KvType kv_type = KvType::kBFloat16,
                                   const PerplexityProgress& progress = {});

}  // namespace tern

#endif  // TERN_TRAINER_PERPLEXITY_H_
