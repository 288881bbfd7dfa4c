// A run killed at any moment and resumed ends with the same bytes as one never stopped.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <thread>

#include "engine/atomic_file.h"
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

// Starts the program and kills it after `delay`; true where it had finished before.
bool RunAndKill(const std::vector<std::string>& command, std::chrono::microseconds delay) {
  const pid_t child = fork();
  if (child == 0) {
    std::vector<char*> arguments;
    for (const std::string& argument : command)
      arguments.push_back(const_cast<char*>(argument.c_str()));
    arguments.push_back(nullptr);
    if (std::freopen("/dev/null", "w", stderr) == nullptr) _exit(126);
    execv(arguments[0], arguments.data());
    _exit(127);
  }
  std::this_thread::sleep_for(delay);
  kill(child, SIGKILL);
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status) || WEXITSTATUS(status) == 0) << "the program failed by itself";
  return !WIFSIGNALED(status);
}

// Everything that a run leaves but its metrics, which hold times.
std::map<std::string, std::string> Results(const std::string& out) {
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(out)) {
    if (!entry.is_regular_file() || entry.path().extension() == ".jsonl") continue;
    files[std::filesystem::relative(entry.path(), out)] = ReadFile(entry.path());
  }
  return files;
}

void ExpectSameResults(const TempDir& expected_in, const TempDir& got_in, int kills) {
  const auto expected = Results(expected_in / "out"), got = Results(got_in / "out");
  ASSERT_EQ(expected.size(), got.size());
  for (const auto& [name, bytes] : expected) {
    ASSERT_TRUE(got.contains(name)) << name;
    EXPECT_TRUE(got.at(name) == bytes) << name << " differs after " << kills << " kills";
  }
}

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
    ExpectSameResults(whole, killed, kills_here);
  }
}

TEST(KillResumeTest, Bigram) { KillAndCompare("bigram", "1500"); }
TEST(KillResumeTest, Backbone) { KillAndCompare("backbone", "60"); }

}  // namespace
}  // namespace tern::test
