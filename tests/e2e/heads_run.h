// Tiny runs of `tern distill` and `tern train` on a random model, as their tests start, kill and
// break them.
#ifndef TERN_TESTS_E2E_HEADS_RUN_H_
#define TERN_TESTS_E2E_HEADS_RUN_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/kill_program.h"
#include "tests/support/run_program.h"
#include "tests/support/text_model_dir.h"
#include "trainer/permutation.h"

namespace tern::test {

namespace fs = std::filesystem;
using nlohmann::json;

class HeadsRunTest : public ::testing::Test {
 protected:
  HeadsRunTest() {
    setenv("OMP_WAIT_POLICY", "passive", 1);
    WriteTextModelDir(model_, 1);
    std::string prompts;
    for (int i = 0; i < 60; ++i)
      prompts += json{{"id", i}, {"prompt", "the cat " + std::to_string(i)}}.dump() + "\n";
    prompts_ = dir_.Write("prompts.jsonl", prompts);
  }

  // Flags, and options with their values, of `more` replace those of the command, or join it.
  static std::vector<std::string> With(std::vector<std::string> command,
                                       const std::vector<std::string>& more) {
    for (size_t i = 0; i < more.size(); ++i) {
      const bool flag = i + 1 == more.size() || more[i + 1].starts_with("--");
      auto at = std::ranges::find(command, more[i]);
      if (at == command.end()) {
        command.push_back(more[i]);
        if (!flag) command.push_back(more[++i]);
      } else if (!flag) {
        *++at = more[++i];
      }
    }
    return command;
  }
  std::vector<std::string> Distill(const std::string& out,
                                   const std::vector<std::string>& more = {}) const {
    std::vector<std::string> command = {
        TERN_PROGRAM, "distill",    "--model", model_,   "--prompts",     prompts_, "--out",
        out,          "--threads",  "1",       "--json", "--temperature", "1",      "--max-tokens",
        "40",         "--shard-mb", "0.02"};
    return With(std::move(command), more);
  }
  std::vector<std::string> Train(const std::string& data, const std::string& out,
                                 const std::vector<std::string>& more = {}) const {
    std::vector<std::string> command = {TERN_PROGRAM,
                                        "train",
                                        "--model",
                                        model_,
                                        "--data",
                                        data,
                                        "--out",
                                        out,
                                        "--batch",
                                        "64",
                                        "--steps",
                                        "40",
                                        "--checkpoint-every",
                                        "7",
                                        "--eval-every",
                                        "5",
                                        "--threads",
                                        "1",
                                        "--json",
                                        "--heads-count",
                                        "3"};
    if (!costs_.empty()) command.insert(command.end(), {"--costs", costs_});
    return With(std::move(command), more);
  }
  json Run(const std::vector<std::string>& command) { return JsonOf(RunProgram(command)); }
  void ExpectFailure(const std::vector<std::string>& command, const std::string& what,
                     int status = 1) {
    tern::ExpectFailure(RunProgram(command), {what}, status);
  }
  // Kills `command` as soon as `begun` appears, then at several moments, then lets it end.
  void KillAndFinish(const std::vector<std::string>& command, const std::string& begun,
                     uint64_t seed) {
    EXPECT_FALSE(RunAndKill(command, [&] { return fs::exists(begun); }))
        << "ended before " << begun;
    for (uint64_t kill = 0; kill < 5; ++kill) {
      const uint64_t delay = 5000 + Mix64(seed, kill) % 120000;
      if (RunAndKill(command, std::chrono::microseconds(delay))) break;
    }
    Run(command);
  }

  TempDir dir_;
  std::string model_ = dir_ / "model", data_ = dir_ / "data", heads_ = dir_ / "heads", prompts_;
  std::string costs_;  // empty: measured
};

}  // namespace tern::test

#endif  // TERN_TESTS_E2E_HEADS_RUN_H_
