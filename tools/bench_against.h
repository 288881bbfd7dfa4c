// Two binaries timed in turns, so that a machine's moods meet both.
#ifndef TERN_TOOLS_BENCH_AGAINST_H_
#define TERN_TOOLS_BENCH_AGAINST_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace tern {

// The same measurement of both, e.g. a pass of 4 rows.
struct Comparison {
  std::string what;
  double here_ms = 0.0, there_ms = 0.0;  // medians
  double ratio = 0.0;                    // median of there / here: above 1, this binary is faster
};

// Runs `tern bench ARGUMENTS --json --rounds 1` of this binary and of the one at `path` in turns,
// `rounds` times. Throws kNotFound where there is no such program, kInternal with its own message
// where a run fails, and where what it writes is not what tern bench writes.
std::vector<Comparison> BenchAgainst(const std::string& path,
                                     const std::vector<std::string>& arguments, int32_t rounds,
                                     const std::function<void(double)>& progress);

}  // namespace tern

#endif  // TERN_TOOLS_BENCH_AGAINST_H_
