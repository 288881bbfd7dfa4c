// ParallelFor: the only way tern uses more than one core inside an operation, and (with its .cc)
// the only code that mentions OpenMP. One thread of the process, the compute thread, calls it.
#ifndef TERN_KERNELS_PARALLEL_H_
#define TERN_KERNELS_PARALLEL_H_

#include <cstddef>
#include <memory>
#include <type_traits>

#include "kernels/thread_team.h"

namespace tern {

// Cores this process may use for compute: physical cores (SMT siblings counted once) within the CPU
// affinity mask and the cgroup quota, at least 1. Reads the system; call it once.
int AvailableCores();

// Threads that ParallelFor uses from now on, also inside oneDNN. REQUIRES: count >= 1. The default
// is AvailableCores(). Results of every kernel are independent of this number.
void SetThreadCount(int count);
int ThreadCount();
// Sets the thread count for a scope.
class WithThreads {
 public:
  explicit WithThreads(int count) : before_(ThreadCount()) { SetThreadCount(count); }
  ~WithThreads() { SetThreadCount(before_); }
  WithThreads(const WithThreads&) = delete;
  WithThreads& operator=(const WithThreads&) = delete;

 private:
  int before_;
};
// True while the caller runs inside a ParallelFor range (that is split over threads).
bool InParallelFor();

namespace internal {
void ParallelRanges(size_t n, size_t grain, RangeFn fn, void* context);
}  // namespace internal

// Calls fn(begin, end) on disjoint ranges that cover [0, n): at most one contiguous range per
// thread (a static split, so a thread streams one piece of memory), none shorter than `grain`
// unless n is, and every boundary a multiple of `grain`. Runs inline when one range is enough or
// when called from inside another ParallelFor. The first exception of any range is rethrown here,
// after all ranges end. Never allocates.
template <class Fn>
void ParallelFor(size_t n, size_t grain, Fn&& fn) {
  using Plain = std::remove_reference_t<Fn>;
  internal::ParallelRanges(
      n, grain,
      [](void* context, size_t begin, size_t end) { (*static_cast<Plain*>(context))(begin, end); },
      const_cast<std::remove_const_t<Plain>*>(std::addressof(fn)));
}

// `work` that is worth a thread of its own where OpenMP hands it over, or the part of it that is
// where a team does (thread_team.h).
inline size_t LeastPiece(size_t work) { return HasTeam() ? work / 4 : work; }

// Grain for element-wise work on rows of `cols` elements: at least 16,384 elements (a few
// microseconds, what waking a second thread costs) per range, a quarter of that in a team.
inline size_t RowGrain(size_t cols) { return LeastPiece(16384) / (cols > 0 ? cols : 1) + 1; }

// Grain for items of `products` fp32 multiply-adds each: about 10 microseconds of work, some times
// the price of waking another core; a quarter of that in a team.
inline size_t ProductGrain(size_t products) {
  return LeastPiece(size_t{1} << 18) / (products > 0 ? products : 1) + 1;
}

}  // namespace tern

#endif  // TERN_KERNELS_PARALLEL_H_
