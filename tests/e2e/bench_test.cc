// `tern bench` as a user runs it. What it measures is the machine's; here only that it measures.
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/run_program.h"

namespace tern {
namespace {

using nlohmann::json;

ProgramResult Bench(std::vector<std::string> arguments, const char* threads = "1") {
  arguments.insert(arguments.begin(),
                   {TERN_PROGRAM, "bench", "--threads", threads, "--rounds", "1"});
  return RunProgram(arguments);
}

json BenchJson(std::vector<std::string> arguments, const char* threads = "1") {
  arguments.push_back("--json");
  return JsonOf(Bench(std::move(arguments), threads));
}

const std::vector<std::string> kTiny = {"--synthetic", "tiny", "--rows",    "1,3",
                                        "--context",   "0,70", "--prefill", "90"};

TEST(Bench, MeasuresEveryPass) {
  const json result = BenchJson(kTiny);
  for (const char* key : {"read_gb_per_s", "int8_gmac_per_s", "bf16_gmac_per_s"})
    EXPECT_GT(result["machine"][key].get<double>(), 0.0) << key;
  EXPECT_EQ(result["machine"]["threads"], 1);
  ASSERT_EQ(result["passes"].size(), 16u);  // 2 contexts, 2 numbers of rows, 4 kinds
  for (const json& pass : result["passes"]) {
    EXPECT_GT(pass["ms"].get<double>(), 0.0);
    EXPECT_NEAR(pass["tokens_per_second"].get<double>() * pass["ms"].get<double>(),
                1e3 * pass["rows"].get<double>(), 1e-6);
    EXPECT_GT(pass["gb_per_s"].get<double>(), 0.0);
    EXPECT_GT(pass["share_of_limit"].get<double>(), 0.0);
  }
  EXPECT_EQ(result["prefill"]["tokens"], 90);
  EXPECT_GT(result["prefill"]["tokens_per_second"].get<double>(), 0.0);
  const double anonymous = result["memory"]["anonymous_mb"];
  EXPECT_GT(anonymous, 0.0);
  EXPECT_LT(anonymous, 128.0);  // not what the ceilings are measured with
}

TEST(Bench, ReplaysAcceptance) {
  const TempDir dir;
  // As tern eval --json writes it.
  const std::string rates =
      dir.Write("eval.json", R"({"prompts": 2, "acceptance": [[1, 0], [1, 0], [1, 0]]})");
  for (const char* sequences : {"1", "3"}) {
    // A chain as deep as there are heads, whatever rows cost.
    const json replay =
        BenchJson({"--synthetic", "tiny", "--acceptance", rates, "--tokens", "41", "--draft",
                   "chain", "--seed", "9", "--sequences", sequences})["replay"];
    EXPECT_GT(replay["tokens_per_second"].get<double>(), 0.0);
    EXPECT_GT(replay["plain_tokens_per_second"].get<double>(), 0.0);
    EXPECT_DOUBLE_EQ(replay["speedup"].get<double>(),
                     replay["tokens_per_second"].get<double>() /
                         replay["plain_tokens_per_second"].get<double>());
    EXPECT_DOUBLE_EQ(replay["acceptance_length"].get<double>(), 4.0);
    EXPECT_EQ(replay["accepted_per_depth"], json({1.0, 1.0, 1.0}));
    EXPECT_EQ(replay["seed"], 9);
    EXPECT_GT(replay["plan_share"].get<double>(), 0.0);
    EXPECT_LE(replay["plan_share"], replay["draft_share"]);
    ASSERT_EQ(replay["predictions"].size(), 4u);
    for (const json& prediction : replay["predictions"]) {
      EXPECT_GT(prediction["plain_tokens_per_second"].get<double>(), 0.0);
      EXPECT_GE(prediction["tokens_per_second"], prediction["plain_tokens_per_second"]);
      EXPECT_GE(prediction["cores"], 8);
      EXPECT_GE(prediction["gb_per_s"].get<double>(), 60.0);
    }
    EXPECT_EQ(replay["prediction_basis"]["passes"][0]["rows"], 1);
  }
  const ProgramResult text =
      Bench({"--synthetic", "tiny", "--acceptance", "0.5,0.2", "--seed", "4"});
  EXPECT_EQ(text.status, 0) << text.err;
  EXPECT_EQ(text.out.rfind("REPLAY of --acceptance 0.5,0.2: ", 0), 0u) << text.out;
  EXPECT_NE(text.out.find("seed 4;"), std::string::npos) << text.out;
  EXPECT_NE(text.out.find("PREDICTION for other machines (not measured)"), std::string::npos);
}

TEST(Bench, TypesOfKvTakeTurns) {
  std::vector<std::string> arguments = kTiny;
  arguments.insert(arguments.end(), {"--kv-type", "bf16,int8"});
  const json result = BenchJson(arguments);
  ASSERT_EQ(result["passes"].size(), 32u);
  for (size_t i = 0; i < 32; ++i)
    EXPECT_EQ(result["passes"][i]["kv_type"], i % 2 == 0 ? "bf16" : "int8");
  const json& bytes = result["memory"]["kv_cache_bytes"];
  EXPECT_LT(bytes["int8"].get<double>(), 0.6 * bytes["bf16"].get<double>());
}

// The hash is of the model's own logits: neither rounds nor threads nor context change it.
TEST(Bench, LogitsHashIsTheModels) {
  const std::string hash = BenchJson(kTiny)["logits_hash"];
  EXPECT_EQ(
      BenchJson({"--synthetic", "tiny", "--rows", "8", "--prefill", "0"}, "2").at("logits_hash"),
      BenchJson({"--synthetic", "tiny", "--rows", "9", "--prefill", "0"}).at("logits_hash"));
  std::vector<std::string> other = kTiny;
  other.insert(other.end(), {"--seed", "1"});
  EXPECT_NE(BenchJson(other)["logits_hash"], hash);
}

TEST(Bench, ProductBesideOneDnn) {
  const json result = BenchJson({"--m", "3", "--k", "70", "--n", "50"});
  EXPECT_GT(result["ternary_ms"].get<double>(), 0.0);
  EXPECT_GT(result["onednn_ms"].get<double>(), 0.0);
}

TEST(Bench, AgainstAnotherBinary) {
  std::vector<std::string> arguments = kTiny;
  arguments.insert(arguments.end(), {"--against", TERN_PROGRAM});
  const json result = BenchJson(arguments);
  ASSERT_EQ(result["comparisons"].size(), 17u);
  for (const json& comparison : result["comparisons"])
    EXPECT_GT(comparison["ratio"].get<double>(), 0.0);
}

TEST(Bench, SaysWhatItCannotMeasure) {
  const auto expect = [](std::vector<std::string> arguments, int status, const char* words) {
    ExpectFailure(Bench(std::move(arguments)), {words}, status);
  };
  expect({"--synthetic", "huge"}, 1, "expected one of bitnet-2b-4t");
  expect({"--synthetic", "tiny", "--context", "600"}, 1, "the model has 512");
  expect({"--synthetic", "tiny", "--context", "2147483647"}, 1, "the model has 512");
  expect({"--synthetic", "tiny", "--rows", "0"}, 1, "rows of 1 or more");
  expect({"--synthetic", "tiny", "--prefill", "-1"}, 1, "prefill of 0 or more");
  expect({"--synthetic", "tiny", "--model", "x"}, 2, "does not go with --model");
  expect({"--synthetic", "tiny", "--kv-type", "bf16,int4"}, 2,
         "--kv-type: int4 not in {bf16,int8}");
  expect({"--synthetic", "tiny", "--acceptance", "0.5,0.6"}, 1, "more than the one before it");
  expect({"--synthetic", "tiny", "--acceptance", "rates.json"}, 1, "no such file");
  expect({"--synthetic", "tiny", "--acceptance", "1", "--tokens", "600"}, 1, "at most 496");
  expect({"--synthetic", "tiny", "--acceptance", "1", "--against", "x"}, 2, "does not go with");
  expect({"--m", "3"}, 2, "go together");
  expect({"--m", "3", "--k", "200000", "--n", "5"}, 1, "--k up to");
  expect({"--synthetic", "tiny", "--against", "/nowhere/tern"}, 1, "no such program");
  const auto expect_against = [&](const std::string& program, const char* words) {
    expect({"--synthetic", "tiny", "--rows", "1", "--prefill", "0", "--against", program}, 1,
           words);
  };
  expect_against("/bin/false", "failed");
  expect_against("/bin/true", "expected the JSON of tern bench, got something else");
  const TempDir dir;
  const auto script = [&](const char* name, const std::string& line) {
    const std::string path = dir.Write(name, "#!/bin/sh\n" + line + "\n");
    std::filesystem::permissions(path, std::filesystem::perms::owner_all);
    return path;
  };
  expect_against(script("endless", "exec yes"), "got more than a megabyte");
  expect_against(script("nothing", "echo '{\"passes\": []}'"),
                 "got nothing that was measured here");
}

}  // namespace
}  // namespace tern
