#include "engine/token_filters.h"

#include <algorithm>
#include <cmath>

#include "kernels/check.h"

namespace tern {

size_t SelectMass(std::span<ScoredIndex> items, const Weights& weight, double mass) {
  size_t begin = 0, end = items.size();
  double before = 0.0;  // weight of items[0, begin)
  while (end - begin > 1) {
    const size_t middle = begin + (end - begin) / 2;
    const auto first = items.begin() + static_cast<std::ptrdiff_t>(begin);
    const auto split = items.begin() + static_cast<std::ptrdiff_t>(middle);
    std::nth_element(first, split, items.begin() + static_cast<std::ptrdiff_t>(end), Before);
    double upper = 0.0;
    for (size_t i = begin; i < middle; ++i) upper += weight(items[i].value);
    if (before + upper >= mass) {
      end = middle;
    } else {
      before += upper;
      begin = middle;
    }
  }
  return end;
}

size_t CutMass(std::span<const ScoredIndex> items, const Weights& weight, double top_p) {
  if (top_p >= 1.0) return items.size();
  double total = 0.0;
  for (const ScoredIndex& item : items) total += weight(item.value);
  double sum = 0.0;
  for (size_t i = 0; i < items.size(); ++i) {
    sum += weight(items[i].value);
    if (sum >= top_p * total) return i + 1;
  }
  return items.size();
}

std::span<const TokenId> PossibleWinners(std::span<const float> lows, std::span<const float> highs,
                                         const SamplingOptions& options, int32_t position,
                                         SamplerScratch& scratch) {
  const size_t vocab = lows.size();
  TERN_CHECK(highs.size() == vocab && vocab <= scratch.noise.size()) << vocab << " logits";
  const std::span<float> noise = scratch.noise.span().first(vocab);
  ApproximateGumbelNoise(options.seed, options.stream, static_cast<uint32_t>(position), noise);
  const float scale = 1.0f / options.temperature;
  // Of a score: the noise's error, and some roundings of logit / temperature + noise.
  const auto slack = [](float score) { return kGumbelNoiseError + 1e-6f * std::fabs(score); };
  float best = -std::numeric_limits<float>::infinity();
  for (size_t v = 0; v < vocab; ++v) best = std::max(best, lows[v] * scale + noise[v]);
  const float least = best - slack(best);
  size_t count = 0;
  for (size_t v = 0; v < vocab; ++v) {
    const float score = highs[v] * scale + noise[v];
    if (!(score + slack(score) < least)) scratch.picked[count++] = static_cast<TokenId>(v);
  }
  return scratch.picked.span().first(count);
}

}  // namespace tern
