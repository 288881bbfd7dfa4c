// Sampling as a pure function of (logits row, options, position, the row's own tokens).
#ifndef TERN_ENGINE_SAMPLER_H_
#define TERN_ENGINE_SAMPLER_H_

#include <cstdint>
#include <map>
#include <span>

#include "engine/batch.h"
#include "engine/token_counts.h"
#include "engine/token_mask.h"
#include "kernels/aligned_buffer.h"
#include "kernels/top_k.h"

namespace tern {

// Applied in this order: repetition, frequency and presence penalty, logit bias, the tokens that a
// grammar allows, temperature, top-k, top-p, min-p. The order of the filters and the repetition
// penalty are those of Hugging Face transformers (temperature first, so that top-p and min-p see
// the tempered distribution; llama.cpp's default tempers last); frequency and presence penalty and
// bias are those of the OpenAI API.
struct SamplingOptions {
  float temperature = 0.0f;  // 0 = greedy; otherwise [0.001, 100]
  int32_t top_k = 0;         // keep the k largest logits; 0 = all
  float top_p = 1.0f;        // keep the smallest set with this probability; (0, 1], 1 = all
  float min_p = 0.0f;        // keep p >= min_p * max p; [0, 1], 0 = all
  // [0.01, 100], 1 = off. CTRL's: positive logits divided, others multiplied, once per token that
  // occurs in the prompt or the generated text (Keskar et al. 2019, section 4.1; negative logits as
  // in transformers).
  float repetition_penalty = 1.0f;
  float frequency_penalty = 0.0f;  // [-2, 2], subtracted per occurrence in the generated text
  float presence_penalty = 0.0f;  // [-2, 2], subtracted once where the generated text has the token
  std::map<TokenId, float> logit_bias;  // [-100, 100], added to the logit
  uint64_t seed = 0;
  uint32_t stream = 0;  // choice index (n > 1) or prompt index
  // Throws Error(kInvalidArgument) naming field, value and range.
  void Validate() const;
  bool Penalises() const {
    return repetition_penalty != 1.0f || frequency_penalty != 0.0f || presence_penalty != 0.0f;
  }
};

// Buffers of SampleToken for rows of up to V logits, allocated once. Holds no state between calls.
class SamplerScratch {
 public:
  explicit SamplerScratch(int32_t vocab_size)
      : logits(static_cast<size_t>(vocab_size)),
        lows(logits.size()),
        highs(logits.size()),
        noise(logits.size()),
        candidates(logits.size()),
        picked(logits.size()) {}
  AlignedBuffer<float> logits;            // [V] with penalties and bias; or those of `picked`
  AlignedBuffer<float> lows, highs;       // [V] bounds
  AlignedBuffer<float> noise;             // [V]
  AlignedBuffer<ScoredIndex> candidates;  // [V] tokens that survive the filters
  AlignedBuffer<TokenId> picked;          // [V] tokens looked at more closely
};

// The token that follows a row: argmax over the tokens that survive the filters of
// logit / temperature + Gumbel noise keyed by (seed, stream, position, token), ties to the lowest
// id.
//   logits    [V] of the row; finite
//   position  of the token being sampled (the row's own + 1)
//   counts    of the row's history: committed tokens and the row's ancestors, never its siblings.
//   Only read
//             where options.Penalises().
//   allowed   the tokens to choose from, at least one; null: all
// Depends on nothing else: not on earlier calls, not on the scratch's content. Allocates nothing.
TokenId SampleToken(std::span<const float> logits, const SamplingOptions& options, int32_t position,
                    const TokenCounts& counts, SamplerScratch& scratch,
                    const TokenMask* allowed = nullptr);

// The distribution that SampleToken draws from: fills `probabilities` with those of `tokens`, 0 for
// tokens that the filters leave out, and returns its entropy in nats. REQUIRES a temperature above
// 0.
double TokenDistribution(std::span<const float> logits, const SamplingOptions& options,
                         const TokenCounts& counts, std::span<const TokenId> tokens,
                         std::span<double> probabilities, SamplerScratch& scratch);

struct TokenLogprob {
  TokenId token = 0;
  float logprob = 0.0f;  // natural logarithm
  friend bool operator==(const TokenLogprob&, const TokenLogprob&) = default;
};

// Log-softmax of the model's own logits, before any penalty or filter: returns that of `chosen` and
// fills `top` with the top.size() most probable tokens, largest first (ties to the lowest id).
// `scratch` serves the selection only.
TokenLogprob Logprobs(std::span<const float> logits, TokenId chosen, std::span<TokenLogprob> top,
                      SamplerScratch& scratch);

}  // namespace tern

#endif  // TERN_ENGINE_SAMPLER_H_
