// `tern eval` and `--heads` as a user runs them.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "engine/atomic_file.h"
#include "tests/support/model_dir.h"
#include "tests/support/random_heads.h"
#include "tests/support/run_program.h"
#include "tests/support/text_model_dir.h"

namespace tern {
namespace {

using nlohmann::json;

class EvalTest : public ::testing::Test {
 protected:
  static constexpr int32_t kVocab = kTextModelVocab;

  EvalTest() { WriteTextModelDir(model_); }
  ProgramResult Tern(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), TERN_PROGRAM);
    arguments.insert(arguments.end(), {"--model", model_, "--threads", "1"});
    return RunProgram(arguments);
  }
  json Eval(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"eval", "--prompts", prompts_, "--json"});
    return JsonOf(Tern(std::move(arguments)));
  }

  TempDir dir_;
  std::string model_ = dir_ / "model";
  std::string prompts_ =
      dir_.Write("p.jsonl", "{\"prompt\": \"the cat\"}\n{\"text\": \"a dog sat on\"}\n");
};

TEST_F(EvalTest, OneJsonObject) {
  SaveMedusaHeads(dir_ / "heads", RandomHeads(3, 64, 0.05f, 1), kVocab);
  const json result =
      Eval({"--heads", dir_ / "heads", "--max-tokens", "60", "--ignore-eos", "--draft", "tree"});
  EXPECT_EQ(result["prompts"], 2);
  EXPECT_EQ(result["tokens"], 120);
  EXPECT_EQ(result["identical"], true);
  EXPECT_EQ(result["heads"], 3);
  EXPECT_GT(result["plain_tokens_per_second"].get<double>(), 0.0);
  EXPECT_GT(result["speculative_tokens_per_second"].get<double>(), 0.0);
  EXPECT_NEAR(result["speedup"].get<double>(),
              result["speculative_tokens_per_second"].get<double>() /
                  result["plain_tokens_per_second"].get<double>(),
              1e-6);
  ASSERT_EQ(result["head_top1"].size(), 3u);
  for (const json& share : result["head_top1"]) {
    EXPECT_GE(share.get<double>(), 0.0);
    EXPECT_LE(share.get<double>(), 1.0);
  }
  // A step that accepts at depth 2 has accepted at depth 1; all of them together are what the
  // acceptance length adds to 1.
  double sum = 1.0, above = 1.0;
  for (const json& share : result["accepted_per_depth"]) {
    EXPECT_LE(share.get<double>(), above);
    sum += above = share.get<double>();
  }
  EXPECT_NEAR(result["acceptance_length"].get<double>(), sum, 1e-9);
  EXPECT_GT(sum, 1.0);
  int64_t drafted = 0, accepted = 0, in_steps = 0;
  for (const char* name : {"heads", "ngram", "both"}) {
    EXPECT_GT(result["drafters"][name]["drafted"], 0) << name;
    drafted += result["drafters"][name]["drafted"].get<int64_t>();
    accepted += result["drafters"][name]["accepted"].get<int64_t>();
  }
  for (const json& task : result["tasks"]) {
    drafted -= task["drafted"].get<int64_t>();
    in_steps += task["accepted"].get<int64_t>();
  }
  EXPECT_EQ(drafted, 0);
  EXPECT_EQ(accepted, in_steps);
  const json& phases = result["phases"];
  EXPECT_GT(phases["plan_seconds"], 0.0);
  EXPECT_LE(phases["plan_seconds"], phases["draft_seconds"]);
}

TEST_F(EvalTest, SampledAndWithoutHeads) {
  const json result = Eval({"--max-tokens", "30", "--temperature", "1", "--seed", "3", "--repeats",
                            "2", "--limit", "1", "--ignore-eos"});
  EXPECT_EQ(result["prompts"], 1);
  EXPECT_EQ(result["tokens"], 30);
  EXPECT_EQ(result["heads"], 0);
  EXPECT_EQ(result["head_top1"], json::array());
  EXPECT_EQ(result["acceptance"], json::array());
  EXPECT_EQ(result["identical"], true);
}

TEST_F(EvalTest, LossyTextsAreNotCalledIdentical) {
  const std::vector<std::string> arguments = {
      "--max-tokens", "30", "--temperature", "1", "--ignore-eos", "--lossy-typical", "0.05"};
  const json result = Eval(arguments);
  EXPECT_TRUE(result["identical"].is_null());
  EXPECT_EQ(result["lossy"], "typical acceptance, epsilon 0.05, delta 0.223607");
  EXPECT_EQ(Eval({"--max-tokens", "5"})["lossy"], false);
  std::vector<std::string> text = {"eval", "--prompts", prompts_, "--html", dir_ / "page.html"};
  text.insert(text.end(), arguments.begin(), arguments.end());
  const std::string out = Tern(text).out;
  EXPECT_NE(out.find("LOSSY"), std::string::npos) << out;
  EXPECT_EQ(out.find("identical"), std::string::npos) << out;
  const std::string page = ReadFile(dir_ / "page.html");
  EXPECT_NE(page.find("LOSSY"), std::string::npos);
  EXPECT_EQ(page.find("identical"), std::string::npos);
}

TEST_F(EvalTest, HeadsBesideTheModelAreUsed) {
  SaveMedusaHeads(model_ + "/medusa", RandomHeads(2, 64, 0.05f, 1), kVocab);
  EXPECT_EQ(Eval({"--max-tokens", "3"})["heads"], 2);
  EXPECT_EQ(Eval({"--max-tokens", "3", "--heads", "none"})["heads"], 0);
  const std::vector<std::string> generate = {"generate",     "--prompt", "the cat",
                                             "--json",       "--draft",  "tree",
                                             "--max-tokens", "40",       "--ignore-eos"};
  const ProgramResult with = Tern(generate);
  ASSERT_EQ(with.status, 0) << with.err;
  std::vector<std::string> arguments = generate;
  arguments.insert(arguments.end(), {"--heads", "none"});
  const json plain = json::parse(Tern(arguments).out), drafted = json::parse(with.out);
  EXPECT_EQ(drafted["token_ids"], plain["token_ids"]);
  EXPECT_GT(drafted["timings"]["drafted"], plain["timings"]["drafted"]);
}

TEST_F(EvalTest, HeadsOfAnotherModelAreAWarning) {
  MedusaHeads heads = RandomHeads(2, 64, 0.05f, 1);
  heads.info.backbone_fingerprint = "0123456789abcdef";
  SaveMedusaHeads(model_ + "/medusa", heads, kVocab);
  const ProgramResult result = Tern({"generate", "--prompt", "the cat", "--max-tokens", "3"});
  EXPECT_EQ(result.status, 0);
  EXPECT_NE(result.err.find("warning: "), std::string::npos) << result.err;
  EXPECT_NE(result.err.find("0123456789abcdef"), std::string::npos) << result.err;
}

// Every tag that begins ends, in the right order.
void ExpectBalanced(const std::string& html) {
  std::vector<std::string> open;
  for (size_t at = html.find('<'); at != std::string::npos; at = html.find('<', at + 1)) {
    const size_t end = html.find('>', at);
    ASSERT_NE(end, std::string::npos);
    const std::string tag = html.substr(at + 1, end - at - 1);
    ASSERT_FALSE(tag.empty());
    if (tag.front() == '!' || tag.back() == '/') continue;
    const bool closes = tag.front() == '/';
    const std::string name = tag.substr(closes ? 1 : 0, tag.find(' ') - (closes ? 1 : 0));
    if (!closes) {
      open.push_back(name);
      continue;
    }
    ASSERT_FALSE(open.empty()) << tag;
    ASSERT_EQ(open.back(), name) << "at byte " << at;
    open.pop_back();
  }
  EXPECT_TRUE(open.empty());
}

TEST_F(EvalTest, FilesAreTasksOfOnePage) {
  SaveMedusaHeads(dir_ / "heads", RandomHeads(2, 64, 0.05f, 1), kVocab);
  const std::string page = dir_ / "page.html";
  const std::string other = dir_.Write(
      "other.jsonl",
      "{\"prompt\": \"<script>alert(1)</script> & \\\"so\\\" \\u0001\", \"task\": \"a<b\"}\n");
  const json result = Eval({"--prompts", other, "--heads", dir_ / "heads", "--max-tokens", "150",
                            "--ignore-eos", "--draft", "tree", "--max-rows", "8", "--html", page});
  ASSERT_EQ(result["tasks"].size(), 2u);
  EXPECT_EQ(result["tasks"][0]["name"], "p");
  EXPECT_EQ(result["tasks"][0]["prompts"], 2);
  EXPECT_EQ(result["tasks"][1]["name"], "a<b");
  EXPECT_EQ(result["tasks"][1]["tokens"], 150);
  ASSERT_EQ(result["contexts"].size(), 2u);
  EXPECT_EQ(result["contexts"][1]["from"], 128);
  // Every group is a part of the same steps.
  for (const char* groups : {"tasks", "contexts"}) {
    int64_t steps = 0, accepted = 0;
    for (const json& group : result[groups]) {
      steps += group["steps"].get<int64_t>();
      accepted += group["accepted"].get<int64_t>();
    }
    EXPECT_EQ(steps, result["steps"]);
    EXPECT_EQ(steps + accepted, 447);  // the first token of each text is the prompt's
  }
  double promised = 0.0, drafted = 0.0;
  for (const json& bucket : result["calibration"]) {
    const double nodes = bucket["drafted"];
    drafted += nodes;
    promised += nodes * bucket["expected"].get<double>();
    if (nodes == 0) continue;
    EXPECT_GE(bucket["expected"].get<double>(), bucket["from"].get<double>() - 1e-6);
    EXPECT_LE(bucket["expected"].get<double>(), bucket["to"].get<double>() + 1e-6);
  }
  EXPECT_GT(drafted, 0.0);
  EXPECT_NEAR(1.0 + promised / result["steps"].get<double>(), result["expected_tokens_per_step"],
              1e-4);
  EXPECT_EQ(result["step_cost"].size(), 8u);
  EXPECT_EQ(result["head_ranks"][0][0], result["head_top1"][0]);
  for (const auto& [phase, seconds] : result["phases"].items()) EXPECT_GE(seconds, 0.0) << phase;

  const std::string html = ReadFile(page);
  ExpectBalanced(html);
  EXPECT_EQ(html.find("http"), std::string::npos);
  EXPECT_EQ(html.find("<script"), std::string::npos);
  EXPECT_NE(html.find("&lt;script&gt;alert(1)&lt;/script&gt; &amp; &quot;so&quot; \xEF\xBF\xBD"),
            std::string::npos);
  EXPECT_NE(html.find("a&lt;b"), std::string::npos);
  EXPECT_NE(html.find("<polyline"), std::string::npos);
}

TEST_F(EvalTest, CalibrationIsStoredBesideTheHeads) {
  const std::string heads = dir_ / "heads";
  SaveMedusaHeads(heads, RandomHeads(2, 64, 0.05f, 1), kVocab);
  const json fit = Eval({"--heads", heads, "--write-calibration"});
  EXPECT_EQ(fit["calibration"], heads + "/tern_calibration.json");
  EXPECT_EQ(fit["held_out"].size(), 8u);  // 2 heads at 4 temperatures
  const json file = json::parse(ReadFile(heads + "/tern_calibration.json"));
  EXPECT_EQ(file["heads"], 2);
  EXPECT_EQ(file["tokens"], fit["tokens"]);
  const json info = json::parse(Tern({"info", heads, "--json"}).out);
  EXPECT_EQ(info["calibrated_on_tokens"], fit["tokens"]);
  EXPECT_EQ(Eval({"--heads", heads, "--temperature", "0.7"})["identical"], true);
  // A damaged one is named, and drafting goes on without it.
  dir_.Write("heads/tern_calibration.json", "{\"heads\": 2}");
  const ProgramResult result = Tern({"eval", "--prompts", prompts_, "--heads", heads, "--json"});
  EXPECT_EQ(result.status, 0);
  EXPECT_NE(result.err.find("tern_calibration.json"), std::string::npos) << result.err;
  ExpectFailure(Tern({"eval", "--prompts", prompts_, "--write-calibration"}), {"--heads"});
}

TEST_F(EvalTest, WhatItWritesCanBeReplayed) {
  SaveMedusaHeads(dir_ / "heads", RandomHeads(2, 64, 0.05f, 1), kVocab);
  const std::vector<std::string> options = {"--heads",      dir_ / "heads", "--max-tokens", "60",
                                            "--ignore-eos", "--draft",      "tree"};
  const json first = Eval(options);
  ASSERT_EQ(first["acceptance_by_confidence"].size(), first["acceptance"].size());
  for (size_t k = 0; k < first["acceptance"].size(); ++k) {
    double share = 0.0, rate = 0.0;
    for (const json& bin : first["acceptance_by_confidence"][k]) {
      share += bin["share"].get<double>();
      rate += bin["share"].get<double>() * bin["rates"][0].get<double>();
    }
    EXPECT_NEAR(share, 1.0, 1e-9);
    EXPECT_NEAR(rate, first["acceptance"][k][0].get<double>(), 1e-9);
  }
  const std::string file = dir_.Write("eval.json", first.dump());
  std::vector<std::string> again = options;
  again.insert(again.end(), {"--cost-table", file});
  const json table = Eval(again)["cost_table"];
  EXPECT_EQ(table["ratios"], first["cost_table"]["ratios"]);
  EXPECT_NEAR(table["one_row_ms"].get<double>(), first["cost_table"]["one_row_ms"].get<double>(),
              1e-9);
  const ProgramResult replay =
      RunProgram({TERN_PROGRAM, "bench", "--synthetic", "tiny", "--acceptance", file, "--threads",
                  "1", "--cost-table", file, "--json"});
  ASSERT_EQ(replay.status, 0) << replay.err;
  EXPECT_NEAR(json::parse(replay.out)["cost_table"]["one_row_ms"].get<double>(),
              first["cost_table"]["one_row_ms"].get<double>(), 1e-9);
  for (const char* command : {"eval", "generate"}) {
    const char* const what = command == std::string("eval") ? "--prompts" : "--prompt";
    ExpectFailure(Tern({command, what, prompts_, "--cost-table", model_ + "/config.json"}),
                  {"config.json", "cost table"});
  }
}

TEST_F(EvalTest, PromptsThatDoNotFitCanBeLeftOut) {
  const std::string words = std::string(600, '\x01') + "\nfine\n";
  const std::string prompts = dir_.Write("long.txt", words);
  EXPECT_EQ(Tern({"eval", "--prompts", prompts, "--max-tokens", "5"}).status, 1);
  const ProgramResult result =
      Tern({"eval", "--prompts", prompts, "--max-tokens", "5", "--skip-long", "--json"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(json::parse(result.out)["skipped"], 1);
  EXPECT_EQ(json::parse(result.out)["prompts"], 1);
}

TEST_F(EvalTest, BadInputIsOneError) {
  // Found before the model is looked at.
  const std::string nowhere = dir_ / "nowhere/page.html";
  ExpectFailure(Tern({"eval", "--prompts", prompts_, "--html", nowhere}), {nowhere});
  ExpectFailure(Tern({"eval", "--prompts", prompts_, "--html", model_}), {model_, "folder"});
  ExpectFailure(Tern({"eval", "--prompts", prompts_, "--html", prompts_}), {"--html"});
  const std::string broken = dir_.Write("broken.jsonl", "{\"prompt\": \"fine\"}\n{\"prompt\": \n");
  ExpectFailure(Tern({"eval", "--prompts", broken}), {broken + ":2: "});
  ExpectFailure(Tern({"eval", "--prompts", dir_ / "missing.jsonl"}), {"missing.jsonl"});
  ExpectFailure(Tern({"eval", "--prompts", dir_.Write("empty.txt", "")}), {"empty.txt"});
  const std::string words = [] {
    std::string text;
    for (int i = 0; i < 600; ++i) text += "zq ";
    return text;
  }();
  const std::string longest = dir_.Write("long.txt", "fine\n" + words);
  ExpectFailure(Tern({"eval", "--prompts", longest}), {longest + ":2: ", "511"});
  SaveMedusaHeads(dir_ / "wide", RandomHeads(2, 128, 0.05f, 1), kVocab);
  ExpectFailure(Tern({"eval", "--prompts", prompts_, "--heads", dir_ / "wide"}),
                {"hidden_size", "64", "128"});
  ExpectFailure(Tern({"generate", "--prompt", "x", "--heads", dir_ / "nowhere"}), {"nowhere"});
  EXPECT_EQ(Tern({"eval"}).status, 2);
  EXPECT_EQ(Tern({"eval", "--prompts", prompts_, "--max-tokens", "0"}).status, 2);
  EXPECT_EQ(Tern({"eval", "--prompts", prompts_, "--repeats", "0"}).status, 2);
}

TEST_F(EvalTest, PerplexityOfATextFile) {
  const std::string text = dir_.Write("t.txt", "the cat sat on the mat and the dog sat on it");
  const ProgramResult result = Tern({"eval", "--perplexity", text, "--context", "16", "--json"});
  ASSERT_EQ(result.status, 0) << result.err;
  const json report = json::parse(result.out);
  EXPECT_EQ(report["bytes"], 44);
  EXPECT_EQ(report["context"], 16);
  const double loss = report["loss"], tokens = report["tokens"];
  EXPECT_NEAR(report["perplexity"], std::exp(loss), 1e-6 * std::exp(loss));
  EXPECT_NEAR(report["bits_per_byte"], loss * tokens / std::log(2.0) / 44, 1e-9);
  EXPECT_FALSE(report.contains("bf16_perplexity"));
  const ProgramResult rounded =
      Tern({"eval", "--perplexity", text, "--context", "16", "--json", "--kv-type", "int8"});
  ASSERT_EQ(rounded.status, 0) << rounded.err;
  const json int8 = json::parse(rounded.out);
  EXPECT_NEAR(int8["bf16_perplexity"], report["perplexity"], 1e-9 * std::exp(loss));
  EXPECT_NE(int8["perplexity"], report["perplexity"]);
  EXPECT_NEAR(int8["perplexity"], report["perplexity"], 0.02 * std::exp(loss));
  EXPECT_GT(int8["same_best_as_bf16"], 0.8);
  EXPECT_LE(int8["same_best_as_bf16"], 1.0);
  ExpectFailure(Tern({"eval", "--perplexity", dir_ / "none.txt"}), {"none.txt"});
  ExpectFailure(Tern({"eval", "--perplexity", text, "--context", "100000"}), {"context", "100000"});
  ExpectFailure(Tern({"eval", "--perplexity", dir_.Write("e.txt", "")}), {"tokens"});
  EXPECT_EQ(Tern({"eval"}).status, 2);
  ExpectFailure(Tern({"eval", "--perplexity", text, "--kv-type", "fp8"}),
                {"--kv-type: fp8 not in {bf16,int8}"}, 2);
}

}  // namespace
}  // namespace tern
