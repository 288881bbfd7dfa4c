// The `tern` program on wrong input: exit 1 and one line on stderr where the operation fails, exit
// 2 where the command line is wrong, and nothing half-written left behind.
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <regex>

#include "tests/support/run_program.h"

namespace tern {
namespace {

namespace fs = std::filesystem;

constexpr const char* kTokenizer = TERN_SOURCE_DIR "/tests/golden/tokenizer/unigram";

ProgramResult Tern(std::vector<std::string> arguments, const std::string& stdout_path = "") {
  arguments.insert(arguments.begin(), TERN_PROGRAM);
  return RunProgram(arguments, stdout_path);
}

// A tiny model that `tern pretrain` itself made, once for all tests.
class CliTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    shared_ = new TempDir;
    std::string text;
    for (int i = 0; i < 200; ++i) text += "The cat sat on a mat " + std::to_string(i) + ".\n";
    shared_->Write("text", text);
    const ProgramResult packed = Tern(
        {"tokenize", "--tokenizer", kTokenizer, "--out", *shared_ / "tokens", *shared_ / "text"});
    ASSERT_EQ(packed.status, 0) << packed.err;
    const ProgramResult trained = Tern(PretrainCommand(*shared_ / "tokens", *shared_ / "model"));
    ASSERT_EQ(trained.status, 0) << trained.err;
  }
  static void TearDownTestSuite() {
    delete shared_;
    shared_ = nullptr;
  }
  static std::vector<std::string> PretrainCommand(const std::string& data, const std::string& out) {
    return {"pretrain", "--data",    data,  "--tokenizer",       kTokenizer, "--out",
            out,        "--steps",   "2",   "--hidden",          "64",       "--layers",
            "2",        "--ffn",     "128", "--attention-heads", "2",        "--kv-heads",
            "1",        "--context", "128", "--sequence",        "32",       "--batch",
            "2"};
  }
  static ProgramResult Generate(const std::string& model, const std::string& prompt,
                                const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments = {"generate", "--model",      model, "--prompt",
                                          prompt,     "--max-tokens", "8"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return Tern(arguments);
  }
  static std::string Model() { return *shared_ / "model"; }

  // A copy of the model for a test to damage.
  std::string CopyOfModel() const {
    const std::string copy = dir_ / "copy";
    fs::remove_all(copy);
    fs::create_directory(copy);
    for (const char* name : {"config.json", "model.safetensors", "tokenizer.model"}) {
      fs::copy_file(Model() + "/" + name, copy + "/" + name);
    }
    return copy;
  }
  // Generates with a copy of which one file went through `damage`.
  ProgramResult GenerateDamaged(const std::string& name,
                                const std::function<void(std::string&)>& damage) const {
    const std::string copy = CopyOfModel();
    std::string content = ReadFile(copy + "/" + name);
    damage(content);
    WriteFileAtomically(copy + "/" + name, content);
    return Generate(copy, "The cat");
  }
  ProgramResult GenerateWithConfig(const std::string& key, const nlohmann::json& value) const {
    return GenerateDamaged("config.json", [&](std::string& content) {
      nlohmann::json config = nlohmann::json::parse(content);
      config[key] = value;
      content = config.dump();
    });
  }

  static TempDir* shared_;
  TempDir dir_;
};
TempDir* CliTest::shared_ = nullptr;

TEST_F(CliTest, VersionNamesCommitAndTarget) {
  const ProgramResult result = Tern({"--version"});
  EXPECT_EQ(result.status, 0);
  EXPECT_TRUE(std::regex_match(
      result.out, std::regex("tern [0-9.]+ \\(commit [0-9a-z-]+, target [a-z0-9]+\\)\n")))
      << result.out;
}

TEST_F(CliTest, WrongUsageExitsWithTwo) {
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{},
        {"nonsense"},
        {"generate", "--nonsense"},
        {"generate", "--threads", "0"},
        {"generate", "--threads", "many"},
        {"generate", "--max-isa", "mmx", "--prompt", "x"},
        {"generate", "--temperature", "-1", "--prompt", "x"},
        {"generate", "--top-p", "2", "--prompt", "x"},
        {"generate", "--draft", "maybe", "--prompt", "x"},
        {"pretrain"},
        {"pretrain", "--size", "huge"}}) {
    const ProgramResult result = Tern(arguments);
    EXPECT_EQ(result.status, 2) << ::testing::PrintToString(arguments) << result.err;
    EXPECT_EQ(result.ErrorLines(), 1) << result.err;
    EXPECT_EQ(result.out, "");
  }
}

// Numbers that the option parser would take for others: -1 for 2^64 - 1, 010 for 8.
TEST_F(CliTest, NumbersAreWhatTheySay) {
  const auto refuse = [](const std::vector<std::string>& arguments, const std::string& got) {
    ExpectFailure(Tern(arguments), {arguments[1], "expected a", "got " + got}, 2);
  };
  for (const char* bad : {"-1", "010", "0x10", "18446744073709551616", "1e3", "abc", "1.5", " 1"})
    refuse({"generate", "--seed", bad}, bad);
  for (const char* bad : {"010", "0x10", "--5", "1e3"})
    refuse({"generate", "--max-tokens", bad}, bad);
  for (const char* bad : {"nan", "inf", "1e999", "1x"})
    refuse({"generate", "--temperature", bad}, bad);
  refuse({"train", "--epochs", "nan"}, "nan");
  refuse({"pretrain", "--tokens", "-1"}, "-1");
  refuse({"eval", "--limit", "-1"}, "-1");
  EXPECT_EQ(Generate(Model(), "The", {"--seed", "18446744073709551615"}).status, 0);
}

// What is printed must not end in a file that took the number of a closed stream.
TEST_F(CliTest, ClosedStreamsAreNotFiles) {
  std::string command = TERN_PROGRAM;
  for (const std::string& argument : PretrainCommand(*shared_ / "tokens", dir_ / "out"))
    command += " '" + argument + "'";
  EXPECT_EQ(RunProgram({"/bin/sh", "-c", "exec " + command + " 2>&-"}).status, 0);
  EXPECT_EQ(ReadFile(dir_ / "out/run/lock"), "");  // the first file that a run opens and keeps
  // Without a stdout the result is not told: that is a failure.
  fs::remove_all(dir_ / "out");
  EXPECT_EQ(RunProgram({"/bin/sh", "-c", "exec " + command + " --json >&-"}).status, 1);
  EXPECT_EQ(ReadFile(dir_ / "out/run/lock"), "");
}

TEST_F(CliTest, PromptsFromPipesAndFiles) {
  const auto generate = [&](const std::string& rest) {
    return RunProgram({"/bin/bash", "-c",
                       "'" + std::string(TERN_PROGRAM) + "' generate --model '" + Model() +
                           "' --max-tokens 4 --prompt-file " + rest});
  };
  const ProgramResult given = Generate(Model(), "The cat", {"--max-tokens", "4"});
  const ProgramResult piped = generate("<(echo 'The cat')"),
                      input = generate("/dev/stdin <<< 'The cat'");
  EXPECT_EQ(piped.status, 0) << piped.err;
  EXPECT_EQ(input.status, 0) << input.err;
  EXPECT_EQ(piped.out, input.out);
  ExpectFailure(generate("/dev/zero"), {"/dev/zero: neither a file nor a pipe"});
  ExpectFailure(generate("'" + dir_.path() + "'"), {dir_.path() + ": neither a file nor a pipe"});
}

TEST_F(CliTest, HelpIsAResult) {
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"--help"}, {"generate", "--help"}, {"pretrain", "--help"}}) {
    const ProgramResult result = Tern(arguments);
    EXPECT_EQ(result.status, 0) << result.err;
    EXPECT_NE(result.out, "");
  }
}

TEST_F(CliTest, GeneratesJson) {
  const ProgramResult result = Generate(Model(), "The cat", {"--json"});
  ASSERT_EQ(result.status, 0) << result.err;
  const auto json = nlohmann::json::parse(result.out);
  EXPECT_EQ(json["usage"]["completion_tokens"], json["token_ids"].size());
  EXPECT_GT(json["peak_memory_mb"], 1.0);
  for (const char* key : {"text", "finish_reason", "timings"})
    EXPECT_TRUE(json.contains(key)) << key;
}

TEST_F(CliTest, MissingModelFiles) {
  ExpectFailure(Generate(dir_ / "absent", "The cat"), {"absent"});
  for (const char* name : {"config.json", "model.safetensors", "tokenizer.model"}) {
    const std::string copy = CopyOfModel();
    fs::remove(copy + "/" + name);
    ExpectFailure(Generate(copy, "The cat"), {name});
  }
}

TEST_F(CliTest, TruncatedModelFiles) {
  for (const char* name : {"config.json", "model.safetensors", "tokenizer.model"}) {
    for (const double share : {0.0, 0.01, 0.5, 0.99}) {
      ExpectFailure(GenerateDamaged(name,
                                    [share](std::string& content) {
                                      content.resize(static_cast<size_t>(
                                          static_cast<double>(content.size()) * share));
                                    }),
                    {name});
    }
  }
}

TEST_F(CliTest, WrongMagicShapeAndDtype) {
  ExpectFailure(
      GenerateDamaged("model.safetensors", [](std::string& content) { content[7] = '\x7f'; }),
      {"model.safetensors"});
  ExpectFailure(
      GenerateDamaged("model.safetensors", [](std::string& content) { content[8] = 'X'; }),
      {"model.safetensors"});
  // The header's length stays the same: only names of types and digits change.
  const auto replace = [this](const std::string& from, const std::string& to) {
    return GenerateDamaged("model.safetensors", [&](std::string& content) {
      const size_t at = content.find(from);
      ASSERT_NE(at, std::string::npos) << from;
      content.replace(at, from.size(), to);
    });
  };
  ExpectFailure(replace("\"U8\"", "\"I8\""), {"model.safetensors"});
  ExpectFailure(replace("\"BF16\"", "\"BF61\""), {"model.safetensors"});
  ExpectFailure(replace("model.norm.weight", "model.norn.weight"), {"model.norm.weight"});
  ExpectFailure(GenerateWithConfig("intermediate_size", 256),
                {"model.safetensors", "expected", "got"});
  ExpectFailure(GenerateWithConfig("vocab_size", 341), {"expected", "got"});
  ExpectFailure(GenerateWithConfig("num_hidden_layers", 3), {"model.layers.2"});
  ExpectFailure(GenerateWithConfig("num_hidden_layers", 0), {"num_hidden_layers"});
  ExpectFailure(GenerateWithConfig("hidden_size", -64), {"hidden_size"});
  ExpectFailure(GenerateWithConfig("hidden_size", "wide"), {"hidden_size"});
  for (const char* key : {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
                          "num_attention_heads", "max_position_embeddings"}) {
    for (const nlohmann::json& value :
         {nlohmann::json(-1), nlohmann::json(1e300), nlohmann::json(uint64_t{1} << 63),
          nlohmann::json(2147483647), nlohmann::json(nullptr), nlohmann::json::array()}) {
      ExpectFailure(GenerateWithConfig(key, value), {"config.json", key, "expected", "got"});
    }
  }
  ExpectFailure(GenerateWithConfig("rms_norm_eps", -1.0), {"rms_norm_eps"});
  ExpectFailure(GenerateWithConfig("rope_theta", "far"), {"rope_theta"});
  ExpectFailure(GenerateWithConfig("eos_token_id", 340), {"eos_token_id"});
  ExpectFailure(GenerateWithConfig("hidden_act", "gelu"), {"hidden_act"});
  ExpectFailure(GenerateWithConfig("model_type", "gpt2"), {"model_type"});
}

TEST_F(CliTest, FilesOfOtherThings) {
  for (const char* name : {"config.json", "model.safetensors", "tokenizer.model"}) {
    for (const std::string& other : {std::string("[]"), std::string("{}"), std::string(4096, '\0'),
                                     std::string(4096, '\xff'), std::string("GGUF\3\0\0\0", 8)}) {
      ExpectFailure(GenerateDamaged(name, [&](std::string& content) { content = other; }), {name});
    }
  }
}

TEST_F(CliTest, BadPrompts) {
  ExpectFailure(Generate(Model(), ""), {"prompt", "empty"});
  std::string long_prompt;
  for (int i = 0; i < 200; ++i) long_prompt += "The cat sat. ";
  ExpectFailure(Generate(Model(), long_prompt), {"128"});
  ExpectFailure(Tern({"generate", "--model", Model(), "--prompt-file", dir_ / "absent"}),
                {"absent"});
}

TEST_F(CliTest, AFullStdoutIsAFailure) {
  ExpectFailure(
      Tern({"generate", "--model", Model(), "--prompt", "The", "--max-tokens", "4", "--json"},
           "/dev/full"),
      {"stdout"});
}

TEST_F(CliTest, PretrainRejectsBadData) {
  const std::string junk = dir_.Write("junk", std::string(4096, 'j'));
  std::string outside = ReadFile(*shared_ / "tokens");
  outside.back() = '\x7f';
  const std::string out = dir_ / "out";
  ExpectFailure(Tern(PretrainCommand(dir_ / "absent", out)), {"absent"});
  ExpectFailure(Tern(PretrainCommand(junk, out)), {"junk"});
  ExpectFailure(Tern(PretrainCommand(dir_.Write("outside", outside), out)), {"outside"});
  ExpectFailure(Tern(PretrainCommand(dir_.Write("cut", outside.substr(0, 70)), out)), {"cut"});
  EXPECT_FALSE(fs::exists(out));
}

TEST_F(CliTest, PretrainOnAFullDiskLeavesNoHalfFile) {
  // A file size limit stands for a full disk: checkpoints exceed it, small files do not.
  std::string command = "trap '' XFSZ; ulimit -f 100; exec " + std::string(TERN_PROGRAM);
  for (const std::string& argument : PretrainCommand(*shared_ / "tokens", dir_ / "out"))
    command += " " + argument;
  const ProgramResult result = RunProgram({"/bin/sh", "-c", command});
  EXPECT_EQ(result.status, 1) << result.err;
  for (const auto& entry : fs::recursive_directory_iterator(dir_ / "out")) {
    const std::string name = entry.path().filename().string();
    EXPECT_EQ(name.find(".ckpt"), std::string::npos) << entry.path();
    EXPECT_EQ(name.find("tmp"), std::string::npos) << entry.path();
    EXPECT_NE(name, "model.safetensors");
  }
}

TEST_F(CliTest, PretrainDoesNotReplaceAFileByAFolder) {
  ExpectFailure(Tern(PretrainCommand(*shared_ / "tokens", dir_.Write("out", "precious"))), {"out"});
  EXPECT_EQ(ReadFile(dir_ / "out"), "precious");
}

}  // namespace
}  // namespace tern
