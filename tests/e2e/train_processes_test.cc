// `tern train` as several processes that mpirun starts, on one machine: the result, kills, stops
// and refusals. Builds without MPI refuse to be started so.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <thread>

#include "engine/model.h"
#include "tests/e2e/heads_run.h"
#include "tests/support/background_program.h"
#include "tests/support/relative_distance.h"
#include "trainer/checkpoint.h"
#include "trainer/head_parameters.h"

namespace tern::test {
namespace {

using Words = std::vector<std::string>;

constexpr int32_t kHeads = 3;

Words Join(Words words, const Words& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

int64_t LinesWith(const std::string& text, const std::string& part) {
  std::istringstream lines(text);
  int64_t count = 0;
  for (std::string line; std::getline(lines, line);) count += line.find(part) != std::string::npos;
  return count;
}

class TrainProcessesTest : public HeadsRunTest {
 protected:
  TrainProcessesTest() {
    // Containers forbid what one process would read of another's memory with.
    setenv("OMPI_MCA_btl_vader_single_copy_mechanism", "none", 1);
    costs_ = dir_.Write("costs.json", R"({"rows": [1, 8], "seconds": [0.01, 0.02]})");
  }
  // Steps of 4 x 16 tokens.
  Words Train(const std::string& out, const Words& more = {}) const {
    return With(HeadsRunTest::Train(data_, out, {"--batch", "16", "--accumulate", "4"}), more);
  }
  static Words Two(const Words& command) {
    return Join({TERN_MPIRUN, "-n", "2", "--allow-run-as-root", "--oversubscribe"}, command);
  }
  // One line of tern's says `what`, beside what mpirun says.
  void ExpectToldOnce(const Words& command, const std::string& what) {
    const ProgramResult result = RunProgram(command);
    EXPECT_NE(result.status, 0);
    EXPECT_EQ(LinesWith(result.err, "tern: "), 1) << result.err;
    EXPECT_EQ(LinesWith(result.err, what), 1) << result.err;
    EXPECT_EQ(result.out, "");
  }
};

#ifndef TERN_WITH_MPI

TEST_F(TrainProcessesTest, ABuildWithoutMpiIsForOneProcess) {
  setenv("OMPI_COMM_WORLD_SIZE", "2", 1);
  ExpectFailure(Train(dir_ / "heads"),
                "started as one of 2 processes; this tern was built without MPI: configure it "
                "with -DTERN_MPI=ON, or start one process");
  unsetenv("OMPI_COMM_WORLD_SIZE");
  EXPECT_FALSE(fs::exists(dir_ / "heads"));
}

TEST_F(TrainProcessesTest, Mpi) { GTEST_SKIP() << "tern was built without MPI (TERN_MPI)"; }

#else

struct Weights {
  AlignedBuffer<float> parameters, m, v;
};
// Of the checkpoint of a step.
Weights ReadWeights(const std::string& out, const std::string& model, uint64_t step) {
  const auto d = static_cast<size_t>(LoadModel(model).config.hidden_size);
  const size_t n = HeadParameters({kHeads, 1, d, 0, false}).size();
  Weights w{AlignedBuffer<float>(n), AlignedBuffer<float>(n), AlignedBuffer<float>(n)};
  std::string name = std::to_string(step);
  name = "/run/step-" + std::string(10 - name.size(), '0') + name + ".ckpt";
  ReadCheckpoint(out + name, {w.parameters.span(), w.m.span(), w.v.span()});
  return w;
}

// The processes that `parent` started, by rank.
std::vector<pid_t> Ranks(pid_t parent) {
  std::vector<pid_t> ranks(2, -1);
  const std::string id = std::to_string(parent);
  std::ifstream children("/proc/" + id + "/task/" + id + "/children");
  for (pid_t child; children >> child;) {
    std::ifstream environment("/proc/" + std::to_string(child) + "/environ");
    for (std::string entry; std::getline(environment, entry, '\0');) {
      for (size_t rank = 0; rank < ranks.size(); ++rank)
        if (entry == "OMPI_COMM_WORLD_RANK=" + std::to_string(rank)) ranks[rank] = child;
    }
  }
  return ranks;
}

// Sends `signal` to process `rank` of `command` when `begun` is there; gives mpirun's status.
int RunAndSignal(const Words& command, const std::string& begun, size_t rank, int signal,
                 std::string& errors) {
  BackgroundProgram program(command);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(300);
  while (!fs::exists(begun) && std::chrono::steady_clock::now() < deadline)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_TRUE(fs::exists(begun)) << program.Errors();
  const pid_t pid = Ranks(program.pid())[rank];
  EXPECT_GT(pid, 0) << "no process " << rank;
  if (pid > 0) kill(pid, signal);
  const int status = program.Wait();
  errors = program.Errors();
  return status;
}

TEST_F(TrainProcessesTest, TheResultIsThatOfOneProcess) {
  Run(Distill(data_));
  // AdamW's first moment is then a tenth of the gradient, which both sum over 64 tokens x 3 heads
  // in orders of their own: off by at most 192 x 2^-24 = 1.1e-5 of the sum of magnitudes, which is
  // below sqrt(192) = 14 times a sum's size where signs are random.
  const Words step = {"--steps", "1", "--fp32", "--calibrate", "0"};
  Run(Train(dir_ / "one", step));
  Run(Two(Train(dir_ / "two", step)));
  EXPECT_LT(RelativeDistance(ReadWeights(dir_ / "two", model_, 1).m.span(),
                             ReadWeights(dir_ / "one", model_, 1).m.span()),
            14 * 1.1e-5);
  // A run. Where an element's terms cancel to less than that error, its update, which AdamW scales
  // to the size of the learning rate, may have either sign; a share of 2 x 1.1e-5 of elements at
  // most does, if sums lie evenly, so that weights differ by 2 sqrt(2.2e-5) = 0.9% of their norm.
  const Words run = {"--steps", "20", "--calibrate", "0"};
  for (const char* precision : {"--fp32", "--no-bias"}) {  // the latter: bf16 where the CPU has it
    fs::remove_all(dir_ / "one");
    fs::remove_all(dir_ / "two");
    const json one = Run(Train(dir_ / "one", Join(run, {precision})));
    const json two = Run(Two(Train(dir_ / "two", Join(run, {precision}))));
    const double distance =
        RelativeDistance(ReadWeights(dir_ / "two", model_, 20).parameters.span(),
                         ReadWeights(dir_ / "one", model_, 20).parameters.span());
    std::ostringstream text;
    text << distance;
    RecordProperty(precision, text.str());
    EXPECT_LT(distance, 0.009) << precision;
    EXPECT_NEAR(two["held_out_loss"].get<double>(), one["held_out_loss"].get<double>(), 1e-3);
    EXPECT_NEAR(two["loss"].get<double>(), one["loss"].get<double>(), 1e-3);
    EXPECT_EQ(two["tokens"], one["tokens"]);
  }
}

TEST_F(TrainProcessesTest, KilledOrStoppedAndContinuedGivesTheSameBytes) {
  Run(Distill(data_));
  const Words steps = {"--steps", "40", "--calibrate", "4"};
  const std::string whole = dir_ / "whole", broken = dir_ / "broken";
  Run(Two(Train(whole, steps)));
  const auto checkpoint = [&](const char* step) {
    return broken + "/run/step-00000000" + step + ".ckpt";
  };
  std::string errors;
  for (size_t rank : {1u, 0u}) {
    const std::string begun = checkpoint(rank == 1 ? "07" : "14");
    EXPECT_NE(RunAndSignal(Two(Train(broken, steps)), begun, rank, SIGKILL, errors), 0);
    EXPECT_NE(errors.find("Killed"), std::string::npos) << errors;
  }
  EXPECT_EQ(RunAndSignal(Two(Train(broken, steps)), checkpoint("21"), 1, SIGTERM, errors), 0)
      << errors;
  EXPECT_EQ(LinesWith(errors, "stopped at step"), 1) << errors;
  EXPECT_TRUE(fs::exists(broken + "/run/stop.ckpt"));
  EXPECT_FALSE(fs::exists(broken + "/tern_sample.json")) << "the run was not stopped in time";
  const std::string refused = RunProgram(Train(broken, steps)).err;
  EXPECT_NE(refused.find("a number of processes of 2, this run has 1"), std::string::npos)
      << refused;
  Run(Two(Train(broken, steps)));
  ExpectSameResults(whole, broken, "kills and a stop");
}

TEST_F(TrainProcessesTest, HiddenStatesThatAreComputedGiveTheSame) {
  Run(Distill(data_));
  const Words steps = {"--steps", "8", "--calibrate", "0"};
  Run(Two(Train(dir_ / "stored", steps)));
  data_ = dir_ / "tokens";
  Run(Distill(data_, {"--no-hidden"}));
  Run(Two(Train(dir_ / "computed", steps)));
  for (const char* file : {"medusa_lm_head.safetensors", "config.json"})
    EXPECT_TRUE(ReadFile(dir_ / "stored/" + file) == ReadFile(dir_ / "computed/" + file)) << file;
}

TEST_F(TrainProcessesTest, WhatDiffersIsToldOnce) {
  Run(Distill(data_));
  Run(Distill(dir_ / "other", {"--seed", "5"}));
  const Words steps = {"--steps", "4"};
  const Words first = Train(dir_ / "heads", steps);
  Words second = first;
  *std::ranges::find(second, data_) = dir_ / "other";
  const Words mpirun = {TERN_MPIRUN, "--allow-run-as-root", "--oversubscribe", "-n", "1"};
  const Words behind = {":", "-n", "1"};
  ExpectToldOnce(Join(mpirun, Join(first, Join(behind, second))),
                 "process 2 of 2 (");  // the manifest's hash
  *std::ranges::find(second, dir_ / "other") = dir_ / "absent";
  ExpectToldOnce(Join(mpirun, Join(first, Join(behind, second))), "absent/manifest.json: no such");
  ExpectToldOnce(Join(mpirun, Join(second, Join(behind, second))), "absent/manifest.json: no such");
  EXPECT_FALSE(fs::exists(dir_ / "heads/medusa_lm_head.safetensors"));
  Words odd = first;
  *(std::ranges::find(odd, "--accumulate") + 1) = "1";
  ExpectToldOnce(Two(odd), "--accumulate is 1, expected a multiple of the 2 processes");
  ExpectToldOnce(Two(Train(dir_ / "heads", {"--resume"})), "no checkpoint to resume from");
}

#endif

}  // namespace
}  // namespace tern::test
