// Turns what draft heads predict into probabilities of being accepted.
#ifndef TERN_ENGINE_HEAD_CALIBRATION_H_
#define TERN_ENGINE_HEAD_CALIBRATION_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/draft_calibration.h"

namespace tern {

// A stored calibration and what the texts at hand add to it: the spreads are learned on from what
// became of the likeliest candidates, text after text. They rise where those were expected more
// often than they came. Not thread-safe.
class HeadCalibration {
 public:
  explicit HeadCalibration(DraftCalibration stored);
  explicit HeadCalibration(int32_t heads) : HeadCalibration(DraftCalibration::Unfitted(heads)) {}
  // Of head k = depth, at least 1.
  float Spread(float temperature, int32_t depth) const;
  float Noise(int32_t depth) const;
  // Of a candidate of `rank`, from 0, to which the spread head gives the probability `claimed`.
  float Rate(float temperature, size_t rank, float claimed) const {
    return stored_.Rate(DraftCalibration::RangeOf(temperature), rank, claimed);
  }
  // The likeliest candidate at `depth`, behind a path that was right so far, had `probability` and
  // came or did not.
  void Learn(float temperature, int32_t depth, float probability, bool came);

 private:
  size_t At(float temperature, int32_t depth) const;

  DraftCalibration stored_;
  std::vector<float> logs_;  // [kRanges, heads] natural logarithms of the spreads
};

}  // namespace tern

#endif  // TERN_ENGINE_HEAD_CALIBRATION_H_
