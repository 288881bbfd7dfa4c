#include "trainer/checkpoint.h"

#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>

#include "engine/atomic_file.h"
#include "tests/support/error_text.h"
#include "tests/support/temp_dir.h"
#include "trainer/run_directory.h"

namespace tern::test {
namespace {

bool Has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

struct Buffers {
  explicit Buffers(size_t n, float start = 0) : p(n), m(n), v(n) {
    for (size_t i = 0; i < n; ++i) {
      p[i] = start + static_cast<float>(i);
      m[i] = -p[i];
      v[i] = 0.5f * p[i];
    }
  }
  CheckpointBuffers View() { return {p, m, v}; }
  std::vector<float> p, m, v;
};

CheckpointHeader ExampleHeader(uint64_t step) {
  CheckpointHeader header;
  header.state.step = step;
  header.state.stability = {2.1, 0.3, 17, 2, 0.25, 40};
  header.state.best_held_out = {{100, 0.1 + 0.2}};
  header.identity = {"abc", "avx2", "oneDNN 2.6.3", 2};
  header.options = {{"--lr", 1e-3}, {"--steps", 500}};
  return header;
}

class CheckpointTest : public ::testing::Test {
 protected:
  std::string ReadProblem(size_t parameters = 100) {
    return ErrorText([&] {
      Buffers buffers(parameters);
      ReadCheckpoint(path_, buffers.View());
    });
  }
  TempDir dir_;
  std::string path_ = dir_ / "a.ckpt";
};

TEST_F(CheckpointTest, RoundTrip) {
  Buffers saved(100, 3), loaded(100);
  WriteCheckpoint(path_, ExampleHeader(123), saved.View());
  const CheckpointHeader header = ReadCheckpoint(path_, loaded.View());
  EXPECT_EQ(loaded.p, saved.p);
  EXPECT_EQ(loaded.m, saved.m);
  EXPECT_EQ(loaded.v, saved.v);
  EXPECT_EQ(header.state.step, 123u);
  EXPECT_EQ(header.state.stability.mean, 2.1);
  EXPECT_EQ(header.state.stability.skipped, 40u);
  EXPECT_EQ(header.state.stability.rollbacks, 2);
  EXPECT_EQ(header.state.best_held_out->loss, 0.1 + 0.2);  // every bit
  EXPECT_FALSE(header.state.last_held_out);
  EXPECT_EQ(header.identity.target, "avx2");
  EXPECT_EQ(header.options, ExampleHeader(0).options);
}

TEST_F(CheckpointTest, EveryTruncationIsAnError) {
  Buffers saved(20);
  WriteCheckpoint(path_, ExampleHeader(1), saved.View());
  const std::string whole = ReadFile(path_);
  for (size_t size = 0; size < whole.size(); ++size) {
    WriteFileAtomically(path_, whole.substr(0, size));
    const std::string problem = ReadProblem(20);
    ASSERT_TRUE(Has(problem, path_)) << size;
    ASSERT_FALSE(Has(problem, "\n")) << problem;
  }
}

TEST_F(CheckpointTest, EveryDamagedByteIsAnError) {
  Buffers saved(20);
  WriteCheckpoint(path_, ExampleHeader(1), saved.View());
  const std::string whole = ReadFile(path_);
  for (size_t at = 0; at < whole.size(); ++at) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
    WriteFileAtomically(path_, damaged);
    ASSERT_NE(ReadProblem(20), "") << at;
  }
}

TEST_F(CheckpointTest, AnotherModelIsAnError) {
  Buffers saved(20);
  WriteCheckpoint(path_, ExampleHeader(1), saved.View());
  EXPECT_TRUE(Has(ReadProblem(21), "expected 21 parameters, got 20")) << ReadProblem(21);
}

TEST_F(CheckpointTest, ResumeNamesTheFirstDifference) {
  const CheckpointHeader saved = ExampleHeader(1);
  const auto problem = [&](const CheckpointHeader& now, ResumeLeniency leniency = {}) {
    return ErrorText([&] { CheckSameRun("x.ckpt", saved, now, leniency); });
  };
  EXPECT_EQ(problem(saved), "");
  CheckpointHeader now = saved;
  now.options["--lr"] = 2e-3;
  EXPECT_TRUE(
      Has(problem(now), "x.ckpt: the checkpoint was made with --lr 0.001, this run has 0.002"));
  EXPECT_EQ(problem(now, {.other_options = true}), "");
  now = saved;
  now.options["new option"] = 1;
  EXPECT_TRUE(Has(problem(now), "new option null, this run has 1"));
  for (auto change :
       {+[](RunIdentity& id) { id.threads = 3; }, +[](RunIdentity& id) { id.commit = "d"; },
        +[](RunIdentity& id) { id.target = "sse4"; }, +[](RunIdentity& id) { id.library = "3"; }}) {
    now = saved;
    change(now.identity);
    EXPECT_TRUE(Has(problem(now), "--allow-different-machine")) << problem(now);
    EXPECT_EQ(problem(now, {.other_machine = true}), "");
  }
}

TEST_F(CheckpointTest, DirectoryKeepsTwoAndFindsTheRightOnes) {
  RunDirectory directory(dir_.path());
  EXPECT_FALSE(directory.Newest());
  Buffers buffers(10);
  const auto header = [](uint64_t step, int32_t rollbacks) {
    CheckpointHeader result = ExampleHeader(step);
    result.state.stability.rollbacks = rollbacks;
    return result;
  };
  for (uint64_t step : {0, 10, 20}) directory.WritePeriodic(header(step, 0), buffers.View());
  EXPECT_EQ(dir_.Names(),
            (std::vector<std::string>{"lock", "step-0000000010.ckpt", "step-0000000020.ckpt"}));
  EXPECT_EQ(*directory.RollbackTarget(19), dir_ / "step-0000000010.ckpt");
  EXPECT_EQ(*directory.RollbackTarget(25), dir_ / "step-0000000020.ckpt");
  EXPECT_EQ(*directory.RollbackTarget(5), dir_ / "step-0000000010.ckpt");
  directory.WriteStop(header(25, 0), buffers.View());
  EXPECT_EQ(*directory.Newest(), dir_ / "stop.ckpt");
  EXPECT_EQ(*directory.RollbackTarget(26), dir_ / "step-0000000020.ckpt");
  directory.WritePeriodic(header(10, 1),
                          buffers.View());  // as a rollback does; it also drops the stop
  EXPECT_EQ(*directory.Newest(), dir_ / "step-0000000010.ckpt");
}

TEST_F(CheckpointTest, DirectoryIsLockedAndCleaned) {
  std::ofstream(dir_ / "step-0000000010.ckpt.tmp.123") << "half";
  std::ofstream(dir_ / "notes.tmp.txt") << "somebody's";
  const RunDirectory directory(dir_.path());
  EXPECT_EQ(dir_.Names(), (std::vector<std::string>{"lock", "notes.tmp.txt"}));
  EXPECT_TRUE(Has(ErrorText([&] { RunDirectory second(dir_.path()); }), "another process"));
}

TEST_F(CheckpointTest, MetricsAreCutWhereTheRunResumes) {
  {
    RunDirectory directory(dir_.path());
    directory.OpenMetrics(0);
    for (uint64_t step : {10, 20, 30}) directory.AppendMetric({{"step", step}});
  }
  std::ofstream(dir_ / "metrics.jsonl", std::ios::app) << "{\"step\":4";  // cut by a kill
  RunDirectory directory(dir_.path());
  directory.OpenMetrics(20);
  directory.AppendMetric({{"step", 21}});
  std::vector<uint64_t> steps;
  std::ifstream lines(dir_ / "metrics.jsonl");
  for (std::string line; std::getline(lines, line);)
    steps.push_back(nlohmann::json::parse(line).at("step").get<uint64_t>());
  EXPECT_EQ(steps, (std::vector<uint64_t>{10, 20, 21}));
}

// A checkpoint that finds no room must leave the one before it, and nothing else.
void ExpectFailedWriteLeavesOldOne(const std::string& path, const std::string& reason) {
  Buffers small(10, 5), large(1 << 20), loaded(10);
  WriteCheckpoint(path, ExampleHeader(7), small.View());
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit old{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
  const bool limit = reason == "File too large";
  const rlimit tight{.rlim_cur = 1 << 20, .rlim_max = old.rlim_max};
  if (limit) {
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &tight), 0);
  }
  const std::string problem =
      ErrorText([&] { WriteCheckpoint(path, ExampleHeader(8), large.View()); });
  setrlimit(RLIMIT_FSIZE, &old);
  EXPECT_TRUE(Has(problem, "cannot write " + path + ": " + reason)) << problem;
  EXPECT_EQ(ReadCheckpoint(path, loaded.View()).state.step, 7u);
  EXPECT_EQ(loaded.p, small.p);
  const auto folder = std::filesystem::path(path).parent_path();
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder), {}), 1);
}

TEST_F(CheckpointTest, FileSizeLimitLeavesTheOldOne) {
  ExpectFailedWriteLeavesOldOne(path_, "File too large");
}

TEST_F(CheckpointTest, FullDiskLeavesTheOldOne) {
  if (mount("tmpfs", dir_.path().c_str(), "tmpfs", 0, "size=1m") != 0) {
    GTEST_SKIP() << "mounting a small file system needs root";
  }
  ExpectFailedWriteLeavesOldOne(path_, "No space left on device");
  EXPECT_EQ(umount(dir_.path().c_str()), 0);
}

}  // namespace
}  // namespace tern::test
