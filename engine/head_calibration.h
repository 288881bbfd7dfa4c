// Turns what draft heads predict into probabilities of being accepted.
#ifndef TERN_ENGINE_HEAD_CALIBRATION_H_
#define TERN_ENGINE_HEAD_CALIBRATION_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace tern {

// Heads are surer than they are right, the more so the higher the temperature: they do not see the
// token that was sampled at the root. Dividing their logits by a spread, one for each head and
// range of temperatures, makes the probabilities true on average (temperature scaling, Guo et al.
// 2017, section 4.2). The spread is learned from what became of the likeliest candidates: it rises
// where they were expected more often than they came. Not thread-safe.
class HeadCalibration {
 public:
  explicit HeadCalibration(int32_t heads);
  // Of head k = depth, at least 1.
  float Spread(float temperature, int32_t depth) const;
  // The likeliest candidate at `depth`, behind a path that was right so far, had `probability` and
  // came or did not.
  void Learn(float temperature, int32_t depth, float probability, bool came);

 private:
  static constexpr size_t kRanges = 4;  // greedy; up to 0.5; up to 0.85; above
  static size_t RangeOf(float temperature);
  size_t At(float temperature, int32_t depth) const;
  int32_t heads_;
  std::vector<float> logs_;  // [kRanges, heads] natural logarithms of the spreads
};

}  // namespace tern

#endif  // TERN_ENGINE_HEAD_CALIBRATION_H_
