// `tern train` killed at 50 moments of all its phases, and started again each time, ends with the
// bytes of runs never stopped.
#include <random>
#include <set>

#include "tests/e2e/heads_run.h"

namespace tern::test {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::microseconds;

microseconds Since(Clock::time_point begin) {
  return std::chrono::duration_cast<microseconds>(Clock::now() - begin);
}

constexpr char kLastCheckpoint[] = "/run/step-0000000040.ckpt";
enum class Moment { kLoading, kTraining, kCheckpoint, kExport, kAnyTime, kCalibration, kEnd };

// In the order of a run: each begins where the kill before it left off.
constexpr Moment kMoments[] = {Moment::kLoading,    Moment::kTraining,    Moment::kCheckpoint,
                               Moment::kExport,     Moment::kTraining,    Moment::kAnyTime,
                               Moment::kCheckpoint, Moment::kCalibration, Moment::kCalibration,
                               Moment::kEnd};

class TrainKillTest : public HeadsRunTest {
 protected:
  using Words = std::vector<std::string>;

  // The command with its results in `out`, with a few checkpoints and exports per second.
  Words Command(const std::string& out, const Words& kind) const {
    Words command = With(Train(data_, out, {"--checkpoint-every", "4", "--calibrate", "8"}), kind);
    const bool flat = std::ranges::find(command, "--no-bias") != command.end();
    return flat ? With(command, {"--gguf", out + "/heads.gguf", "--no-root"}) : command;
  }
  // Runs to the end; the time that took.
  microseconds Timed(const Words& command) {
    const Clock::time_point begin = Clock::now();
    Run(command);
    return Since(begin);
  }
  static std::string NewestCheckpoint(const std::string& out) {
    std::string newest;
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(out + "/run", ignored)) {
      const std::string name = entry.path().filename();
      if (name.starts_with("step-") && name.ends_with(".ckpt")) newest = std::max(newest, name);
    }
    return newest;
  }
  // True as soon as `begun` has been for `delay`.
  static std::function<bool()> Behind(std::function<bool()> begun, microseconds delay) {
    return [begun = std::move(begun), delay, at = Clock::time_point::max()]() mutable {
      if (at == Clock::time_point::max() && begun()) at = Clock::now() + delay;
      return Clock::now() >= at;
    };
  }

  std::function<bool()> When(Moment moment, const std::string& out) {
    const auto share = [&](microseconds of) { return of * (random_() % 1024) / 1024; };
    const auto always = [] { return true; };
    switch (moment) {
      case Moment::kLoading:
        return Behind(always, share(end_ / 4));
      case Moment::kTraining:  // somewhere before the next checkpoint
        return Behind([out, old = NewestCheckpoint(out)] { return NewestCheckpoint(out) != old; },
                      share((whole_ - end_) / 10));
      case Moment::kCheckpoint:  // behind the metrics, which come first
        return WhileWriting(out + "/run", static_cast<int>(2 + random_() % 6));
      case Moment::kExport:
        return WhileWriting(out, static_cast<int>(random_() % 3));
      case Moment::kAnyTime:
        return Behind(always, share(whole_));
      case Moment::kCalibration:  // what is behind the last step, all of it
        return Behind([out] { return fs::exists(out + kLastCheckpoint); }, share(end_));
      case Moment::kEnd:  // the last files: heads, shortlist, configuration, calibration, sample
        return WhileWriting(out, static_cast<int>(random_() % 6));
    }
    return always;
  }

  void KillAndCompare(const Words& kind) {
    const std::string whole = dir_ / "whole", killed = dir_ / "killed";
    whole_ = Timed(Command(whole, kind));
    const auto results = RunResults(whole);
    end_ = Timed(Command(whole, kind));
    EXPECT_TRUE(RunResults(whole) == results) << "a finished run, started again, changes";
    int kills = 0;
    std::set<std::string> at;
    for (const Moment moment : kMoments) {
      // Late ones may come after the end: then another moment is drawn, at last an early one.
      bool ended = true;
      for (int tries = 0; ended && tries < 12; ++tries) {
        ended =
            RunAndKill(Command(killed, kind), When(tries < 6 ? moment : Moment::kLoading, killed));
      }
      kills += ended ? 0 : 1;
      at.insert(NewestCheckpoint(killed));
    }
    EXPECT_GE(at.size(), 3u) << "kills did not come at different steps";
    Run(Command(killed, kind));
    ExpectSameResults(whole, killed, std::to_string(kills) + " kills");
    kills_ += kills;
    fs::remove_all(whole);
    fs::remove_all(killed);
  }

  std::mt19937 random_{7};
  microseconds whole_{}, end_{};  // what a run takes, and what the part behind its last step takes
  int kills_ = 0;
};

TEST_F(TrainKillTest, FiftyMoments) {
  costs_ = dir_.Write("costs.json", R"({"rows": [1, 8], "seconds": [0.01, 0.02]})");
  Run(Distill(data_, {"--teacher-top-k", "3"}));
  KillAndCompare({});
  KillAndCompare({"--threads", "2", "--accumulate", "2", "--layers", "2", "--own-projection"});
  KillAndCompare({"--rank", "4", "--loss", "mix:0.5", "--patience", "50"});
  KillAndCompare({"--ternary", "--no-bias", "--loss-samples", "0"});
  data_ = dir_ / "tokens";
  Run(Distill(data_, {"--no-hidden"}));
  KillAndCompare({"--block-tokens", "500", "--hidden-memory", "0.0001"});
  EXPECT_EQ(kills_, 50);
}

}  // namespace
}  // namespace tern::test
