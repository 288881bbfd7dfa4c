// How far draft heads' probabilities are to be believed, as fitted on texts they were not trained
// on. A file of its own beside Medusa heads, tern_calibration.json:
//
//   {"heads": K, "tokens": places fitted on,
//    "noise": [lambda of head 1, .., K],
//    "temperatures": [{"spread": [of head 1, .., K],
//                      "rates": [[rate at each of kConfidence], .. for rank 1 to 8]}, .. 4 ranges]}
#ifndef TERN_ENGINE_DRAFT_CALIBRATION_H_
#define TERN_ENGINE_DRAFT_CALIBRATION_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace tern {

// A candidate's probability of being accepted is found in two steps. The head's logits, with the
// noise of the sampling, are divided by a spread (temperature scaling, Guo et al. 2017, section
// 4.2): one for each head and range of temperatures, since heads do not see the token sampled at
// the root. What the softmax then claims is looked up, by range and rank: the rates between two of
// kConfidence are interpolated.
struct DraftCalibration {
  static constexpr size_t kRanges = 4;  // greedy; up to 0.5; up to 0.85; above
  static constexpr size_t kRanks = 8;
  static constexpr std::array<float, 12> kConfidence = {0.0f, 0.05f, 0.1f, 0.2f, 0.3f, 0.4f,
                                                        0.5f, 0.6f,  0.7f, 0.8f, 0.9f, 1.0f};
  static constexpr float kLeastSpread = 0.5f, kMostSpread = 8.0f;
  static constexpr float kMostNoise = 4.0f;
  using Rates = std::array<float, kConfidence.size()>;

  struct Range {
    std::vector<float> spreads;         // [K]
    std::array<Rates, kRanks> by_rank;  // each rises from 0 or above to 1 at most
  };

  // Nothing was fitted: noise 1, rates as claimed, and spreads that suit the default model.
  static DraftCalibration Unfitted(int32_t heads);

  bool fitted() const { return tokens > 0; }
  int32_t heads() const { return static_cast<int32_t>(noise.size()); }
  static size_t RangeOf(float temperature);
  // Of a candidate of `rank` (from 0) with the probability `claimed`; NaN stays NaN.
  float Rate(size_t range, size_t rank, float claimed) const;

  int64_t tokens = 0;
  // [K] of head k's candidates at logit / temperature + noise * the sampler's.
  std::vector<float> noise;
  std::array<Range, kRanges> ranges;
};

// Unfitted where there is no such file in `dir`. Throws kBadFile where any value is out of its
// range or the heads are not `heads`.
DraftCalibration ReadCalibration(const std::string& dir, int32_t heads);

// Atomically; removes the file where nothing was fitted.
void WriteCalibration(const std::string& dir, const DraftCalibration& calibration);

}  // namespace tern

#endif  // TERN_ENGINE_DRAFT_CALIBRATION_H_
