// How ParallelFor and the thread team cut a range into pieces. Private to kernels/.
#ifndef TERN_KERNELS_RANGE_SPLIT_H_
#define TERN_KERNELS_RANGE_SPLIT_H_

#include <algorithm>
#include <cstddef>

namespace tern::internal {

// Units of `grain` in [0, n), the last one cut at n. REQUIRES grain >= 1.
constexpr size_t ChunkCount(size_t n, size_t grain) { return (n + grain - 1) / grain; }

// [0, n) in `pieces` of nearly as many chunks each. REQUIRES grain >= 1, pieces >= 1.
class RangeSplit {
 public:
  constexpr RangeSplit(size_t n, size_t grain, size_t pieces)
      : n_(n), grain_(grain), pieces_(pieces), chunks_(ChunkCount(n, grain)) {}
  // Where `piece` begins, and the one before it ends.
  constexpr size_t Begin(size_t piece) const {
    return std::min(n_, chunks_ * piece / pieces_ * grain_);
  }

 private:
  size_t n_, grain_, pieces_, chunks_;
};

}  // namespace tern::internal

#endif  // TERN_KERNELS_RANGE_SPLIT_H_
