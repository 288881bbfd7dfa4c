#include "trainer/calibration_fit.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <utility>

#include "engine/error.h"
#include "engine/scheduler.h"
#include "trainer/acceptance.h"
#include "trainer/head_walker.h"

namespace tern {
namespace {

constexpr size_t kRanges = DraftCalibration::kRanges, kRanks = DraftCalibration::kRanks;
constexpr auto& kConfidence = DraftCalibration::kConfidence;
constexpr std::array<float, 10> kNoises = {0.0f, 0.5f, 0.75f, 1.0f, 1.25f,
                                           1.5f, 2.0f, 2.5f,  3.0f, 4.0f};
constexpr size_t kSpreads = 25;  // a sixth of an octave apart
constexpr double kTrust = 50.0;  // places that count as much as what the head claims
constexpr int64_t kLeastPlaces = 64;
constexpr size_t kErrorBins = 10;

float SpreadAt(size_t index) {
  return DraftCalibration::kLeastSpread *
         std::exp2(static_cast<float>(index) / 6.0f);  // to kMostSpread, 16 times as much
}

// Right first candidates by lambda.
class NoiseCounts {
 public:
  explicit NoiseCounts(size_t heads) {
    for (auto& range : right_) range.resize(heads);
    for (auto& range : places_) range.resize(heads);
  }
  void Add(const HeadGuess& guess) {
    if (guess.noise.empty()) return;
    ++places_[guess.range][guess.head];
    for (size_t n = 0; n < kNoises.size(); ++n) {
      const auto at = [&](size_t i) { return guess.scaled[i] + kNoises[n] * guess.noise[i]; };
      size_t best = 0;
      for (size_t i = 1; i < guess.scaled.size(); ++i) best = at(i) > at(best) ? i : best;
      if (static_cast<int32_t>(best) == guess.came) ++right_[guess.range][guess.head][n];
    }
  }
  // The best of all ranges together; 1 where none is better by more than chance makes it: the
  // counts of two lambdas differ in few places, so by less than two of a count's standard errors.
  float Best(size_t head) const {
    const auto right = [&](float noise) {
      double sum = 0.0;
      for (const auto& range : right_) sum += static_cast<double>(range[head][IndexOfNoise(noise)]);
      return sum;
    };
    float best = 1.0f;
    double most = right(1.0f) + 2.0 * std::sqrt(right(1.0f));
    for (const float noise : kNoises) {
      if (right(noise) > most) best = noise, most = right(noise);
    }
    return best;
  }
  double Share(size_t range, size_t head, float noise) const {
    const int64_t places = places_[range][head];
    return places > 0 ? static_cast<double>(right_[range][head][IndexOfNoise(noise)]) /
                            static_cast<double>(places)
                      : 0.0;
  }

 private:
  static size_t IndexOfNoise(float noise) {
    return static_cast<size_t>(std::ranges::find(kNoises, noise) - kNoises.begin());
  }
  std::array<std::vector<std::array<int64_t, kNoises.size()>>, kRanges> right_;
  std::array<std::vector<int64_t>, kRanges> places_;
};

// What first candidates promise by spread, beside what they keep.
struct SpreadSums {
  int64_t places = 0, came = 0;
  std::array<double, kSpreads> claimed{};

  void Add(const HeadGuess& guess) {
    ++places;
    came += guess.rank == 0 ? 1 : 0;
    for (size_t i = 0; i < kSpreads; ++i)
      claimed[i] += static_cast<double>(guess.Claimed(0, SpreadAt(i)));
  }
  // Where as many were promised as came: promises fall with the spread.
  float Best() const {
    const auto wanted = static_cast<double>(came);
    size_t above = 0;
    while (above < kSpreads && claimed[above] > wanted) ++above;
    if (above == 0 || above == kSpreads) return SpreadAt(above == 0 ? 0 : kSpreads - 1);
    const double before = claimed[above - 1];
    const double part = (before - wanted) / (before - claimed[above]);
    return SpreadAt(above - 1) *
           std::pow(SpreadAt(above) / SpreadAt(above - 1), static_cast<float>(part));
  }
};

// What candidates of one rank claimed, near each of kConfidence, beside what they kept.
class RateSums {
 public:
  void Add(float claimed, bool came) {
    size_t knot = 0;
    while (knot + 1 < kConfidence.size() &&
           claimed > 0.5f * (kConfidence[knot] + kConfidence[knot + 1]))
      ++knot;
    ++weights_[knot];
    excess_[knot] += (came ? 1.0 : 0.0) - static_cast<double>(claimed);
  }
  // As claimed plus the mean excess, drawn to none where places are few; neighbours that fall are
  // pooled (isotonic regression by pool-adjacent-violators).
  DraftCalibration::Rates Rates() const {
    struct Pool {
      double sum, weight;
      size_t knots;
    };
    std::vector<Pool> pools;
    for (size_t i = 0; i < kConfidence.size(); ++i) {
      const double weight = weights_[i] + kTrust;
      const double rate = static_cast<double>(kConfidence[i]) + excess_[i] / weight;
      pools.push_back({rate * weight, weight, 1});
      while (pools.size() > 1) {
        const Pool last = pools.back(), before = pools[pools.size() - 2];
        if (before.sum * last.weight <= last.sum * before.weight) break;
        pools.pop_back();
        pools.back() = {before.sum + last.sum, before.weight + last.weight,
                        before.knots + last.knots};
      }
    }
    DraftCalibration::Rates rates;
    auto next = rates.begin();
    for (const Pool& pool : pools) {
      const auto rate = static_cast<float>(std::clamp(pool.sum / pool.weight, 0.0, 1.0));
      next = std::fill_n(next, pool.knots, rate);
    }
    return rates;
  }

 private:
  std::array<double, kConfidence.size()> weights_{}, excess_{};
};

// Expected and real outcomes of first candidates.
struct TruthSums {
  int64_t places = 0;
  double came = 0.0, expected = 0.0;
  std::array<double, kErrorBins> excess{};
  void Add(float probability, bool right) {
    ++places;
    const double hit = right ? 1.0 : 0.0, p = static_cast<double>(probability);
    came += hit;
    expected += p;
    const auto bin = static_cast<size_t>(p * kErrorBins);
    excess[std::min(bin, kErrorBins - 1)] += p - hit;
  }
  double Mean(double sum) const { return places > 0 ? sum / static_cast<double>(places) : 0.0; }
  double Error() const {
    double sum = 0.0;
    for (const double bin : excess) sum += std::abs(bin);
    return Mean(sum);
  }
};

class Fit {
 public:
  Fit(const Model& model, const MedusaHeads& heads, const CalibrationOptions& options)
      : walker_(model, heads, options.seed) {}

  DraftCalibration On(const std::vector<const CalibrationText*>& texts) {
    const auto heads = static_cast<size_t>(walker_.heads());
    DraftCalibration fit = DraftCalibration::Unfitted(walker_.heads());
    NoiseCounts noises(heads);
    walker_.Walk(texts, fit.noise, [&](const HeadGuess& guess) { noises.Add(guess); });
    for (size_t k = 0; k < heads; ++k) fit.noise[k] = noises.Best(k);
    std::array<std::vector<SpreadSums>, kRanges> spreads;
    for (auto& range : spreads) range.resize(heads);
    walker_.Walk(texts, fit.noise,
                 [&](const HeadGuess& guess) { spreads[guess.range][guess.head].Add(guess); });
    for (size_t r = 0; r < kRanges; ++r) {
      for (size_t k = 0; k < heads; ++k) {
        const SpreadSums& sums = spreads[r][k];
        if (sums.places >= kLeastPlaces) fit.ranges[r].spreads[k] = sums.Best();
        if (k == 0) fit.tokens += sums.places;
      }
    }
    FitRates(texts, fit);
    return fit;
  }

  // What `calibration` says of texts, beside what came and what none would have said.
  std::array<std::vector<HeadTruth>, kRanges> Truths(
      const std::vector<const CalibrationText*>& texts, const DraftCalibration& calibration) {
    const DraftCalibration none = DraftCalibration::Unfitted(walker_.heads());
    const TruthTable before = Sums(texts, none), after = Sums(texts, calibration);
    NoiseCounts noises(none.noise.size());
    walker_.Walk(texts, none.noise, [&](const HeadGuess& guess) { noises.Add(guess); });
    std::array<std::vector<HeadTruth>, kRanges> truths;
    for (size_t r = 0; r < kRanges; ++r) {
      for (size_t k = 0; k < none.noise.size(); ++k) {
        const TruthSums &was = before[r][k], &is = after[r][k];
        HeadTruth& truth = truths[r].emplace_back();
        truth.places = is.places;
        truth.noise = calibration.noise[k];
        truth.came = is.Mean(is.came);
        truth.expected = is.Mean(is.expected);
        truth.error = is.Error();
        truth.came_before = was.Mean(was.came);
        truth.expected_before = was.Mean(was.expected);
        truth.error_before = was.Error();
        if (r == 0) continue;
        truth.came_by_noise = {noises.Share(r, k, 0.0f), noises.Share(r, k, 1.0f),
                               noises.Share(r, k, truth.noise)};
      }
    }
    return truths;
  }

 private:
  using TruthTable = std::array<std::vector<TruthSums>, kRanges>;  // [range][head]

  TruthTable Sums(const std::vector<const CalibrationText*>& texts,
                  const DraftCalibration& calibration) {
    TruthTable sums;
    for (auto& range : sums) range.resize(calibration.noise.size());
    walker_.Walk(texts, calibration.noise, [&](const HeadGuess& guess) {
      const float spread = calibration.ranges[guess.range].spreads[guess.head];
      const float rate = calibration.Rate(guess.range, 0, guess.Claimed(0, spread));
      sums[guess.range][guess.head].Add(rate, guess.rank == 0);
    });
    return sums;
  }
  void FitRates(const std::vector<const CalibrationText*>& texts, DraftCalibration& fit) {
    std::array<std::array<RateSums, kRanks>, kRanges> rates;
    walker_.Walk(texts, fit.noise, [&](const HeadGuess& guess) {
      const float spread = fit.ranges[guess.range].spreads[guess.head];
      for (size_t r = 0; r < guess.best.size(); ++r)
        rates[guess.range][r].Add(guess.Claimed(r, spread), guess.rank == r);
    });
    for (size_t range = 0; range < kRanges; ++range) {
      for (size_t r = 0; r < kRanks; ++r) fit.ranges[range].by_rank[r] = rates[range][r].Rates();
    }
  }

  HeadWalker walker_;
};

// All prompts at every temperature, the texts of one temperature behind those of another.
class TextWriter {
 public:
  TextWriter(const Model& model, const Tokenizer& tokenizer,
             const std::vector<std::vector<TokenId>>& prompts, const CalibrationOptions& options,
             const CalibrationProgress& progress)
      : scheduler_(model, tokenizer, LimitsFor(model, prompts, options)), progress_(progress) {
    texts_.reserve(prompts.size() * kRanges);
    for (const float temperature : kFittedTemperatures) {
      for (size_t i = 0; i < prompts.size(); ++i) {
        CalibrationText& text = texts_.emplace_back();
        text.tokens = prompts[i];
        text.prompt_length = prompts[i].size();
        text.temperature = temperature;
        text.stream = static_cast<uint32_t>(i);
        Submit(text, options);
      }
    }
  }
  std::vector<CalibrationText> Write() {
    while (scheduler_.Step()) {
    }
    return std::move(texts_);
  }

 private:
  static SchedulerLimits LimitsFor(const Model& model,
                                   const std::vector<std::vector<TokenId>>& prompts,
                                   const CalibrationOptions& options) {
    size_t longest = 1;
    for (const std::vector<TokenId>& prompt : prompts) longest = std::max(longest, prompt.size());
    SchedulerLimits limits;
    limits.max_sequences = options.parallel;
    limits.max_context = static_cast<int32_t>(std::min<int64_t>(
        static_cast<int64_t>(longest) + options.max_tokens, model.config.max_position_embeddings));
    limits.max_rows = 1;
    limits.kv_type = options.kv_type;
    return limits;
  }
  void Submit(CalibrationText& text, const CalibrationOptions& options) {
    GenerationOptions generation;
    generation.max_tokens = options.max_tokens;
    generation.draft = DraftMode::kOff;
    generation.sampling.temperature = text.temperature;
    generation.sampling.seed = options.seed;
    generation.sampling.stream = text.stream;
    scheduler_.Submit({.prompt = text.tokens,
                       .options = generation,
                       .on_step = {},
                       .on_hidden =
                           [&text](int32_t, std::span<const float> row) {
                             for (const float value : row)
                               text.hidden.push_back(BFloat16::FromFloat(value));
                           },
                       .on_finish =
                           [this, &text](GenerationResult result) {
                             text.tokens.insert(text.tokens.end(), result.token_ids.begin(),
                                                result.token_ids.end());
                             if (progress_) progress_(++done_);
                           }});
  }

  std::vector<CalibrationText> texts_;
  Scheduler scheduler_;
  const CalibrationProgress& progress_;
  size_t done_ = 0;
};

}  // namespace

CalibrationReport FitCalibration(const Model& model, const Tokenizer& tokenizer,
                                 const MedusaHeads& heads, const std::vector<Prompt>& prompts,
                                 const CalibrationOptions& options,
                                 const CalibrationProgress& progress) {
  return FitCalibration(model, tokenizer, heads, EncodePrompts(model, tokenizer, prompts), options,
                        progress);
}

CalibrationReport FitCalibration(const Model& model, const Tokenizer& tokenizer,
                                 const MedusaHeads& heads,
                                 const std::vector<std::vector<TokenId>>& prompts,
                                 const CalibrationOptions& options,
                                 const CalibrationProgress& progress) {
  const std::vector<CalibrationText> texts =
      TextWriter(model, tokenizer, prompts, options, progress).Write();
  std::vector<const CalibrationText*> all, halves[2];
  for (const CalibrationText& text : texts) {
    all.push_back(&text);
    halves[text.stream % 2].push_back(&text);
  }
  Fit fit(model, heads, options);
  CalibrationReport report;
  report.calibration = fit.On(all);
  if (report.calibration.tokens < kLeastPlaces) {
    throw InvalidArgument("calibration: the texts have " +
                          std::to_string(report.calibration.tokens) +
                          " places to measure heads at, expected at least " +
                          std::to_string(kLeastPlaces) + "; give more prompts or longer texts");
  }
  report.truths = fit.Truths(halves[1], fit.On(halves[0]));
  return report;
}

}  // namespace tern
