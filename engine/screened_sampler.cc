#include "engine/screened_sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/token_filters.h"
#include "kernels/check.h"
#include "kernels/sum_exp.h"
#include "kernels/vector_math.h"

namespace tern {
namespace {

// Relative error that sums of exponentials may have: of SumExpMinus and Exp (2^-21 and 2^-22, and
// of an argument as far as -87 six units in the last place), of sums of 1,024 floats, twice over.
constexpr double kSumSlack = 2e-4;

// One draw.
struct Draw {
  const ScreenedLogits& screened;
  size_t row;
  const SamplingOptions& options;
  int32_t position;
  SamplerScratch& scratch;
  const TokenMask* allowed;  // null: all

  size_t vocab() const { return screened.vocab(); }
  std::span<const float> lows() const { return scratch.lows.span().first(vocab()); }
  std::span<const float> highs() const { return scratch.highs.span().first(vocab()); }
};

// With more candidates than this, all logits in one sweep are cheaper than picked ones.
size_t MostCandidates(const Draw& d) { return std::max<size_t>(d.vocab() / 8, 64); }

// The tokens that may have a logit of at least `least`, ascending; none where they are more than
// `most`.
std::span<const TokenId> MayReach(const Draw& d, float least, size_t most) {
  const std::span<const float> highs = d.highs();
  size_t count = 0;
  for (size_t v = 0; v < highs.size(); ++v) {
    if (highs[v] < least) continue;
    if (count == most) return {};
    d.scratch.picked[count++] = static_cast<TokenId>(v);
  }
  return d.scratch.picked.span().first(count);
}

// `tokens` with their logits.
std::span<ScoredIndex> Candidates(const Draw& d, std::span<const TokenId> tokens) {
  const std::span<float> logits = d.scratch.logits.span().first(tokens.size());
  d.screened.Exact(d.row, tokens, logits);
  for (size_t i = 0; i < tokens.size(); ++i) {
    const bool forbidden = d.allowed != nullptr && !d.allowed->Has(tokens[i]);
    d.scratch.candidates[i] = {tokens[i], forbidden ? TokenMask::kForbidden : logits[i]};
  }
  return d.scratch.candidates.span().first(tokens.size());
}

float LargestLogit(std::span<const ScoredIndex> candidates) {
  return std::min_element(candidates.begin(), candidates.end(), Before)->value;
}

// The best of those that pass min-p; `weight` is relative to the largest logit.
TokenId Winner(const Draw& d, std::span<const ScoredIndex> candidates, const Weights& weight) {
  BestToken best(d.options, d.position);
  for (const ScoredIndex& item : candidates) {
    if (d.options.min_p > 0.0f && weight(item.value) < d.options.min_p) continue;
    best.Consider(item.index, item.value);
  }
  return best.token();
}

std::optional<TokenId> Unfiltered(const Draw& d) {
  const std::span<const TokenId> tokens =
      PossibleWinners(d.lows(), d.highs(), d.options, d.position, d.scratch);
  if (tokens.size() > MostCandidates(d)) return std::nullopt;
  BestToken best(d.options, d.position);
  for (const ScoredIndex& item : Candidates(d, tokens)) best.Consider(item.index, item.value);
  return best.token();
}

// The largest logit, where only some tokens are allowed.
std::optional<TokenId> GreedyAmongAllowed(const Draw& d) {
  const float largest = *std::max_element(d.lows().begin(), d.lows().end());
  const std::span<const TokenId> tokens = MayReach(d, largest, MostCandidates(d));
  if (tokens.empty()) return std::nullopt;
  const std::span<const ScoredIndex> candidates = Candidates(d, tokens);
  return std::min_element(candidates.begin(), candidates.end(), Before)->index;
}

std::optional<TokenId> MinP(const Draw& d) {
  const float largest = *std::max_element(d.lows().begin(), d.lows().end());
  // exp((logit - largest) / temperature) >= min_p, and a hundredth for the rounding of both sides.
  const float least = largest + d.options.temperature * (Log(d.options.min_p) - 0.01f);
  const std::span<const TokenId> tokens =
      MayReach(d, least - 1e-6f * std::fabs(largest), MostCandidates(d));
  if (tokens.empty()) return std::nullopt;
  const std::span<const ScoredIndex> candidates = Candidates(d, tokens);
  return Winner(d, candidates, {LargestLogit(candidates), d.options.temperature});
}

std::optional<TokenId> TopKOf(const Draw& d) {
  const auto k = static_cast<size_t>(d.options.top_k);
  if (k > MostCandidates(d)) return std::nullopt;
  TopK(d.lows(), d.scratch.candidates.span().first(k));
  const std::span<const TokenId> tokens =
      MayReach(d, d.scratch.candidates[k - 1].value, MostCandidates(d));
  if (tokens.empty()) return std::nullopt;
  const std::span<ScoredIndex> candidates = Candidates(d, tokens);
  std::partial_sort(candidates.begin(), candidates.begin() + static_cast<std::ptrdiff_t>(k),
                    candidates.end(), Before);
  const Weights weight{candidates[0].value, d.options.temperature};
  const size_t kept = CutMass(candidates.first(k), weight, d.options.top_p);
  return Winner(d, candidates.first(kept), weight);
}

// sum(exp((x - shift) / temperature)) of the elements that are at least `least`.
double SumExp(const Draw& d, std::span<const float> x, float shift,
              float least = -std::numeric_limits<float>::infinity()) {
  constexpr size_t kChunk = 1024;
  double sum = 0.0;
  for (size_t first = 0; first < x.size(); first += kChunk) {
    const size_t count = std::min(kChunk, x.size() - first);
    sum += static_cast<double>(
        SumExpMinus(x.subspan(first, count), shift, 1.0f / d.options.temperature, least));
  }
  return sum;
}

// A logit that no token of the set is below, as large as a search of few steps finds it: tokens
// whose lower bounds are above it already have the probability top_p. `most` is at least the sum of
// all weights, in units of exp((logit - shift) / temperature).
float CutBelow(const Draw& d, float shift, float largest_low, double most) {
  const double mass = static_cast<double>(d.options.top_p) * most * (1.0 + 10.0 * kSumSlack);
  float cut = largest_low - 20.0f * d.options.temperature, above = largest_low;
  if (SumExp(d, d.lows(), shift, cut) < mass) return -std::numeric_limits<float>::infinity();
  for (int step = 0; step < 9; ++step) {
    const float middle = 0.5f * (cut + above);
    (SumExp(d, d.lows(), shift, middle) >= mass ? cut : above) = middle;
  }
  return cut;
}

// Replaces the bounds of the likeliest tokens, which are most of the sum, by their logits.
void Sharpen(const Draw& d) {
  const float largest = *std::max_element(d.lows().begin(), d.lows().end());
  for (float reach = 16.0f; reach >= 0.5f; reach *= 0.5f) {
    const std::span<const TokenId> tokens =
        MayReach(d, largest - reach * d.options.temperature, MostCandidates(d) / 4);
    for (const ScoredIndex& item : Candidates(d, tokens)) {
      const auto v = static_cast<size_t>(item.index);
      d.scratch.lows[v] = d.scratch.highs[v] = item.value;
    }
    if (!tokens.empty()) return;
  }
}

std::optional<TokenId> TopP(const Draw& d) {
  Sharpen(d);
  const float largest_low = *std::max_element(d.lows().begin(), d.lows().end());
  const float shift = *std::max_element(d.highs().begin(), d.highs().end());
  const double low_sum = SumExp(d, d.lows(), shift), high_sum = SumExp(d, d.highs(), shift);
  if (!std::isfinite(shift) || !std::isfinite(high_sum) || !(low_sum > 0.0)) return std::nullopt;
  const float cut = CutBelow(d, shift, largest_low, high_sum);
  const std::span<const TokenId> tokens = MayReach(d, cut, MostCandidates(d));
  if (tokens.empty()) return std::nullopt;

  // The sum over all tokens: what the candidates weigh, and between bounds what the others do.
  const Weights bound{shift, d.options.temperature};
  double low_seen = 0.0, high_seen = 0.0;
  for (const TokenId token : tokens) {
    low_seen += bound(d.lows()[static_cast<size_t>(token)]);
    high_seen += bound(d.highs()[static_cast<size_t>(token)]);
  }
  const std::span<ScoredIndex> candidates = Candidates(d, tokens);
  const Weights weight{LargestLogit(candidates), d.options.temperature};
  double seen = 0.0;
  for (const ScoredIndex& item : candidates) seen += weight(item.value);
  const double unit = std::exp(static_cast<double>(shift - weight.max_logit) /
                               static_cast<double>(d.options.temperature));
  const double unseen_low = low_sum - low_seen - kSumSlack * (low_sum + low_seen);
  const double unseen_high = high_sum - high_seen + kSumSlack * (high_sum + high_seen);
  const double least = (seen + std::max(unseen_low, 0.0) * unit) * (1.0 - kSumSlack);
  const double most = (seen + std::max(unseen_high, 0.0) * unit) * (1.0 + kSumSlack);

  // The set is between these two, each the first tokens in order: a winner of the larger one that
  // is in the smaller one is the set's winner.
  const double top_p = d.options.top_p;
  const size_t larger = SelectMass(candidates, weight, top_p * most);
  const size_t smaller = SelectMass(candidates.first(larger), weight, top_p * least);
  const TokenId winner = Winner(d, candidates.first(larger), weight);
  const bool in_both = std::ranges::any_of(
      candidates.first(smaller), [&](const ScoredIndex& item) { return item.index == winner; });
  if (!in_both) return std::nullopt;
  return winner;
}

}  // namespace

bool CanScreen(const SamplingOptions& options) {
  return !options.Penalises() && options.logit_bias.empty();
}

std::optional<TokenId> SampleScreened(ScreenedLogits& screened, size_t row,
                                      const SamplingOptions& options, int32_t position,
                                      SamplerScratch& scratch, const TokenMask* allowed) {
  TERN_CHECK(screened.vocab() <= scratch.lows.size()) << screened.vocab() << " logits";
  const bool greedy = options.temperature == 0.0f;
  if (greedy) {
    const TokenId token = screened.ArgMax(row);
    if (allowed == nullptr || allowed->Has(token)) return token;
  }
  const Draw draw{screened, row, options, position, scratch, allowed};
  screened.Bounds(row, scratch.lows.span().first(draw.vocab()),
                  scratch.highs.span().first(draw.vocab()));
  if (allowed != nullptr) {
    allowed->Forbid(scratch.lows.span().first(draw.vocab()));
    allowed->Forbid(scratch.highs.span().first(draw.vocab()));
  }
  if (greedy) return GreedyAmongAllowed(draw);
  const bool all_ranks =
      options.top_k == 0 || static_cast<size_t>(options.top_k) >= screened.vocab();
  if (!all_ranks) return TopKOf(draw);
  if (options.top_p < 1.0f) return TopP(draw);
  return options.min_p > 0.0f ? MinP(draw) : Unfiltered(draw);
}

}  // namespace tern
