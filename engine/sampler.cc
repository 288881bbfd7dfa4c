#include "engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "engine/error.h"
#include "engine/token_filters.h"
#include "kernels/check.h"
#include "kernels/vector_math.h"

namespace tern {
namespace {

void CheckRange(const char* field, double value, double low, double high, const char* range) {
  if (value >= low && value <= high) return;  // false for NaN
  throw InvalidArgument(std::string(field) + " is " + std::to_string(value) + ", expected " +
                        range);
}

// The row with penalties, bias and what is allowed: `logits` itself where there are none.
std::span<const float> Adjust(std::span<const float> logits, const SamplingOptions& options,
                              const TokenCounts& counts, const TokenMask* allowed,
                              std::span<float> adjusted) {
  if (!options.Penalises() && options.logit_bias.empty() && allowed == nullptr) return logits;
  std::copy(logits.begin(), logits.end(), adjusted.begin());
  if (options.Penalises()) {
    for (TokenId token : counts.distinct()) {
      float& logit = adjusted[static_cast<size_t>(token)];
      const float repetition = options.repetition_penalty;
      logit = logit > 0.0f ? logit / repetition : logit * repetition;
      const int32_t occurrences = counts.Generated(token);
      if (occurrences > 0) {
        logit -=
            options.frequency_penalty * static_cast<float>(occurrences) + options.presence_penalty;
      }
    }
  }
  for (const auto& [token, bias] : options.logit_bias) adjusted[static_cast<size_t>(token)] += bias;
  if (allowed != nullptr) allowed->Forbid(adjusted);
  return adjusted;
}

// top-p over the whole vocabulary.
size_t FilterTopP(std::span<const float> logits, double top_p, const Weights& weight,
                  std::span<ScoredIndex> candidates) {
  double total = 0.0;
  for (float logit : logits) total += weight(logit);
  // Tokens lighter than this sum to less than half of the mass that top-p leaves out, so none of
  // them is in the set; usually that is nearly all of the vocabulary. (Half, and 0.01 on the
  // logarithm: far more than the rounding of the threshold.)
  const double floor = 0.5 * (1.0 - top_p) * total / static_cast<double>(logits.size());
  const float lowest =
      weight.max_logit + weight.temperature * (Log(static_cast<float>(floor)) - 0.01f);
  size_t count = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] >= lowest) candidates[count++] = {static_cast<int32_t>(i), logits[i]};
  }
  return SelectMass(candidates.first(count), weight, top_p * total);
}

bool KeepsAllRanks(const SamplingOptions& options, size_t vocab) {
  return options.top_k == 0 || static_cast<size_t>(options.top_k) >= vocab;
}

// Calls fn(token, logit) for each token that the filters keep. REQUIRES a temperature above 0.
template <class Fn>
void ForSurvivors(std::span<const float> row, const Weights& weight, const SamplingOptions& options,
                  SamplerScratch& scratch, const Fn& fn) {
  // min-p compares with the most probable token, so it may come last without seeing another sum.
  const auto passes = [&](float logit) {
    return options.min_p <= 0.0f || weight(logit) >= options.min_p;
  };
  const bool all_ranks = KeepsAllRanks(options, row.size());
  if (all_ranks && options.top_p >= 1.0f) {
    for (size_t i = 0; i < row.size(); ++i) {
      if (passes(row[i])) fn(static_cast<TokenId>(i), row[i]);
    }
    return;
  }
  const std::span<ScoredIndex> candidates = scratch.candidates.span().first(row.size());
  size_t kept = 0;
  if (all_ranks) {
    kept = FilterTopP(row, options.top_p, weight, candidates);
  } else {
    const auto first = candidates.first(static_cast<size_t>(options.top_k));
    TopK(row, first);
    kept = CutMass(first, weight, options.top_p);
  }
  for (const ScoredIndex& item : candidates.first(kept)) {
    if (passes(item.value)) fn(static_cast<TokenId>(item.index), item.value);
  }
}

}  // namespace

void SamplingOptions::Validate() const {
  if (temperature != 0.0f)
    CheckRange("temperature", temperature, 0.001f, 100.0, "0 (greedy) or 0.001 to 100");
  CheckRange("top_k", top_k, 0, std::numeric_limits<int32_t>::max(), "0 (all) or more");
  CheckRange("top_p", top_p, std::numeric_limits<float>::min(), 1.0, "more than 0 and at most 1");
  CheckRange("min_p", min_p, 0.0, 1.0, "0 to 1");
  CheckRange("repetition_penalty", repetition_penalty, 0.01f, 100.0, "0.01 to 100");
  CheckRange("frequency_penalty", frequency_penalty, -2.0, 2.0, "-2 to 2");
  CheckRange("presence_penalty", presence_penalty, -2.0, 2.0, "-2 to 2");
  for (const auto& [token, bias] : logit_bias) {
    if (token < 0)
      throw InvalidArgument("logit_bias has token id " + std::to_string(token) +
                            ", expected 0 or more");
    CheckRange("logit_bias", bias, -100.0, 100.0, "-100 to 100");
  }
}

TokenId SampleToken(std::span<const float> logits, const SamplingOptions& options, int32_t position,
                    const TokenCounts& counts, SamplerScratch& scratch, const TokenMask* allowed) {
  TERN_CHECK(logits.size() <= scratch.logits.size()) << logits.size() << " logits";
  const std::span<const float> row =
      Adjust(logits, options, counts, allowed, scratch.logits.span().first(logits.size()));
  const TokenId top = ArgMax(row);
  if (options.temperature == 0.0f) return top;

  const float max_logit = row[static_cast<size_t>(top)];
  const Weights weight{max_logit, options.temperature};
  BestToken best(options, position);
  best.Consider(top, max_logit);
  const auto consider = [&](TokenId token, float logit) { best.Consider(token, logit); };
  const bool keeps_all = KeepsAllRanks(options, row.size()) && options.top_p >= 1.0f;
  if (keeps_all && options.min_p <= 0.0f) {
    for (const TokenId token : PossibleWinners(row, row, options, position, scratch))
      best.Consider(token, row[static_cast<size_t>(token)]);
  } else {
    ForSurvivors(row, weight, options, scratch, consider);
  }
  return best.token();
}

double TokenDistribution(std::span<const float> logits, const SamplingOptions& options,
                         const TokenCounts& counts, std::span<const TokenId> tokens,
                         std::span<double> probabilities, SamplerScratch& scratch) {
  TERN_CHECK(options.temperature > 0.0f && logits.size() <= scratch.logits.size());
  const std::span<const float> row =
      Adjust(logits, options, counts, nullptr, scratch.logits.span().first(logits.size()));
  const Weights weight{row[static_cast<size_t>(ArgMax(row))], options.temperature};
  const std::span<float> weights = scratch.noise.span().first(row.size());
  std::fill(weights.begin(), weights.end(), 0.0f);
  // H = log(sum w) - sum(w log w) / sum w, for weights w relative to the largest.
  double sum = 0.0, weighted = 0.0;
  ForSurvivors(row, weight, options, scratch, [&](TokenId token, float logit) {
    const double w = weights[static_cast<size_t>(token)] = weight(logit);
    sum += w;
    if (w > 0.0)
      weighted += w * static_cast<double>((logit - weight.max_logit) / weight.temperature);
  });
  for (size_t i = 0; i < tokens.size(); ++i)
    probabilities[i] = static_cast<double>(weights[static_cast<size_t>(tokens[i])]) / sum;
  return std::log(sum) - weighted / sum;
}

TokenLogprob Logprobs(std::span<const float> logits, TokenId chosen, std::span<TokenLogprob> top,
                      SamplerScratch& scratch) {
  const float normaliser = LogSumExp(logits);
  TERN_CHECK(top.size() <= logits.size()) << top.size() << " of " << logits.size();
  if (!top.empty()) {
    const std::span<ScoredIndex> best = scratch.candidates.span().first(top.size());
    TopK(logits, best);
    for (size_t i = 0; i < top.size(); ++i) top[i] = {best[i].index, best[i].value - normaliser};
  }
  return {chosen, logits[static_cast<size_t>(chosen)] - normaliser};
}

}  // namespace tern
