// A run killed at any moment and resumed ends with the same bytes as one never stopped.
#include <gtest/gtest.h>
#include <stdlib.h>

#include <chrono>

#include "tests/support/kill_program.h"
#include "tests/support/run_program.h"
#include "tests/support/temp_dir.h"
#include "tests/trainer/bigram_run.h"

namespace tern::test {
namespace {

using Clock = std::chrono::steady_clock;

#ifdef TERN_MANY_KILLS
constexpr int kKills = 60;
#else
constexpr int kKills = 6;
#endif

// The bigram model meets the poisoned token, and rolls back, about once an epoch of 300 steps; the
// backbone takes it for a token like any other.
void MakeData(const TempDir& dir) { MakeBigramData(dir.path(), kNanToken, 9999); }

void KillAndCompare(const std::string& kind, const std::string& steps) {
  setenv("OMP_WAIT_POLICY", "passive", 1);  // spinning threads starve each other on a busy machine
  const TempDir whole;
  MakeData(whole);
  const auto command = [&](const TempDir& dir) {
    return std::vector<std::string>{TERN_KILLED_RUN, kind, dir.path(), steps};
  };
  const Clock::time_point begin = Clock::now();
  const ProgramResult uninterrupted = RunProgram(command(whole));
  ASSERT_EQ(uninterrupted.status, 0) << uninterrupted.err;
  const auto duration = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - begin);
  for (int kills = 0, tries = 0; kills < kKills && tries < 4 * kKills;) {
    const TempDir killed;
    MakeData(killed);
    int kills_here = 0;
    // Anywhere from the start of the program to a third of a run, until it gets through or is
    // killed enough.
    for (; kills + kills_here < kKills; ++kills_here, ++tries) {
      const auto share = static_cast<int64_t>(Mix64(11, static_cast<uint64_t>(tries)) % 1024);
      if (RunAndKill(command(killed), duration * share / 3072)) break;
    }
    ++tries;
    kills += kills_here;
    const ProgramResult last = RunProgram(command(killed));
    ASSERT_EQ(last.status, 0) << last.err;
    ExpectSameResults(whole / "out", killed / "out", std::to_string(kills_here) + " kills");
  }
}

TEST(KillResumeTest, Bigram) { KillAndCompare("bigram", "1500"); }
TEST(KillResumeTest, Backbone) { KillAndCompare("backbone", "60"); }

}  // namespace
}  // namespace tern::test
