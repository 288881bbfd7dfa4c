// The median of the latest few measurements: what timing decisions in this folder go by, since
// another program only ever makes single measurements longer.
#ifndef TERN_ENGINE_RECENT_MEDIAN_H_
#define TERN_ENGINE_RECENT_MEDIAN_H_

#include <algorithm>
#include <array>
#include <cstddef>

namespace tern {

// Of the latest kWindow values. Allocates nothing; not thread-safe.
class RecentMedian {
 public:
  static constexpr size_t kWindow = 9;

  void Add(double value) { values_[count_++ % kWindow] = value; }
  void Clear() { count_ = 0; }
  size_t count() const { return count_; }  // values added, also those that were replaced
  // The upper one of the two in the middle where they are even in number; 0 before the first.
  double Median() const {
    const size_t n = std::min(count_, kWindow);
    if (n == 0) return 0.0;
    std::array<double, kWindow> sorted = values_;
    const auto begin = sorted.begin();
    const auto middle = begin + static_cast<std::ptrdiff_t>(n / 2);
    std::nth_element(begin, middle, begin + static_cast<std::ptrdiff_t>(n));
    return *middle;
  }

 private:
  std::array<double, kWindow> values_{};  // a ring
  size_t count_ = 0;
};

}  // namespace tern

#endif  // TERN_ENGINE_RECENT_MEDIAN_H_
