// This binary's passes and another program's, timed in turns, so that a machine's moods meet both.
#ifndef TERN_TOOLS_BENCH_AGAINST_H_
#define TERN_TOOLS_BENCH_AGAINST_H_

#include <compare>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace tern {

// What is timed. The order is the order of tables.
struct BenchWork {
  bool prefill = false;
  int32_t context = 0;
  std::string kv_type = "bf16";
  int32_t rows = 0;     // of a pass, or the tokens of a prefill
  std::string decides;  // as in ToString(PassKind); empty for a prefill
  bool zero_skip = false;
  auto operator<=>(const BenchWork&) const = default;
  std::string Label() const;  // e.g. "context 0, 4 rows, greedy"
};
using BenchTimes = std::map<BenchWork, double>;  // milliseconds

// The same measurement of both.
struct Comparison {
  BenchWork work;
  double here_ms = 0.0, there_ms = 0.0;  // medians
  double ratio = 0.0;                    // median of there / here: above 1, this binary is faster
};

using BenchRun = std::function<BenchTimes()>;

// Runs `here` and `there` `rounds` times; who goes first alternates. What both timed in every
// round; may be nothing. `progress` is told the share done.
std::vector<Comparison> TakeTurns(const BenchRun& here, const BenchRun& there, int32_t rounds,
                                  const std::function<void(double)>& progress);

// `PROGRAM bench ARGUMENTS --json --rounds 1`. Throws kNotFound where there is no such program,
// kInternal with its own message where a run fails, and where what it writes is not what tern bench
// writes.
BenchTimes RunTernBench(const std::string& program, const std::vector<std::string>& arguments);

// The path of this binary.
std::string ThisProgram();

// This binary and the one at `path`, a path even where it has no '/'. Throws what RunTernBench
// throws.
std::vector<Comparison> BenchAgainst(const std::string& path,
                                     const std::vector<std::string>& arguments, int32_t rounds,
                                     const std::function<void(double)>& progress);

}  // namespace tern

#endif  // TERN_TOOLS_BENCH_AGAINST_H_
