#include "trainer/training_loop.h"

#include <gtest/gtest.h>

#include <cmath>
#include <optional>

#include "engine/atomic_file.h"
#include "tests/support/error_text.h"
#include "tests/support/temp_dir.h"
#include "tests/trainer/bigram_run.h"

namespace tern::test {
namespace {

bool Has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// A token position that the run of BigramOptions reads for the first time at about `step`.
size_t PositionReadAt(uint64_t step, const LoopOptions& options) {
  const TempDir dir;
  MakeBigramData(dir.path());
  const BigramRun run(dir.path(), options);
  const uint64_t rows = options.rows_per_step();
  return static_cast<size_t>(run.data().Locate(step * rows + 1).begin) + 3;
}

class TrainingLoopTest : public ::testing::Test {
 protected:
  // Trains to the end (or until `stop` says so) and gives the summary.
  LoopSummary Train(const std::string& work, const LoopOptions& options) {
    BigramRun run(work, options);
    resumed_ = run.loop.Resume({});
    const LoopSummary summary = run.loop.Run();
    calls_ = run.model.calls;
    return summary;
  }
  std::string FinalBytes(const std::string& work) { return ReadFile(work + "/out/model.bin"); }
  std::vector<nlohmann::json> Metrics(const std::string& key) {
    std::vector<nlohmann::json> found;
    std::istringstream lines(ReadFile(dir_ / "out/run/metrics.jsonl"));
    for (std::string line; std::getline(lines, line);) {
      nlohmann::json record = nlohmann::json::parse(line);
      if (record.contains(key)) found.push_back(record);
    }
    return found;
  }
  TempDir dir_;
  bool resumed_ = false;
  int calls_ = 0;
};

TEST_F(TrainingLoopTest, Learns) {
  MakeBigramData(dir_.path());
  const LoopSummary summary = Train(dir_.path(), BigramOptions(200));
  EXPECT_TRUE(summary.finished);
  EXPECT_EQ(summary.tokens, 200u * 4 * 2 * 8);
  EXPECT_EQ(summary.rollbacks, 0);
  EXPECT_LT(*summary.held_out, 1.5)
      << "ln 16 = 2.77 at the start; the source's entropy is about 1.1";
  EXPECT_NEAR(*summary.bits_per_byte, *summary.held_out / 3 / std::log(2.0), 1e-12);
  EXPECT_EQ(Metrics("tokens_per_second").size(), 10u);
  EXPECT_EQ(Metrics("layers").size(), 10u);
  EXPECT_EQ(Metrics("layers").front()["flip_steps"], 20);
  EXPECT_EQ(Metrics("held_out_loss").size(), 10u);  // nine during the run and the last
}

TEST_F(TrainingLoopTest, NanRollsBackLowersTheRateAndSkips) {
  const LoopOptions options = BigramOptions(100);
  MakeBigramData(dir_.path(), kNanToken, PositionReadAt(47, options));
  const LoopSummary summary = Train(dir_.path(), options);
  EXPECT_TRUE(summary.finished);
  EXPECT_EQ(summary.rollbacks, 1);
  const auto events = Metrics("event");
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0]["bad_step"], 47);
  EXPECT_EQ(events[0]["step"], 40);  // the newest checkpoint at least three steps back
  EXPECT_EQ(events[0]["lr_scale"], 0.5);
  EXPECT_EQ(events[0]["loss"], nullptr);
  EXPECT_TRUE(
      Has(events[0]["tensor"], "table, whose gradient has most"));  // this model's stays finite
  EXPECT_TRUE(Has(events[0]["sample"], "of the run"));
  // 100 steps, 8 of them (40..47) done twice, each of two micro-batches.
  EXPECT_EQ(calls_, 2 * 108);
  EXPECT_LT(*summary.held_out, 2.0) << "the weights stayed finite";
}

TEST_F(TrainingLoopTest, SpikeRollsBackBehindTheMargin) {
  const LoopOptions options = BigramOptions(100);
  MakeBigramData(dir_.path(), kSpikeToken, PositionReadAt(52, options));
  const LoopSummary summary = Train(dir_.path(), options);
  EXPECT_TRUE(summary.finished);
  ASSERT_EQ(summary.rollbacks, 1);
  const auto event = Metrics("event").at(0);
  EXPECT_EQ(event["reason"], "a spike");
  EXPECT_EQ(event["bad_step"], 52);
  EXPECT_EQ(event["step"], 40);  // 50 is closer than the margin of three steps
  EXPECT_GT(event["loss"], 50);
}

TEST_F(TrainingLoopTest, GivesUpAfterSoManyRollbacks) {
  LoopOptions options = BigramOptions(100);
  options.stability.most_rollbacks = 3;
  MakeBigramData(dir_.path());
  std::vector<uint32_t> all_bad(20000, kNanToken);
  WriteTokens(dir_ / "data.tok", all_bad, kBigramVocabulary);
  const std::string problem = ErrorText([&] { Train(dir_.path(), options); });
  EXPECT_TRUE(Has(problem, "training diverged at step 0: loss nan")) << problem;
  EXPECT_TRUE(Has(problem, "after 3 rollbacks; lower --lr")) << problem;
}

TEST_F(TrainingLoopTest, StoppedAndResumedEndsWithTheSameBytes) {
  LoopOptions options = BigramOptions(60);
  const size_t at = PositionReadAt(33, options);
  const TempDir whole;
  MakeBigramData(whole.path(), kNanToken, at);
  Train(whole.path(), options);
  MakeBigramData(dir_.path(), kNanToken, at);
  // A stop request is honoured before each step: stop after one, resume, stop after one more, and
  // so on.
  int parts = 0;
  for (bool finished = false; !finished; ++parts) {
    ASSERT_LT(parts, 200);
    BigramRun run(dir_.path(), options);
    std::atomic<bool> stop{false};
    LoopOptions stopping = options;
    stopping.stop = &stop;
    struct StopAfter final : Trainable {
      StopAfter(BigramTrainable& m, std::atomic<bool>& s) : model(m), flag(s) {}
      const std::vector<ParameterSlice>& slices() const override { return model.slices(); }
      std::span<float> parameters() override { return model.parameters(); }
      std::span<float> gradients() override { return model.gradients(); }
      void RefreshWeights() override { model.RefreshWeights(); }
      double ForwardBackward(std::span<const int32_t> tokens, float scale) override {
        flag = model.calls >= 7;  // four steps a part
        return model.ForwardBackward(tokens, scale);
      }
      double Loss(std::span<const int32_t> tokens) override { return model.Loss(tokens); }
      std::vector<LayerQuantisation> QuantisationStats() const override {
        return model.QuantisationStats();
      }
      std::span<const int8_t> TernaryCodes() const override { return model.TernaryCodes(); }
      double GemmMacsPerStep() const override { return 1; }
      void Export(const std::string& dir) override { model.Export(dir); }
      BigramTrainable& model;
      std::atomic<bool>& flag;
    };
    StopAfter model(run.model, stop);
    finished = run.RunWith(model, stopping).finished;
  }
  EXPECT_GT(parts, 10);
  EXPECT_EQ(FinalBytes(dir_.path()), FinalBytes(whole.path()));
  EXPECT_EQ(ReadFile(dir_ / "out/run/step-0000000060.ckpt"),
            ReadFile(whole / "out/run/step-0000000060.ckpt"));
}

TEST_F(TrainingLoopTest, TheBestStepIsWhatTheRunMakes) {
  MakeBigramData(dir_.path());
  LoopOptions options = BigramOptions(200);
  options.best_by = "score";
  std::string bytes;
  for (int part = 0; part < 2; ++part) {  // the second one finds it done
    BigramRun run(dir_.path(), options);
    run.model.best_norm = 14;
    run.loop.Resume({});
    const LoopSummary summary = run.loop.Run();
    EXPECT_TRUE(summary.finished);
    EXPECT_EQ(summary.step, 200u);
    ASSERT_TRUE(summary.best.has_value());
    EXPECT_GT(summary.best->step, 20u);
    EXPECT_LT(summary.best->step, 180u) << "proves nothing";
    EXPECT_EQ(summary.held_out_figures["score"], summary.best->score);
    double best = -1e9;
    for (const auto& record : Metrics("score"))
      best = std::max(best, record["score"].get<double>());
    EXPECT_EQ(summary.best->score, best);
    EXPECT_EQ(ReadCheckpointHeader(dir_ / "out/run/best.ckpt").state.step, summary.best->step);
    if (part == 0) bytes = FinalBytes(dir_.path());
    EXPECT_EQ(FinalBytes(dir_.path()), bytes);
  }
}

// As after a kill behind a best step that the run, going on elsewhere, did not find the best again.
TEST_F(TrainingLoopTest, TheBestCheckpointThereIsIsTheBestStep) {
  LoopOptions options = BigramOptions(200);
  options.best_by = "score";
  const TempDir other;
  const auto train = [&](const TempDir& dir, double best_norm) {
    BigramRun run(dir.path(), options);
    run.model.best_norm = best_norm;
    run.loop.Resume({});
    return run.loop.Run();
  };
  MakeBigramData(dir_.path());
  MakeBigramData(other.path());
  const uint64_t step = train(other, 14).best->step;
  EXPECT_LT(train(dir_, 8).best->step, step);
  std::filesystem::copy_file(other / "out/run/best.ckpt", dir_ / "out/run/best.ckpt",
                             std::filesystem::copy_options::overwrite_existing);
  EXPECT_EQ(train(dir_, 8).best->step, step);
  EXPECT_EQ(FinalBytes(dir_.path()), FinalBytes(other.path()));
  // One that is no better is not the run's.
  std::filesystem::copy_file(dir_ / "out/run/step-0000000200.ckpt", other / "out/run/best.ckpt",
                             std::filesystem::copy_options::overwrite_existing);
  EXPECT_THROW(train(other, 14), Error);
}

TEST_F(TrainingLoopTest, PatienceEndsTheRun) {
  MakeBigramData(dir_.path());
  LoopOptions options = BigramOptions(200);
  options.best_by = "score";
  options.patience = 2;
  uint64_t ended_at = 0;
  for (int part = 0; part < 2; ++part) {  // the second one finds it done
    BigramRun run(dir_.path(), options);
    run.model.best_norm = 14;
    run.loop.Resume({});
    const LoopSummary summary = run.loop.Run();
    EXPECT_TRUE(summary.finished);
    EXPECT_EQ(summary.best->since, 2u);
    EXPECT_EQ(summary.step, summary.best->step + 2 * options.eval_every);
    EXPECT_LT(summary.step, 200u);
    if (part == 0) ended_at = summary.step;
    EXPECT_EQ(summary.step, ended_at);
    EXPECT_EQ(run.model.calls == 0, part == 1);
  }
}

TEST_F(TrainingLoopTest, FinishedRunsAreNotRunAgain) {
  MakeBigramData(dir_.path());
  Train(dir_.path(), BigramOptions(40));
  const std::string bytes = FinalBytes(dir_.path());
  const LoopSummary again = Train(dir_.path(), BigramOptions(40));
  EXPECT_TRUE(resumed_);
  EXPECT_TRUE(again.finished);
  EXPECT_EQ(calls_, 0);
  EXPECT_EQ(FinalBytes(dir_.path()), bytes);
}

// As after a kill between the writing of the last checkpoint and the dropping of older ones.
TEST_F(TrainingLoopTest, ResumingDropsWhatAKillLeftBehind) {
  MakeBigramData(dir_.path());
  Train(dir_.path(), BigramOptions(40));
  const std::string run = dir_ / "out/run/";
  for (const char* left : {"step-0000000020.ckpt", "stop.ckpt"})
    std::filesystem::copy_file(run + "step-0000000030.ckpt", run + left);
  Train(dir_.path(), BigramOptions(40));
  EXPECT_TRUE(resumed_);
  EXPECT_FALSE(std::filesystem::exists(run + "step-0000000020.ckpt"));
  EXPECT_TRUE(std::filesystem::exists(run + "step-0000000030.ckpt"));
  EXPECT_TRUE(std::filesystem::exists(run + "step-0000000040.ckpt"));
  EXPECT_FALSE(std::filesystem::exists(run + "stop.ckpt"));
}

TEST_F(TrainingLoopTest, AnotherSeedIsRefused) {
  MakeBigramData(dir_.path());
  Train(dir_.path(), BigramOptions(20));
  BigramRun other(dir_.path(), BigramOptions(20), 2);
  EXPECT_TRUE(Has(ErrorText([&] { other.loop.Resume({}); }), "--seed 1, this run has 2"));
}

TEST_F(TrainingLoopTest, DamagedCheckpointStopsTheResume) {
  MakeBigramData(dir_.path());
  Train(dir_.path(), BigramOptions(20));
  const std::string path = dir_ / "out/run/step-0000000020.ckpt";
  std::string bytes = ReadFile(path);
  bytes[bytes.size() - 100] ^= 1;
  WriteFileAtomically(path, bytes);
  {
    BigramRun run(dir_.path(), BigramOptions(20));
    EXPECT_TRUE(Has(ErrorText([&] { run.loop.Resume({}); }),
                    "delete it to resume from the checkpoint before"));
  }
  std::filesystem::remove(path);
  EXPECT_TRUE(Train(dir_.path(), BigramOptions(20)).finished);  // from step 10
  EXPECT_TRUE(resumed_);
}

}  // namespace
}  // namespace tern::test
