// `tern info` as a user runs it.
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "engine/token_file.h"
#include "tests/support/model_dir.h"
#include "tests/support/random_heads.h"
#include "tests/support/run_program.h"
#include "tests/support/tiny_model.h"

namespace tern {
namespace {

using nlohmann::json;

const std::string kGolden = TERN_SOURCE_DIR "/tests/golden/";

ProgramResult Info(const std::string& path, std::vector<std::string> more = {}) {
  std::vector<std::string> arguments = {TERN_PROGRAM, "info", path, "--threads", "1"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return RunProgram(arguments);
}

json InfoJson(const std::string& path, std::vector<std::string> more = {}) {
  more.push_back("--json");
  return JsonOf(Info(path, more));
}

void ExpectHas(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << text;
}

TEST(InfoTest, AModelDirectory) {
  const json info = InfoJson(kGolden + "tiny_bitnet");
  EXPECT_EQ(info["kind"], "model");
  EXPECT_EQ(info["format"], "Hugging Face directory");
  EXPECT_EQ(info["architecture_name"], "bitnet");
  EXPECT_EQ(info["stored"]["linears_as"], "U8");
  EXPECT_EQ(info["architecture"]["rms_norm_eps"], 1e-5);
  EXPECT_EQ(info["linears"].size(), 7u);
  for (const json& linear : info["linears"]) {
    EXPECT_NEAR(
        linear["minus"].get<double>() + linear["zero"].get<double>() + linear["plus"].get<double>(),
        1, 1e-12);
    EXPECT_EQ(linear["matrices"], info["architecture"]["layers"]);
    EXPECT_GT(linear["least_scale"], 0);
  }
  // Two bits a weight and a scale of two bytes a matrix.
  EXPECT_NEAR(info["stored"]["bits_per_ternary_weight"].get<double>(), 2.0, 0.1);
  EXPECT_TRUE(info["unusual"].empty()) << info["unusual"];
  EXPECT_TRUE(info["tokenizer"].contains("problem"));
  uint64_t bytes = 0;
  for (const json& group : info["tensor_groups"]) bytes += group["bytes"].get<uint64_t>();
  EXPECT_EQ(info["stored"]["tensor_bytes"], bytes);
  const json all = InfoJson(kGolden + "tiny_bitnet", {"--tensors"})["tensors"];
  EXPECT_GT(all.size(), info["tensor_groups"].size());
  EXPECT_EQ(all[0]["name"], "model.embed_tokens.weight");
}

TEST(InfoTest, EveryFixtureHasItsText) {
  const std::pair<const char*, std::vector<const char*>> cases[] = {
      {"architectures/llama", {"architecture llama", "stretched by", "int8"}},
      {"architectures/qwen3", {"architecture qwen3", "weight-only", "scales a matrix"}},
      {"architectures/trilm", {"weight-only", "F16"}},
      {"architectures/onebit", {"sub-norm", "silu"}},
      {"gguf/tiny.gguf", {"GGUF", "bitnet-b1.58", "I2_S", "blk.*.attn_q.weight"}},
  };
  for (const auto& [name, words] : cases) {
    SCOPED_TRACE(name);
    const ProgramResult result = Info(kGolden + name);
    EXPECT_EQ(result.status, 0) << result.err;
    for (const char* word : words) ExpectHas(result.out, word);
    ExpectHas(result.out, "unusual       nothing");
  }
}

TEST(InfoTest, TheModelThatShips) {
  const ProgramResult result = RunProgram({TERN_PROGRAM, "info", "--threads", "1"});
  EXPECT_EQ(result.status, 0) << result.err;
  for (const char* word : {"8 of hidden size 256", "sentencepiece", "family story", "medusa"}) {
    ExpectHas(result.out, word);
  }
}

// Weights as nobody trains them, each kind once.
TEST(InfoTest, WhatIsUnusualIsNamed) {
  ModelConfig config = TinyConfig();
  config.num_hidden_layers = 5;
  Model model = MakeTinyModel(config);
  const auto repack = [](TernaryMatrix& matrix, const auto& change) {
    std::vector<int8_t> codes(matrix.rows * matrix.cols);
    UnpackTernary(matrix.View(), {codes.data(), matrix.rows, matrix.cols});
    for (size_t i = 0; i < codes.size(); ++i) codes[i] = change(i, codes[i]);
    matrix = PackTernary({codes.data(), matrix.rows, matrix.cols}, matrix.scale);
  };
  repack(model.layers[1].q_proj, [](size_t i, int8_t c) { return i < 192 ? int8_t{0} : c; });
  repack(model.layers[2].v_proj, [](size_t, int8_t c) { return std::max(c, int8_t{0}); });
  repack(model.layers[3].gate_proj,
         [](size_t i, int8_t) { return static_cast<int8_t>(i % 2 == 0 ? 1 : -1); });
  model.layers[4].down_proj.scale *= 64;
  std::fill_n(model.embed_tokens.mutable_data(), 2 * config.hidden_size, BFloat16{});
  std::fill_n(model.layers[2].ffn_sub_norm.data(), model.layers[2].ffn_sub_norm.size(), 0.0f);
  RawTensors tensors = PackedTensors(model);
  tensors["model.layers.0.self_attn.o_proj.weight"].bytes[7] = '\xff';  // code 3
  const TempDir dir;
  WriteModelDir(dir / "m", ConfigJson(config), tensors);
  const json info = InfoJson(dir / "m");
  const std::string unusual = info["unusual"].dump();
  for (const char* words :
       {"q_proj: 3 of 320 rows hold zeros only (in layers 1)",
        "layer 2 v_proj: 100.0% of the other", "layer 3 gate_proj: 0.0% of the weights are zero",
        "layer 4 down_proj: scale", "the vectors of 2 tokens are zero",
        "layer 2 ffn_sub_norm: all zero", "model.layers.0.self_attn.o_proj.weight, byte 7"}) {
    ExpectHas(unusual, words);
  }
  ExpectHas(Info(dir / "m").out, "layer 4 down_proj: scale");
}

TEST(InfoTest, WeightsThatCannotBeReadAreNamed) {
  const TempDir dir;
  RawTensors tensors = PackedTensors(MakeTinyModel(TinyConfig()));
  std::erase_if(tensors, [](const auto& entry) {
    return entry.first.find("norm") != std::string::npos ||
           entry.first == "model.embed_tokens.weight";
  });
  WriteModelDir(dir / "m", ConfigJson(TinyConfig()), tensors);
  const ProgramResult result = Info(dir / "m");
  EXPECT_EQ(result.status, 0) << result.err;
  for (const char* word : {"embed_tokens.weight", "q_proj", "unusual"}) ExpectHas(result.out, word);
}

TEST(InfoTest, WhatTernCannotRunIsStillListed) {
  const TempDir dir;
  json config = ConfigJson(TinyConfig());
  config["hidden_act"] = "gelu";
  WriteModelDir(dir / "m", config, PackedTensors(MakeTinyModel(TinyConfig())));
  const json info = InfoJson(dir / "m");
  ExpectHas(info["problem"], "hidden_act");
  EXPECT_GT(info["tensor_groups"].size(), 5u);
  ExpectHas(Info(dir / "m").out, "tern cannot run it");
}

TEST(InfoTest, HeadsAndTokens) {
  const TempDir dir;
  SaveMedusaHeads(dir / "heads", RandomHeads(3, 64, 0.05f, 1), 340);
  const json heads = InfoJson(dir / "heads");
  EXPECT_EQ(heads["kind"], "draft heads");
  EXPECT_EQ(heads["heads"], 3);
  EXPECT_EQ(heads["hidden_size"], 64);
  EXPECT_EQ(heads["vocab_size"], 340);
  for (const char* name : {"medusa_v1.pt", "medusa_v1.safetensors", "medusa_v2.pt", "bitnet.pt"}) {
    SCOPED_TRACE(name);
    const json other = InfoJson(kGolden + "torch/" + name);
    EXPECT_EQ(other["kind"], "draft heads");
    EXPECT_GE(other["heads"], 2);
    EXPECT_GE(other["blocks"], 1);
  }
  EXPECT_EQ(InfoJson(kGolden + "torch/medusa_v1.pt")["own_vocabularies"], true);
  EXPECT_EQ(InfoJson(kGolden + "torch/medusa_v2.pt")["own_vocabularies"], false);
  EXPECT_EQ(InfoJson(kGolden + "torch/bitnet.pt")["format"], "MedusaBitNet");

  TokenFileWriter writer(dir / "x.tokens", 10, 1);
  writer.Append(std::vector<int32_t>{1, 7, 7, 7, 2});
  writer.Commit(20);
  const json tokens = InfoJson(dir / "x.tokens");
  EXPECT_EQ(tokens["kind"], "token file");
  EXPECT_EQ(tokens["tokens"], 5);
  EXPECT_EQ(tokens["bytes_per_token"], 4.0);
  EXPECT_EQ(tokens["tokens_used"], 3);
  EXPECT_EQ(tokens["most_frequent"][0]["id"], 7);
  ExpectHas(Info(dir / "x.tokens").out, "most frequent");
}

TEST(InfoTest, FailuresAreOneLine) {
  const TempDir dir;
  std::filesystem::create_directory(dir / "empty");
  for (const std::string& path :
       {dir / "none", dir / "empty", dir.Write("text", "not a model at all")}) {
    ExpectFailure(Info(path), {});
  }
}

}  // namespace
}  // namespace tern
