// The mean of the latest measurements and how far it may be off: what decisions about drafting go
// by where single steps are mostly noise.
#ifndef TERN_ENGINE_RECENT_GAIN_H_
#define TERN_ENGINE_RECENT_GAIN_H_

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace tern {

// Over about the latest `memory` values, all alike until there are so many. Allocates nothing; not
// thread-safe.
class RecentGain {
 public:
  explicit RecentGain(int64_t memory) : memory_(memory) {}

  // Returns the weight of the value in the mean.
  double Add(double gain) {
    ++count_;
    const double rate = 1.0 / static_cast<double>(std::min(count_, memory_));
    const double off = gain - mean_;
    mean_ += rate * off;
    variance_ = (1.0 - rate) * (variance_ + rate * off * off);
    return rate;
  }
  void Clear() { *this = RecentGain(memory_); }

  int64_t count() const { return count_; }  // values added
  double mean() const { return mean_; }
  // The mean, lowered (raised) by so many of its standard errors.
  double AtLeast(double errors) const { return mean_ - errors * StandardError(); }
  double AtMost(double errors) const { return mean_ + errors * StandardError(); }

 private:
  double StandardError() const {
    return std::sqrt(variance_ / static_cast<double>(std::clamp<int64_t>(count_, 1, memory_)));
  }

  int64_t memory_, count_ = 0;
  double mean_ = 0.0, variance_ = 0.0;
};

// Tokens that a text gained lately in the time of a pass of one row, drafting included: what any
// other use of that time must beat. At least 1, plain decoding's. Allocates nothing; not
// thread-safe.
class RecentSpeed {
 public:
  // A step, which took as long as `passes` passes of one row.
  void Add(int32_t tokens, double passes) {
    tokens_ += (tokens - tokens_) * kRate;
    passes_ += (passes - passes_) * kRate;
  }
  double Value() const { return std::max(1.0, tokens_ / passes_); }

 private:
  static constexpr double kRate = 1.0 / 128;  // of the latest step in the means
  double tokens_ = 1.0, passes_ = 1.0;
};

}  // namespace tern

#endif  // TERN_ENGINE_RECENT_GAIN_H_
