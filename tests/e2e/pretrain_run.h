// A tiny run of `tern pretrain` from text of the test's own, as its tests start, kill and break it.
#ifndef TERN_TESTS_E2E_PRETRAIN_RUN_H_
#define TERN_TESTS_E2E_PRETRAIN_RUN_H_

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/run_program.h"

namespace tern {

using Arguments = std::vector<std::string>;

inline ProgramResult Tern(Arguments arguments, const std::string& stdout_path = "") {
  arguments.insert(arguments.begin(), TERN_PROGRAM);
  return RunProgram(arguments, stdout_path);
}

// Lines of made-up words: enough different substrings for a small vocabulary.
inline std::string MadeUpText(int lines, uint32_t seed) {
  const char* syllables[] = {"ka", "lo", "mi", "ter", "nu", "sha", "ben", "do"};
  std::mt19937 random(seed);
  std::string text;
  for (int line = 0; line < lines; ++line) {
    for (int word = 0; word < 8; ++word) {
      if (word > 0) text += ' ';
      for (uint32_t n = random() % 3 + 1; n > 0; --n) text += syllables[random() % 8];
    }
    text += ".\n";
  }
  return text;
}

// Packed training and held-out text, made by `tern tokenize` once per test program.
class PretrainTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    setenv("OMP_WAIT_POLICY", "passive", 1);  // spinning threads starve each other on few cores
    shared_ = new TempDir;
    shared_->Write("text", MadeUpText(1200, 1));
    shared_->Write("valid.text", MadeUpText(60, 2));
    Succeed(
        {"tokenize", "--train", "--vocab-size", "320", "--out", Tokenizer(), *shared_ / "text"});
    Succeed({"tokenize", "--tokenizer", Tokenizer(), "--out", Data(), *shared_ / "text"});
    Succeed({"tokenize", "--tokenizer", Tokenizer(), "--out", Valid(), *shared_ / "valid.text"});
  }
  static void TearDownTestSuite() {
    delete shared_;
    shared_ = nullptr;
  }
  static std::string Tokenizer() { return *shared_ / "tokenizer"; }
  static std::string Data() { return *shared_ / "data.tok"; }
  static std::string Valid() { return *shared_ / "valid.tok"; }

  // Arguments of a run; options in `more` replace its own.
  static Arguments Pretrain(const std::string& out, const Arguments& more = {}) {
    Arguments all = {"pretrain", "--out", out};
    const std::vector<Arguments> defaults = {
        {"--size", "tiny"},           {"--data", Data()},       {"--valid", Valid()},
        {"--tokenizer", Tokenizer()}, {"--steps", "20"},        {"--batch", "2"},
        {"--sequence", "32"},         {"--threads", "1"},       {"--log-every", "5"},
        {"--eval-every", "10"},       {"--layers-every", "10"}, {"--checkpoint-every", "5"},
        {"--eval-tokens", "256"}};
    for (const Arguments& option : defaults) {
      if (std::ranges::find(more, option[0]) == more.end())
        all.insert(all.end(), option.begin(), option.end());
    }
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  static ProgramResult Succeed(const Arguments& arguments) {
    ProgramResult result = Tern(arguments);
    EXPECT_EQ(result.status, 0) << result.err;
    return result;
  }
  // Exit 1 and one line with all `words`; `lines` where a run has said something before it.
  static void ExpectFailure(const ProgramResult& result, const std::vector<std::string>& words) {
    tern::ExpectFailure(result, {});
    ExpectLastLine(result, words);
  }
  static void ExpectLastLine(const ProgramResult& result, const std::vector<std::string>& words) {
    EXPECT_EQ(result.status, 1) << result.err;
    const size_t at = result.err.rfind("tern: ");
    ASSERT_NE(at, std::string::npos) << result.err;
    const std::string line = result.err.substr(at);
    EXPECT_EQ(line.find('\n'), line.size() - 1) << result.err;
    for (const std::string& word : words)
      EXPECT_NE(line.find(word), std::string::npos) << "no \"" << word << "\" in " << line;
  }
  static std::vector<nlohmann::json> Metrics(const std::string& out, const std::string& key = "") {
    std::vector<nlohmann::json> found;
    std::istringstream lines(ReadFile(out + "/run/metrics.jsonl"));
    for (std::string line; std::getline(lines, line);) {
      nlohmann::json record = nlohmann::json::parse(line);
      if (key.empty() || record.contains(key)) found.push_back(std::move(record));
    }
    return found;
  }

  inline static TempDir* shared_ = nullptr;
  TempDir dir_;
};

}  // namespace tern

#endif  // TERN_TESTS_E2E_PRETRAIN_RUN_H_
