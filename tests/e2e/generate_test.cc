// `tern generate` as a user runs it: what it prints, the same text however it drafts, and how it
// fails.
#include <gtest/gtest.h>
#include <sched.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "engine/numa.h"
#include "kernels/dispatch.h"
#include "tests/support/json_validator.h"
#include "tests/support/model_dir.h"
#include "tests/support/run_program.h"
#include "tests/support/tiny_model.h"

namespace tern {
namespace {

using nlohmann::json;

class GenerateTest : public ::testing::Test {
 protected:
  static constexpr const char* kTokenizer =
      TERN_SOURCE_DIR "/tests/golden/tokenizer/unigram/tokenizer.model";
  GenerateTest() { WriteModel(340); }  // the tokenizer's vocabulary

  void WriteModel(int32_t vocab_size) {
    ModelConfig config = TinyConfig();
    config.vocab_size = vocab_size;
    WriteModelDir(model_, ConfigJson(config), PackedTensors(MakeTinyModel(config)));
    std::filesystem::copy_file(kTokenizer, model_ + "/tokenizer.model",
                               std::filesystem::copy_options::overwrite_existing);
  }
  ProgramResult Tern(std::vector<std::string> arguments, const std::string& stdout_path = "") {
    arguments.insert(arguments.begin(), {TERN_PROGRAM, "generate", "--model", model_});
    return RunProgram(arguments, stdout_path);
  }
  json Json(std::vector<std::string> arguments) {
    arguments.push_back("--json");
    return JsonOf(Tern(std::move(arguments)));
  }
  // The operation or its usage fails with one line that says `what`.
  void ExpectFailure(std::vector<std::string> arguments, int status, const std::string& what) {
    tern::ExpectFailure(Tern(std::move(arguments)), {what}, status);
  }

  TempDir dir_;
  std::string model_ = dir_ / "model";
};

TEST_F(GenerateTest, OneJsonObject) {
  const json result = Json({"--prompt", "the cat", "--max-tokens", "20", "--ignore-eos",
                            "--logprobs", "2", "--temperature", "1.5", "--seed", "4"});
  EXPECT_TRUE(result["text"].is_string());
  EXPECT_EQ(result["token_ids"].size(), 20u);
  EXPECT_EQ(result["finish_reason"], "length");
  const json& usage = result["usage"];
  EXPECT_EQ(usage["completion_tokens"], 20);
  EXPECT_GT(usage["prompt_tokens"], 1);
  EXPECT_EQ(usage["total_tokens"].get<int>(), usage["prompt_tokens"].get<int>() + 20);
  for (const char* key : {"prompt_tokens_per_second", "decode_tokens_per_second", "steps",
                          "drafted", "accepted", "acceptance_length", "draft"}) {
    EXPECT_TRUE(result["timings"].contains(key)) << key;
  }
  EXPECT_GT(result["memory"]["peak_resident_mb"], 1.0);
  ASSERT_EQ(result["logprobs"].size(), 20u);
  for (size_t i = 0; i < 20; ++i) {
    EXPECT_EQ(result["logprobs"][i]["id"], result["token_ids"][i]);
    EXPECT_EQ(result["logprobs"][i]["top_logprobs"].size(), 2u);
  }
}

TEST_F(GenerateTest, TypicalAcceptanceSaysThatItIsLossy) {
  const std::vector<std::string> request = {"--prompt",        "the cat",  "--max-tokens", "20",
                                            "--lossy-typical", "0.09,0.3", "--seed",       "2"};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), request.begin(), request.end());
    return more;
  };
  const std::string label = "typical acceptance, epsilon 0.09, delta 0.3";
  EXPECT_EQ(Json(with({"--temperature", "0.8"}))["timings"]["lossy"], label);
  const ProgramResult text = Tern(with({"--temperature", "0.8"}));
  EXPECT_NE(text.err.find("LOSSY: " + label), std::string::npos) << text.err;
  EXPECT_FALSE(Json({"--prompt", "the cat", "--max-tokens", "3"})["timings"].contains("lossy"));
  ExpectFailure(with({}), 2, "temperature 0");
  EXPECT_NE(Tern({"--help"}).out.find("LOSSY"), std::string::npos);
}

TEST_F(GenerateTest, TheTextDoesNotDependOnDraftsRowsAndThreads) {
  const std::vector<std::string> request = {"--prompt", "the cat sat on the cat", "--max-tokens",
                                            "100",      "--ignore-eos",           "--temperature",
                                            "0.6"};
  const auto ask = [&](std::vector<std::string> more) {
    more.insert(more.begin(), request.begin(), request.end());
    return Json(more);
  };
  const json plain = ask({"--draft", "off", "--threads", "1"});
  EXPECT_EQ(plain["timings"]["drafted"], 0);
  int accepted = 0, by_drafters = 0;
  for (const char* draft : {"auto", "tree", "chain", "ngram"}) {
    for (const char* rows : {"3", "20"}) {
      const json drafted =
          ask({"--draft", draft, "--max-rows", rows, "--threads", rows[0] == '3' ? "1" : "2"});
      EXPECT_EQ(drafted["token_ids"], plain["token_ids"]) << draft;
      EXPECT_EQ(drafted["text"], plain["text"]) << draft;
      accepted += drafted["timings"]["accepted"].get<int>();
      for (const json& counts : drafted["timings"]["drafters"])
        by_drafters += counts["accepted"].get<int>();
    }
  }
  EXPECT_GT(accepted, 50);
  EXPECT_EQ(by_drafters, accepted);
}

TEST_F(GenerateTest, TheTextIsWhatASchemaAsksForHoweverItDrafts) {
  // Objects that begin alike: what the look-up drafts is often right.
  const std::string schema = R"({"type": "array", "minItems": 3, "maxItems": 3, "items":
      {"type": "object", "properties": {"animal": {"enum": ["cat", "dog"]},
       "legs": {"type": "integer", "minimum": 0, "maximum": 8}}, "required": ["animal", "legs"]}})";
  const std::vector<std::string> request = {
      "--prompt",      "the cat", "--max-tokens",  "400",
      "--temperature", "0.3",     "--json-schema", dir_.Write("schema.json", schema)};
  const auto ask = [&](const std::string& draft) {
    std::vector<std::string> words = request;
    words.insert(words.end(), {"--draft", draft});
    return Json(words);
  };
  const json plain = ask("off");
  EXPECT_EQ(plain["finish_reason"], "stop");
  const json value = json::parse(plain["text"].get<std::string>(), nullptr, false);
  ASSERT_FALSE(value.is_discarded()) << plain["text"];
  EXPECT_TRUE(JsonValidator(json::parse(schema)).Valid(value)) << plain["text"];
  for (const char* draft : {"auto", "tree", "chain", "ngram"}) {
    const json drafted = ask(draft);
    EXPECT_EQ(drafted["token_ids"], plain["token_ids"]) << draft;
    EXPECT_EQ(drafted["finish_reason"], "stop") << draft;
    // Whether auto drafts is a matter of time.
    const int least = draft == std::string("auto") ? 0 : 10;
    EXPECT_GE(drafted["timings"]["accepted"], least) << draft;
  }
}

TEST_F(GenerateTest, AnyJsonObject) {
  const json result = Json({"--prompt", "the cat", "--max-tokens", "400", "--json-object",
                            "--temperature", "1", "--seed", "3"});
  EXPECT_EQ(result["text"].get<std::string>().front(), '{');
  ASSERT_EQ(result["finish_reason"], "stop") << result["text"];
  EXPECT_TRUE(json::parse(result["text"].get<std::string>(), nullptr, false).is_object());
}

TEST_F(GenerateTest, SchemasThatCannotBeFollowedAreOneLine) {
  const auto fails = [&](const std::string& path, const std::string& what) {
    ExpectFailure({"--prompt", "a", "--json-schema", path}, 1, what);
  };
  fails(dir_ / "missing", "missing: no such file");
  fails("", "no such file");
  fails(dir_.Write("not.json", R"({"properties": {"a": {"not": {}}}})"),
        "not.json: schema at #/properties/a: the keyword \"not\" is not supported");
  fails(dir_.Write("cut.json", "{"), "cut.json: schema is not JSON");
  const std::string any = dir_.Write("any.json", "{}");
  ExpectFailure({"--prompt", "a", "--json-schema", any, "--ignore-eos"}, 2, "excludes");
  ExpectFailure({"--prompt", "a", "--json-object", "--ignore-eos"}, 2, "excludes");
  ExpectFailure({"--prompt", "a", "--json-schema", any, "--json-object"}, 2, "excludes");
}

TEST_F(GenerateTest, StreamsTheTextAndSumsUpOnStderr) {
  const json expected = Json({"--prompt", "on the mat", "--max-tokens", "8"});
  const ProgramResult result =
      Tern({"--prompt-file", dir_.Write("prompt", "on the mat\n"), "--max-tokens", "8"});
  EXPECT_EQ(result.status, 0);
  // This text is ASCII; bytes that are not UTF-8 would be replaced in the JSON.
  EXPECT_EQ(result.out, expected["text"].get<std::string>() + "\n");
  EXPECT_EQ(result.ErrorLines(), 1);
  EXPECT_NE(result.err.find("tokens at"), std::string::npos);
}

TEST_F(GenerateTest, OptionsAtTheirEdges) {
  const std::vector<std::string> base = {"--prompt", "the cat", "--ignore-eos", "--max-tokens"};
  const auto ids = [&](std::vector<std::string> more) {
    more.insert(more.begin(), base.begin(), base.end());
    return Json(more)["token_ids"];
  };
  const json greedy = ids({"12"});
  EXPECT_EQ(ids({"1"}).size(), 1u);
  EXPECT_EQ(ids({"12", "--temperature", "100", "--top-k", "1"}), greedy);
  EXPECT_EQ(ids({"12", "--temperature", "1", "--min-p", "1"}), greedy);
  EXPECT_EQ(ids({"12", "--temperature", "1", "--top-p", "1e-30"}), greedy);
  EXPECT_EQ(ids({"12", "--temperature", "1", "--top-k", "100000"}),
            ids({"12", "--temperature", "1", "--top-p", "1"}));
  EXPECT_EQ(ids({"12", "--threads", "64"}), greedy);
  EXPECT_EQ(ids({"2000000000"}).size(),
            512u - Json({"--prompt", "the cat", "--max-tokens", "1"})["usage"]["prompt_tokens"]
                       .get<size_t>());
  for (const char* temperature : {"1e-9", "1e9", "-1", "nan", "inf"}) {
    ExpectFailure({"--prompt", "a", "--temperature", temperature}, 2, "temperature");
  }
  ExpectFailure({"--prompt", "a", "--top-p", "0"}, 2, "top_p is 0");
  ExpectFailure({"--prompt", "a", "--min-p", "1.1"}, 2, "min_p is 1.1");
  ExpectFailure({"--prompt", "a", "--top-k", "-1"}, 2, "top_k is -1");
  ExpectFailure({"--prompt", "a", "--max-tokens", "0"}, 2, "max_tokens is 0");
  ExpectFailure({"--prompt", "a", "--max-tokens", "99999999999"}, 2, "--max-tokens");
  ExpectFailure({"--prompt", "a", "--stop", ""}, 2, "stop has an empty string");
}

TEST_F(GenerateTest, RunsOnEveryInstructionSetOfTheMachine) {
  for (const std::string& target : SupportedTargets()) {
    EXPECT_EQ(Json({"--prompt", "the cat", "--max-tokens", "9", "--ignore-eos", "--max-isa",
                    target})["token_ids"]
                  .size(),
              9u)
        << target;
  }
  ExpectFailure({"--prompt", "a", "--max-isa", "mmx"}, 2, "mmx");
}

TEST_F(GenerateTest, TheSameTextOnOneNumaNode) {
  std::string own;  // the node that this process runs on
  for (const NumaNode& node : NumaNodes()) {
    if (std::ranges::count(node.cpus, sched_getcpu()) > 0) own = std::to_string(node.id);
  }
  if (own.empty()) GTEST_SKIP() << "this system does not tell its NUMA nodes";
  if (Tern({"--prompt", "a", "--numa", own}).err.find("does not let a process") !=
      std::string::npos)
    GTEST_SKIP() << "this system does not let a process choose its memory";
  std::vector<std::string> command = {"--prompt", "the cat", "--max-tokens", "9", "--ignore-eos"};
  const json text = Json(command)["token_ids"];
  for (const std::string& node : {std::string("auto"), own}) {
    std::vector<std::string> bound = command;
    bound.insert(bound.end(), {"--numa", node});
    EXPECT_EQ(Json(bound)["token_ids"], text) << node;
  }
  ExpectFailure({"--prompt", "a", "--numa", "999"}, 1, "no node 999 on this machine");
  ExpectFailure({"--prompt", "a", "--numa", "-1"}, 2, "--numa");
  ExpectFailure({"--prompt", "a", "--numa", "first"}, 2, "expected auto or the number of a node");
}

TEST_F(GenerateTest, BadInputIsOneLine) {
  ExpectFailure({}, 1, "prompt is empty");  // standard input is empty
  ExpectFailure({"--prompt", ""}, 1, "prompt is empty");
  ExpectFailure({"--prompt-file", dir_ / "missing"}, 1, "missing");
  std::string words;
  for (int i = 0; i < 600; ++i) words += "the ";
  ExpectFailure({"--prompt", words}, 1, "in a context of 512");
  ExpectFailure({"--prompt", "a", "--top-p", "1.5"}, 2, "top_p is 1.5");
  ExpectFailure({"--prompt", "a", "--max-rows", "65"}, 2, "max_rows is 65");
  ExpectFailure({"--prompt", "a", "--draft", "medusa"}, 2, "medusa");
  ExpectFailure({"--prompt", "a", "--prompt-file", "b"}, 2, "excludes");
  const ProgramResult full = Tern({"--prompt", "a", "--max-tokens", "5"}, "/dev/full");
  EXPECT_EQ(full.status, 1);
  EXPECT_EQ(full.ErrorLines(), 1) << full.err;
  EXPECT_NE(full.err.find("stdout"), std::string::npos) << full.err;
  WriteModel(256);
  ExpectFailure({"--prompt", "a"}, 1, "tokenizer has 340 pieces, expected at most 256");
  std::filesystem::remove(model_ + "/tokenizer.model");
  ExpectFailure({"--prompt", "a"}, 1, "tokenizer.model");
}

}  // namespace
}  // namespace tern
