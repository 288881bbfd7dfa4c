// `tern convert` as a user runs it, and what it writes.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "engine/atomic_folder.h"
#include "tests/support/model_dir.h"
#include "tests/support/random_heads.h"
#include "tests/support/run_program.h"
#include "tests/support/text_model_dir.h"

namespace tern {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

class ConvertTest : public ::testing::Test {
 protected:
  ConvertTest() { WriteTextModelDir(model_); }
  ProgramResult Tern(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), TERN_PROGRAM);
    arguments.insert(arguments.end(), {"--threads", "1"});
    return RunProgram(arguments);
  }
  json Json(std::vector<std::string> arguments) {
    arguments.push_back("--json");
    return JsonOf(Tern(std::move(arguments)));
  }
  json Generate(const std::string& model, std::vector<std::string> more = {}) {
    std::vector<std::string> arguments = {"generate",      "--model",      model, "--prompt",
                                          "the cat",       "--max-tokens", "40",  "--ignore-eos",
                                          "--temperature", "0.7"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return Json(arguments);
  }
  void ExpectFailure(std::vector<std::string> arguments, int status, const std::string& what) {
    tern::ExpectFailure(Tern(std::move(arguments)), {what}, status);
  }

  TempDir dir_;
  std::string model_ = dir_ / "model";
};

TEST_F(ConvertTest, EveryFormatWritesTheSameText) {
  const json expected = Generate(model_)["token_ids"];
  ASSERT_EQ(expected.size(), 40u);
  const std::string gguf = dir_ / "x.gguf", hf = dir_ / "hf";
  const json made = Json({"convert", "--model", model_, "--out", gguf});
  EXPECT_EQ(made["format"], "gguf");
  EXPECT_EQ(made["tokenizer"], true);
  EXPECT_GT(made["bytes"], 1000);
  EXPECT_EQ(Generate(gguf)["token_ids"], expected);
  EXPECT_EQ(Json({"convert", "--model", gguf, "--out", hf})["format"], "hf");
  EXPECT_EQ(Generate(hf)["token_ids"], expected);
  const json floats =
      Json({"convert", "--model", hf, "--out", dir_ / "plain", "--to", "gguf", "--tables", "f32"});
  EXPECT_GT(floats["bytes"], made["bytes"]);
  EXPECT_EQ(Generate(dir_ / "plain")["token_ids"], expected);
  EXPECT_NE(Generate(gguf, {"--i2s-order", "64x16"})["token_ids"], expected);
}

TEST_F(ConvertTest, RandomWeightsInAKnownShape) {
  std::vector<json> texts;
  for (const char* out : {"hf", "x.gguf"}) {
    Json({"convert", "--synthetic", "tiny", "--seed", "5", "--out", dir_ / out});
    texts.push_back(Generate(dir_ / out)["token_ids"]);
  }
  EXPECT_EQ(texts[0].size(), 40u);
  EXPECT_EQ(texts[0], texts[1]);
  ExpectFailure({"convert", "--synthetic", "huge", "--out", dir_ / "no"}, 2, "huge");
}

TEST_F(ConvertTest, HeadsBesideAGgufFileAreFound) {
  const std::string gguf = dir_ / "x.gguf";
  Json({"convert", "--model", model_, "--out", gguf});
  const auto drafted = [&](std::vector<std::string> more) {
    more.insert(more.end(), {"--draft", "tree"});
    return Generate(gguf, more)["timings"]["drafted"].get<int>();
  };
  const int without = drafted({"--heads", "none"});
  EXPECT_EQ(drafted({}), without);
  SaveMedusaHeads(dir_ / "medusa", RandomHeads(3, 64, 0.05f, 1), 340);
  const int beside = drafted({});
  EXPECT_GT(beside, without);
  // The file's own folder goes first.
  SaveMedusaHeads(dir_ / "x.medusa", RandomHeads(1, 64, 0.05f, 1), 340);
  EXPECT_NE(drafted({}), beside);
}

TEST_F(ConvertTest, FailuresAreOneLineAndLeaveNothing) {
  const std::string out = dir_ / "out";
  ExpectFailure({"convert", "--model", model_}, 2, "--out");
  ExpectFailure({"convert", "--model", model_, "--out", out, "--to", "onnx"}, 2, "onnx");
  ExpectFailure({"convert", "--model", model_, "--out", out, "--type", "tq2_0"}, 2, "--to gguf");
  ExpectFailure({"convert", "--model", model_, "--out", out + ".gguf", "--type", "tq2_0"}, 1,
                "blocks of 256");
  ExpectFailure({"convert", "--model", dir_ / "none", "--out", out}, 1, "no such model");
  ExpectFailure({"convert", "--model", model_, "--out", model_}, 1, "is the model itself");
  ExpectFailure({"convert", "--model", model_, "--out", out, "--i2s-order", "2"}, 2, "i2s-order");
  ExpectFailure({"convert", "--model", model_, "--out", "/proc/x/y"}, 1, "/proc/x/y");
  EXPECT_EQ(dir_.Names(), std::vector<std::string>{"model"});
  Json({"convert", "--model", model_, "--out", out});
  ExpectFailure({"convert", "--model", model_, "--out", out}, 1, "exists already");
  Json({"convert", "--model", model_, "--out", out, "--force"});
  EXPECT_EQ(dir_.Names(), (std::vector<std::string>{"model", "out"}));
}

TEST_F(ConvertTest, ForceNeedsNothingToReplace) {
  const std::string out = dir_ / "out";
  Json({"convert", "--model", model_, "--out", out, "--force"});
  const json expected = Generate(model_)["token_ids"];
  EXPECT_EQ(Generate(out)["token_ids"], expected);
  fs::create_directory_symlink("out", dir_ / "link");  // the link is replaced, not what it leads to
  Json({"convert", "--model", model_, "--out", dir_ / "link", "--force"});
  EXPECT_FALSE(fs::is_symlink(dir_ / "link"));
  EXPECT_EQ(Generate(out)["token_ids"], expected);
  EXPECT_EQ(dir_.Names(), (std::vector<std::string>{"link", "model", "out"}));
}

// A process that was killed may have had the number of this one.
TEST(AtomicFolderTest, WhatAKilledProcessLeftIsNotKept) {
  const TempDir dir;
  const std::string left = dir / ("out.tmp" + std::to_string(getpid()));
  fs::create_directory(left);
  WriteBytes(left + "/added_tokens.json", "of another model");
  AtomicFolder folder(dir / "out");
  folder.Write("config.json", "{}");
  folder.Commit();
  EXPECT_EQ(dir.Names(), std::vector<std::string>{"out"});
  EXPECT_FALSE(fs::exists(dir / "out/added_tokens.json"));
}

TEST_F(ConvertTest, FoldersAboveAreMade) {
  Json({"convert", "--model", model_, "--out", dir_ / "a/b", "--no-tokenizer"});
  Json({"convert", "--model", model_, "--out", dir_ / "c/d/x.gguf", "--no-tokenizer"});
  EXPECT_TRUE(fs::exists(dir_ / "c/d/x.gguf"));
  ExpectFailure({"convert", "--model", model_, "--out", ""}, 1, "is empty");
  ExpectFailure({"convert", "--model", model_, "--synthetic", "tiny", "--out", dir_ / "e"}, 2,
                "does not go with --model");
}

TEST_F(ConvertTest, AModelWithoutTokenizerIsConvertedWithAWarning) {
  fs::remove(model_ + "/tokenizer.model");
  const ProgramResult result = Tern({"convert", "--model", model_, "--out", dir_ / "x.gguf"});
  EXPECT_EQ(result.status, 0);
  EXPECT_NE(result.err.find("no tokenizer"), std::string::npos) << result.err;
}

}  // namespace
}  // namespace tern
