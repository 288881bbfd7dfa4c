// `tern pretrain` killed at any moment and started again ends with the bytes of a run never
// stopped.
#include <filesystem>

#include "tests/e2e/pretrain_run.h"
#include "tests/support/kill_program.h"

namespace tern {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

#ifdef TERN_MANY_KILLS
constexpr int kKills = 40;
#else
constexpr int kKills = 4;
#endif

class PretrainKillTest : public PretrainTest {
 protected:
  // Much writing: a checkpoint and an export after every other step.
  static Arguments Command(const std::string& out, const std::string& threads) {
    Arguments command =
        Pretrain(out, {"--threads", threads, "--checkpoint-every", "2", "--steps", "24"});
    command.insert(command.begin(), TERN_PROGRAM);
    return command;
  }
  // Runs to the end, killed `kills` times; `kill(n)` runs and kills once, true where the run ended.
  void KillAndCompare(const std::string& threads, int kills,
                      const std::function<bool(const Arguments&, int)>& kill) {
    const std::string whole = dir_ / "whole";
    ASSERT_EQ(RunProgram(Command(whole, threads)).status, 0);
    int killed = 0;
    for (int run = 0; killed < kills && run < 4 * kills; ++run) {
      const std::string out = dir_ / ("killed" + std::to_string(run));
      int here = 0;
      while (here < kMostPerRun && !kill(Command(out, threads), killed + here)) ++here;
      killed += here;
      const ProgramResult last = RunProgram(Command(out, threads));
      ASSERT_EQ(last.status, 0) << last.err;
      ExpectSameResults(whole, out, std::to_string(here) + " kills");
      fs::remove_all(out);
    }
    EXPECT_GE(killed, kills) << "the run ends before it can be killed";
  }
  static constexpr int kMostPerRun = 8;
};

TEST_F(PretrainKillTest, AtRandomMoments) {
  const Clock::time_point begin = Clock::now();
  ASSERT_EQ(RunProgram(Command(dir_ / "timed", "1")).status, 0);
  const auto whole = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - begin);
  std::mt19937 random(7);
  for (const char* threads : {"1", "2"}) {
    KillAndCompare(threads, kKills, [&](const Arguments& command, int) {
      return RunAndKill(command, whole * (random() % 1024) / 1024);
    });
    fs::remove_all(dir_ / "whole");
  }
}

// While a temporary file is there: in the middle of a checkpoint or of an export.
TEST_F(PretrainKillTest, WhileWriting) {
  std::mt19937 random(8);
  const std::vector<std::string> folders = {"/run", "", "/masters"};
  KillAndCompare("1", kKills, [&](const Arguments& command, int kill) {
    const std::string folder = command[3] + folders[static_cast<size_t>(kill) % folders.size()];
    return RunAndKill(command, tern::WhileWriting(folder, static_cast<int>(random() % 3)));
  });
}

}  // namespace
}  // namespace tern
