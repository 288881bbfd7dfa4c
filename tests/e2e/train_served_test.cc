// `tern serve --record` and `tern train --from-served`: from traffic to heads.
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>

#include "engine/atomic_file.h"
#include "engine/medusa_heads.h"
#include "tests/support/background_program.h"
#include "tests/support/http_client.h"
#include "tests/support/run_program.h"
#include "tests/support/text_model_dir.h"

namespace tern::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

class TrainServedTest : public ::testing::Test {
 protected:
  TrainServedTest() {
    setenv("OMP_WAIT_POLICY", "passive", 1);
    WriteTextModelDir(model_, 1);
  }
  // Serves `count` requests and ends.
  void Serve(int count) {
    BackgroundProgram server({TERN_PROGRAM, "serve", "--model", model_, "--port", "0", "--json",
                              "--threads", "1", "--record", ring_});
    const std::string line = server.ReadLine();
    ASSERT_FALSE(line.empty()) << server.Errors();
    HttpClient client(json::parse(line).at("port"));
    for (int i = 0; i < count; ++i) {
      const json body = {{"prompt", "the cat " + std::to_string(i)},
                         {"max_tokens", i == 0 ? 1 : 40},
                         {"ignore_eos", true},
                         {"seed", i}};
      ASSERT_EQ(client.Post("/v1/completions", body.dump()).status, 200);
    }
    server.Signal(SIGTERM);
    EXPECT_EQ(server.Wait(), 0);
  }
  ProgramResult Train(const std::string& out, const std::vector<std::string>& more = {}) {
    std::vector<std::string> command = {TERN_PROGRAM,
                                        "train",
                                        "--model",
                                        model_,
                                        "--from-served",
                                        ring_,
                                        "--out",
                                        out,
                                        "--threads",
                                        "1",
                                        "--json",
                                        "--batch",
                                        "32",
                                        "--costs",
                                        costs_,
                                        "--steps",
                                        "12",
                                        "--loss-samples",
                                        "0"};
    command.insert(command.end(), more.begin(), more.end());
    return RunProgram(command);
  }
  std::string Recording() const { return ring_ + "/traffic-00000001.jsonl"; }

  TempDir dir_;
  std::string model_ = dir_ / "model", ring_ = dir_ / "ring";
  std::string costs_ = dir_.Write("costs.json", R"({"rows": [1, 8], "seconds": [0.01, 0.02]})");
};

TEST_F(TrainServedTest, FromTrafficToHeads) {
  Serve(30);
  std::ofstream(Recording(), std::ios::app) << "{\"prompt\": \"what a crash le";
  const std::string heads = dir_ / "heads";
  const ProgramResult first = Train(heads, {"--heads-count", "2"});
  ASSERT_EQ(first.status, 0) << first.err;
  EXPECT_NE(first.err.find("29 texts, "), std::string::npos) << first.err;
  EXPECT_NE(first.err.find("1 lines without an end and 1 answers too short"), std::string::npos)
      << first.err;
  const MedusaHeads loaded = LoadMedusaHeads(heads, LoadModel(model_));
  EXPECT_EQ(loaded.count, 2);
  EXPECT_EQ(loaded.warning, "");
  EXPECT_FALSE(loaded.sample.tokens.empty());

  // Later traffic belongs to later runs: the same command ends with the same bytes.
  const std::string weights = heads + "/medusa_lm_head.safetensors", before = ReadFile(weights);
  fs::remove(Recording());
  const ProgramResult again = Train(heads, {"--heads-count", "2"});
  ASSERT_EQ(again.status, 0) << again.err;
  EXPECT_TRUE(ReadFile(weights) == before);

  // Trained on, from where they are: a rate that bf16 does not hold leaves them so.
  Serve(20);
  const std::string next = dir_ / "next";
  EXPECT_EQ(JsonOf(Train(next, {"--init-heads", heads, "--lr", "1e-44"}))["heads"], 2);
  EXPECT_TRUE(ReadFile(next + "/medusa_lm_head.safetensors") == before);
  const ProgramResult taught = Train(dir_ / "taught", {"--init-heads", heads});
  ASSERT_EQ(taught.status, 0) << taught.err;
  EXPECT_FALSE(ReadFile(dir_ / "taught/medusa_lm_head.safetensors") == before);
}

TEST_F(TrainServedTest, OtherTrafficIsRefused) {
  Serve(12);
  const auto expect = [&](const std::string& what) {
    ExpectFailure(Train(dir_ / "heads"), {what});
    EXPECT_FALSE(fs::exists(dir_ / "heads"));
  };
  const std::string good = ReadFile(Recording());
  json line = json::parse(good.substr(0, good.find('\n')));
  const auto with = [&](const char* key, const json& value) {
    json other = line;
    other[key] = value;
    std::ofstream(Recording(), std::ios::trunc) << good << other.dump() << "\n";
  };
  with("backbone", "0123456789abcdef");
  expect(Recording() + ":13: recorded with another model: backbone");
  with("prompt", "of another tokenizer");
  expect(Recording() + ":13: recorded with another tokenizer");
  with("answer_ids", {1, 2, 1 << 30});
  expect(Recording() + ":13: token id");
  with("answer_ids", "x");
  expect(Recording() + ":13: line");
  std::ofstream(Recording(), std::ios::trunc) << "";
  expect(ring_ + ": recorded traffic");
  fs::remove_all(ring_);
  expect(ring_ + ": no such folder");
}

}  // namespace
}  // namespace tern::test
