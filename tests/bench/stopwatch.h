// What a call costs on a machine that other programs use too.
#ifndef TERN_TESTS_BENCH_STOPWATCH_H_
#define TERN_TESTS_BENCH_STOPWATCH_H_

#include <algorithm>
#include <chrono>
#include <functional>
#include <vector>

namespace tern {

// Lower quartile of the microseconds of a call: other programs only ever add to it.
inline double Microseconds(const std::function<void()>& call) {
  using Clock = std::chrono::steady_clock;
  std::vector<double> times(101);
  for (double& time : times) {
    const Clock::time_point start = Clock::now();
    call();
    time = std::chrono::duration<double, std::micro>(Clock::now() - start).count();
  }
  std::nth_element(times.begin(), times.begin() + 25, times.end());
  return times[25];
}

}  // namespace tern

#endif  // TERN_TESTS_BENCH_STOPWATCH_H_
