// What the sampler's filters are made of: for sampler.cc, which sees all logits, and
// screened_sampler.cc, which sees bounds of them. They must agree to the bit.
#ifndef TERN_ENGINE_TOKEN_FILTERS_H_
#define TERN_ENGINE_TOKEN_FILTERS_H_

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>

#include "engine/batch.h"
#include "engine/sampler.h"
#include "kernels/gumbel_noise.h"
#include "kernels/top_k.h"
#include "kernels/vector_math.h"

namespace tern {

// Larger value first, lower index among equals.
inline bool Before(const ScoredIndex& a, const ScoredIndex& b) {
  return a.value > b.value || (a.value == b.value && a.index < b.index);
}

// The probability of each candidate relative to the most probable token; the sum of all is the
// mass.
struct Weights {
  float max_logit;
  float temperature;
  float operator()(float logit) const { return Exp((logit - max_logit) / temperature); }
};

// Reorders `items` so that its first n are the smallest set of first-in-order items whose weights
// reach `mass`; returns n. Weighted quickselect: expected linear time, no full sort. Deterministic:
// pivots depend on the data only.
size_t SelectMass(std::span<ScoredIndex> items, const Weights& weight, double mass);

// How many of `items`, in order, it takes to reach the probability top_p among them.
size_t CutMass(std::span<const ScoredIndex> items, const Weights& weight, double top_p);

// Keeps the best score seen; the lowest id among equals.
class BestToken {
 public:
  BestToken(const SamplingOptions& options, int32_t position)
      : options_(options), position_(static_cast<uint32_t>(position)) {}
  void Consider(TokenId token, float logit) {
    const float scaled = logit / options_.temperature;
    if (scaled + kMaxGumbelNoise < score_)
      return;  // cannot win whatever its noise is: skip the noise
    const float noise =
        GumbelNoise(options_.seed, options_.stream, position_, static_cast<uint32_t>(token));
    const float score = scaled + noise;
    if (token_ < 0 || score > score_ || (score == score_ && token < token_)) {
      score_ = score;
      token_ = token;
    }
  }
  TokenId token() const { return token_; }

 private:
  const SamplingOptions& options_;
  uint32_t position_;
  float score_ = -std::numeric_limits<float>::infinity();
  TokenId token_ = -1;
};

// The tokens that can have the largest logit / temperature + noise, ascending, where each logit is
// between lows[token] and highs[token]. Lives until the scratch is used again.
std::span<const TokenId> PossibleWinners(std::span<const float> lows, std::span<const float> highs,
                                         const SamplingOptions& options, int32_t position,
                                         SamplerScratch& scratch);

}  // namespace tern

#endif  // TERN_ENGINE_TOKEN_FILTERS_H_
