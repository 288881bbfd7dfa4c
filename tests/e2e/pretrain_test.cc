// `tern pretrain` as a user runs it: what it reports, what it writes, and when it refuses to
// resume.
#include <filesystem>

#include "kernels/dispatch.h"
#include "tests/e2e/pretrain_run.h"
#include "tests/support/kill_program.h"
#include "trainer/checkpoint.h"

namespace tern {
namespace {

namespace fs = std::filesystem;

std::string Weights(const std::string& out) { return ReadFile(out + "/model.safetensors"); }
std::string Masters(const std::string& out) { return ReadFile(out + "/masters/model.safetensors"); }

TEST_F(PretrainTest, ReportsMetricsAndASummary) {
  const std::string out = dir_ / "out";
  const ProgramResult result = Succeed(Pretrain(out, {"--json"}));
  const auto steps = Metrics(out, "tokens_per_second");
  ASSERT_EQ(steps.size(), 4u);
  uint64_t step = 0;
  for (const nlohmann::json& record : steps) {
    EXPECT_EQ(record.at("step"), step += 5);
    EXPECT_GT(record.at("loss"), 1.0);
    EXPECT_GT(record.at("tokens_per_second"), 0.0);
    EXPECT_GE(record.at("eta_s"), 0.0);
    EXPECT_GT(record.at("mfu"), 0.0);
    EXPECT_GT(record.at("lr"), 0.0);
  }
  EXPECT_EQ(steps.back().at("eta_s"), 0.0);
  const auto held_out = Metrics(out, "held_out_loss");
  ASSERT_EQ(held_out.size(), 2u);  // during the run and at its end
  // ln 320 = 5.77 for a model that knows nothing.
  EXPECT_LT(held_out.back().at("held_out_loss"), 5.0);
  EXPECT_LT(held_out[1].at("held_out_loss"), held_out[0].at("held_out_loss"));
  const auto layers = Metrics(out, "layers");
  ASSERT_EQ(layers.size(), 2u);
  ASSERT_EQ(layers[0].at("layers").size(), 2u);
  for (const nlohmann::json& layer : layers[0].at("layers")) {
    // int8 by absmax: each value off by at most 1/254 of its row's largest.
    EXPECT_GT(layer.at("activation_error"), 0.0);
    EXPECT_LT(layer.at("activation_error"), 0.1);
    EXPECT_GT(layer.at("flipped_share"), 0.0);
    EXPECT_LE(layer.at("flipped_share"), 1.0);
  }
  const auto summary = nlohmann::json::parse(result.out);
  EXPECT_EQ(summary.at("finished"), true);
  EXPECT_EQ(summary.at("step"), 20);
  EXPECT_EQ(summary.at("tokens"), 20 * 2 * 32);
  EXPECT_EQ(summary.at("held_out_loss"), held_out[1].at("held_out_loss"));
  EXPECT_GT(summary.at("peak_memory_mb"), 5.0);
  EXPECT_LT(summary.at("peak_memory_mb"), 1000.0);
  EXPECT_EQ(Succeed({"generate", "--model", out, "--prompt", "ka", "--max-tokens", "4"}).status, 0);
}

// The record of steps 0 to 10 begins in the warm-up, of one step.
TEST_F(PretrainTest, FlipsAboveTheThresholdRaiseAnAlarmAfterWarmUp) {
  const ProgramResult loud = Succeed(Pretrain(dir_ / "loud", {"--flip-alarm", "0.0001"}));
  EXPECT_EQ(loud.err.find("alarm: step 10"), std::string::npos) << loud.err;
  EXPECT_NE(loud.err.find("alarm: step 20: "), std::string::npos) << loud.err;
  EXPECT_NE(loud.err.find(" flipped in 10 steps, above --flip-alarm 0.01% (2 layers in all)"),
            std::string::npos)
      << loud.err;
  const auto records = Metrics(dir_ / "loud", "flip_alarm");
  EXPECT_EQ(records[0].at("flip_alarm"), false);
  EXPECT_EQ(records[1].at("flip_alarm"), true);
  const ProgramResult quiet = Succeed(Pretrain(dir_ / "quiet"));
  EXPECT_EQ(quiet.err.find("alarm:"), std::string::npos) << quiet.err;
  EXPECT_EQ(Metrics(dir_ / "quiet", "flip_alarm")[1].at("flip_alarm"), false);
}

TEST_F(PretrainTest, ADivergingRunRollsBackAndSlowsDown) {
  const std::string out = dir_ / "out";
  const Arguments wild = {"--lr",           "1",   "--warmup",       "0", "--clip",           "0",
                          "--spike-settle", "3",   "--spike-sigmas", "1", "--most-rollbacks", "100",
                          "--rollback-lr",  "0.1", "--steps",        "40"};
  const ProgramResult result = Succeed(Pretrain(out, wild));
  const auto events = Metrics(out, "event");
  ASSERT_GE(events.size(), 1u) << result.err;
  EXPECT_EQ(events[0].at("event"), "rollback");
  EXPECT_EQ(events[0].at("lr_scale"), 0.1);
  EXPECT_EQ(events[0].at("step").get<int>() % 5, 0) << "a checkpoint";
  EXPECT_LT(events[0].at("step"), events[0].at("bad_step"));
  EXPECT_NE(result.err.find("learning rate x 0.1, the data of "), std::string::npos) << result.err;
  EXPECT_NE(result.err.find("(rollback 1)"), std::string::npos) << result.err;
  // Without patience it gives up with one clear line and keeps the last good checkpoint.
  Arguments impatient = wild;
  impatient[11] = "0";
  const ProgramResult given_up = Tern(Pretrain(dir_ / "impatient", impatient));
  ExpectLastLine(given_up, {"diverged at step", "lower --lr"});
  EXPECT_TRUE(fs::exists(dir_ / "impatient/run/step-0000000000.ckpt"));
}

TEST_F(PretrainTest, RecomputingDoesNotChangeTheResult) {
  Succeed(Pretrain(dir_ / "plain"));
  Succeed(Pretrain(dir_ / "recompute", {"--recompute"}));
  EXPECT_EQ(Weights(dir_ / "plain"), Weights(dir_ / "recompute"));
  EXPECT_EQ(Masters(dir_ / "plain"), Masters(dir_ / "recompute"));
  Succeed(Pretrain(dir_ / "seed", {"--seed", "2"}));
  EXPECT_NE(Masters(dir_ / "plain"), Masters(dir_ / "seed"));
}

TEST_F(PretrainTest, AStoppedRunContinues) {
  Succeed(Pretrain(dir_ / "whole", {"--steps", "120"}));
  const std::string out = dir_ / "stopped";
  const std::string first = out + "/run/step-0000000005.ckpt";
  RunAndKill(
      [&] {
        Arguments command = Pretrain(out, {"--steps", "120"});
        command.insert(command.begin(), TERN_PROGRAM);
        return command;
      }(),
      [&] { return fs::exists(first); }, SIGTERM);
  const ProgramResult rest = Succeed(Pretrain(out, {"--steps", "120", "--resume"}));
  EXPECT_NE(rest.err.find("resumed at step "), std::string::npos) << rest.err;
  ExpectSameResults(dir_ / "whole", out, "SIGTERM");
}

TEST_F(PretrainTest, ResumeRefusesWhatWouldChangeTheResult) {
  const std::string out = dir_ / "out";
  ExpectFailure(Tern(Pretrain(dir_ / "none", {"--resume"})),
                {"none/run", "no checkpoint", "--resume"});
  Succeed(Pretrain(out, {"--steps", "20"}));
  const auto expect_refusal = [&](const Arguments& more, const std::vector<std::string>& words) {
    const std::string before = ReadFile(out + "/run/metrics.jsonl");
    std::vector<std::string> all = words;
    all.push_back("step-0000000020.ckpt");
    ExpectLastLine(Tern(Pretrain(out, more)), all);
    EXPECT_EQ(ReadFile(out + "/run/metrics.jsonl"), before);
  };
  expect_refusal({"--threads", "2"}, {"--threads 1", "has 2", "--allow-different-machine"});
  const std::string least = SupportedTargets().front();
  if (least != SupportedTargets().back())
    expect_refusal({"--max-isa", least}, {"target", least, "--allow-different-machine"});
  expect_refusal({"--lr", "0.001"}, {"--lr 0.003", "has 0.001", "--allow-changed-options"});
  expect_refusal({"--seed", "5"}, {"--seed", "has 5"});
  expect_refusal({"--data", Valid()}, {"data file 1"});
  Succeed(Pretrain(out, {"--threads", "2", "--allow-different-machine"}));
  Succeed(Pretrain(out, {"--steps", "25", "--allow-changed-options"}));
}

TEST_F(PretrainTest, ResumeRefusesAnotherBinary) {
  const std::string out = dir_ / "out", path = out + "/run/step-0000000020.ckpt";
  const auto summary = nlohmann::json::parse(Succeed(Pretrain(out, {"--json"})).out);
  CheckpointHeader header = ReadCheckpointHeader(path);
  const size_t n = summary.at("parameters");
  std::vector<float> parameters(n), m(n), v(n);
  ReadCheckpoint(path, {parameters, m, v});
  header.identity.commit = "0123abc";
  WriteCheckpoint(path, header, {parameters, m, v});
  ExpectLastLine(Tern(Pretrain(out)), {"commit 0123abc", "--allow-different-machine"});
  Succeed(Pretrain(out, {"--allow-different-machine"}));
}

TEST_F(PretrainTest, BenchmarkTrainsNothing) {
  const Arguments command = {
      "pretrain", "--benchmark",       "--size", "tiny",   "--batch",   "2", "--sequence",
      "32",       "--benchmark-steps", "2",      "--json", "--threads", "1"};
  const auto figures = nlohmann::json::parse(Succeed(command).out);
  EXPECT_EQ(figures.at("estimate"), false);
  EXPECT_GT(figures.at("tokens_per_second"), 0.0);
  EXPECT_GT(figures.at("eta_s"), 0.0);
  EXPECT_GT(figures.at("peak_memory_mb"), 1.0);
}

}  // namespace
}  // namespace tern
