#include "kernels/parallel.h"

#include <omp.h>
#include <sched.h>

#include <algorithm>
#include <cmath>
#include <exception>
#include <fstream>
#include <set>
#include <string>

#include "kernels/check.h"
#include "kernels/range_split.h"
#include "kernels/thread_team.h"

namespace tern {
namespace {

int g_thread_count = 0;  // 0: not chosen yet

// CPU quota of the cgroup in whole CPUs (rounded up), or a large number where there is none.
int CgroupQuota() {
  constexpr int kUnlimited = 1 << 20;
  double quota = 0, period = 0;
  if (std::ifstream v2("/sys/fs/cgroup/cpu.max"); v2) {
    std::string first;
    if (v2 >> first >> period && first != "max") quota = std::atof(first.c_str());
  } else {
    std::ifstream("/sys/fs/cgroup/cpu/cpu.cfs_quota_us") >> quota;
    std::ifstream("/sys/fs/cgroup/cpu/cpu.cfs_period_us") >> period;
  }
  if (quota <= 0 || period <= 0) return kUnlimited;
  return std::max(1, static_cast<int>(std::ceil(quota / period)));
}

}  // namespace

int AvailableCores() {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  if (sched_getaffinity(0, sizeof(mask), &mask) != 0) return 1;
  // By the list of their SMT siblings: numbers of packages and cores are unique only within a
  // cluster on arm64.
  std::set<std::string> cores;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &mask)) continue;
    const std::string number = std::to_string(cpu);
    std::ifstream file("/sys/devices/system/cpu/cpu" + number + "/topology/thread_siblings_list");
    std::string siblings;
    cores.insert(file >> siblings ? siblings : number);
  }
  return std::clamp(static_cast<int>(cores.size()), 1, CgroupQuota());
}

void SetThreadCount(int count) {
  TERN_CHECK(count >= 1) << "thread count " << count;
  g_thread_count = count;
  omp_set_dynamic(0);
  omp_set_num_threads(count);
}

int ThreadCount() {
  if (g_thread_count == 0) SetThreadCount(AvailableCores());
  return g_thread_count;
}

bool InParallelFor() { return internal::InTeamPiece() || omp_in_parallel() != 0; }

namespace internal {

void ParallelRanges(size_t n, size_t grain, RangeFn fn, void* context) {
  if (n == 0) return;
  grain = std::max<size_t>(grain, 1);
  const size_t ranges = std::min(ChunkCount(n, grain), static_cast<size_t>(ThreadCount()));
  if (ranges <= 1 || InParallelFor()) {
    fn(context, 0, n);
    return;
  }
  if (HasTeam()) return RunOnTeam(n, grain, ranges, fn, context);
  const RangeSplit split(n, grain, ranges);
  std::exception_ptr error;  // an exception that left an OpenMP region would end the process
  // Not a worksharing loop: clang's runtime allocates at the start of one.
#pragma omp parallel num_threads(static_cast <int>(ranges)) shared(error)
  {
    const auto team = static_cast<size_t>(omp_get_num_threads());  // a limit may make it smaller
    for (auto r = static_cast<size_t>(omp_get_thread_num()); r < ranges; r += team) {
      try {
        fn(context, split.Begin(r), split.Begin(r + 1));
      } catch (...) {
#pragma omp critical(tern_parallel_error)
        if (!error) error = std::current_exception();
      }
    }
  }
  if (error) std::rethrow_exception(error);
}

}  // namespace internal
}  // namespace tern
