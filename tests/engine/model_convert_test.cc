// Models and tokenizers through every format and back.
#include "engine/model_convert.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "engine/chat_template.h"
#include "engine/gguf.h"
#include "engine/gguf_writer.h"
#include "engine/hf_config.h"
#include "engine/hf_tokenizer_writer.h"
#include "engine/tokenizer.h"
#include "engine/tokenizer_compare.h"
#include "tests/support/error_text.h"
#include "tests/support/forward_runner.h"
#include "tests/support/model_dir.h"
#include "tests/support/shared_vectors.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"

namespace tern {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using test::ErrorText;

const std::string kGolden = TERN_SOURCE_DIR "/tests/golden/";

std::vector<RowResult> Logits(const Model& model) {
  const std::vector<TokenId> tokens = RandomTokens(24, model.config.vocab_size, 3);
  return ForwardRunner(model).Prefill(tokens, 24);
}

void ExpectSameLogits(const std::string& expected, const std::string& got) {
  const std::vector<RowResult> a = Logits(LoadModel(expected)), b = Logits(LoadModel(got));
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) ASSERT_TRUE(SameBits(a[i], b[i])) << expected << ", " << i;
}

void Convert(const std::string& from, const std::string& to, const ConvertOptions& options = {}) {
  ConvertOptions all = options;
  if (to.ends_with(".gguf")) all.format = ModelFormat::kGguf;
  ConvertModel(LoadModel(from), from, to, all);
}

std::string Refusal(const std::string& from, const std::string& to,
                    const ConvertOptions& options = {}) {
  return ErrorText([&] { Convert(from, to, options); });
}

void ExpectHas(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << text;
}

class FixtureTest : public ::testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Golden, FixtureTest,
                         ::testing::Values("architectures/bitnet", "architectures/onebit",
                                           "architectures/llama", "tiny_bitnet",
                                           "tiny_bitnet/masters", "gguf/tiny.gguf"));

TEST_P(FixtureTest, SurvivesEveryFormat) {
  const std::string source = kGolden + GetParam();
  const TempDir dir;
  // tiny.gguf has tokens and no rules for them.
  const bool tokenizer = !source.ends_with(".gguf");
  Convert(source, dir / "packed", {.tokenizer = tokenizer});
  ExpectSameLogits(source, dir / "packed");
  Convert(dir / "packed", dir / "x.gguf");
  Convert(dir / "x.gguf", dir / "again");
  ExpectSameLogits(source, dir / "again");
  for (const char* file : {"config.json", "model.safetensors"}) {
    EXPECT_EQ(ReadFile(dir / "packed" + "/" + file), ReadFile(dir / "again" + "/" + file)) << file;
  }
  // GGUF keeps the divisors of a stretched rope as floats, which its angles show.
  if (LoadModel(source).config.rope_divisors.empty()) ExpectSameLogits(source, dir / "x.gguf");
  for (const std::string& name : dir.Names()) EXPECT_EQ(name.find(".tmp"), std::string::npos);
}

TEST(ModelConvertTest, Tq2HoldsWidthsOf256) {
  const TempDir dir;
  const std::string source = kGolden + "gguf/tiny.gguf";
  Convert(source, dir / "x.gguf", {.linears = GgmlType::kTQ2_0, .tables = GgmlType::kF16});
  ExpectSameLogits(source, dir / "x.gguf");
  EXPECT_EQ(GgufFile(dir / "x.gguf").Find("blk.0.attn_q.weight")->type, GgmlType::kTQ2_0);
  EXPECT_EQ(GgufFile(dir / "x.gguf").Find("token_embd.weight")->type, GgmlType::kF16);
}

TEST(ModelConvertTest, WhatAFormatCannotHoldIsNamed) {
  const TempDir dir;
  for (const char* name : {"trilm", "qwen3"}) {
    const std::string source = kGolden + "architectures/" + name;
    ExpectHas(Refusal(source, dir / "hf"), "weight-only");
    ExpectHas(Refusal(source, dir / "x.gguf"), "weight-only");
  }
  ExpectHas(Refusal(kGolden + "architectures/trilm", dir / "x.gguf", {.linears = GgmlType::kTQ2_0}),
            "blocks of 256");
  EXPECT_TRUE(dir.Names().empty());
  Model odd = MakeTinyModel(TinyConfig());
  odd.config.head_dim = 24;
  ExpectHas(ErrorText([&] { ConvertModel(odd, "/nowhere", dir / "hf", {}); }), "hidden_size");
  odd = MakeTinyModel(TinyLlamaConfig());
  odd.config.rope_divisors = {1, 2, 1.5, 2, 2.5, 3, 3.5, 4, 4, 4, 4, 4};
  ExpectHas(ErrorText([&] { ConvertModel(odd, "/nowhere", dir / "hf", {}); }), "rotary");
}

TEST(ModelConvertTest, NothingIsReplacedUnasked) {
  const TempDir dir;
  const std::string source = kGolden + "tiny_bitnet", masters = source + "/masters";
  Convert(masters, dir / "m");
  Convert(masters, dir / "x.gguf");
  const std::string before = ReadFile(dir / "m/config.json");
  for (const char* target : {"m", "x.gguf"}) ExpectHas(Refusal(source, dir / target), "--force");
  EXPECT_EQ(ReadFile(dir / "m/config.json"), before);
  const ConvertOptions replace{.replace = true};
  Convert(kGolden + "architectures/bitnet", dir / "m", replace);
  EXPECT_NE(ReadFile(dir / "m/config.json"), before);
  Convert(kGolden + "architectures/bitnet", dir / "x.gguf", replace);
  ExpectSameLogits(kGolden + "architectures/bitnet", dir / "x.gguf");
  ExpectHas(Refusal(dir / "m", dir / "m", replace), "is the model itself");
  dir.Write("m/thesis.txt", "mine");
  ExpectHas(Refusal(source, dir / "m", replace), "thesis.txt");
  EXPECT_EQ(ReadFile(dir / "m/thesis.txt"), "mine");
  dir.Write("notes.gguf", "mine");
  ExpectHas(Refusal(source, dir / "notes.gguf", replace), "is no GGUF file");
  EXPECT_EQ(dir.Names(), (std::vector<std::string>{"m", "notes.gguf", "x.gguf"}));
  fs::create_directory(dir / "empty");
  Convert(source, dir / "empty");
}

// A model of this vocabulary, and a tokenizer's files, in `dir`.
std::string ModelWith(const TempDir& dir, int32_t vocab_size,
                      const std::map<std::string, std::string>& files) {
  ModelConfig config = TinyConfig();
  config.vocab_size = vocab_size;
  const std::string path = dir / "source";
  WriteModelDir(path, ConfigJson(config), PackedTensors(MakeTinyModel(config)));
  for (const auto& [name, content] : files) WriteBytes(path + "/" + name, content);
  return path;
}

class TokenizerFamilyTest : public ::testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Golden, TokenizerFamilyTest,
                         ::testing::Values("json/llama3.json", "json/qwen.json", "json/gpt2.json",
                                           "json/falcon.json", "json/llama2.json",
                                           "llama2/tokenizer.model", "bpe/tokenizer.model",
                                           "unigram/tokenizer.model"));

TEST_P(TokenizerFamilyTest, KeepsItsIds) {
  const TempDir dir;
  const std::string file = kGolden + "tokenizer/" + GetParam();
  const char* name = file.ends_with(".json") ? "tokenizer.json" : "tokenizer.model";
  const std::string source = ModelWith(dir, 520, {{name, ReadFile(file)}});
  Convert(source, dir / "x.gguf");
  Convert(dir / "x.gguf", dir / "again");
  Convert(dir / "again", dir / "y.gguf");
  const json cases = json::parse(ReadFile(kGolden + "tokenizer/bpe_cases.json"));
  const auto expected = LoadTokenizer(source);
  for (const char* other : {"x.gguf", "again", "y.gguf"}) {
    const auto got = LoadTokenizer(dir / other);
    EXPECT_EQ(TokenizerDifference(*expected, *got), "") << other;
    for (const std::string text : cases["texts"]) {
      EXPECT_EQ(got->Encode(text), expected->Encode(text)) << other << ": " << text;
    }
  }
  // Padded to the model's vocabulary, as llama.cpp wants.
  EXPECT_EQ(GgufFile(dir / "x.gguf").Texts("tokenizer.ggml.tokens").size(), 520u);
  ExpectSameLogits(source, dir / "again");
}

TEST(ModelConvertTest, RulesWithoutANameInGgufAreRefused) {
  for (const char* name : {"behaviours", "metaspace", "neox"}) {
    const TempDir dir;
    const std::string source = ModelWith(
        dir, 520, {{"tokenizer.json", ReadFile(kGolden + "tokenizer/json/" + name + ".json")}});
    ExpectHas(Refusal(source, dir / "x.gguf"), "GGUF");
    EXPECT_EQ(dir.Names(), std::vector<std::string>{"source"});
  }
  const TempDir dir;
  const std::string large =
      ModelWith(dir, 100, {{"tokenizer.json", ReadFile(kGolden + "tokenizer/json/gpt2.json")}});
  ExpectHas(Refusal(large, dir / "x.gguf"), "one vocabulary");
}

TEST(ModelConvertTest, ADirectorysOwnFilesAreCopied) {
  const TempDir dir;
  const std::map<std::string, std::string> files = {
      {"tokenizer.json", ReadFile(kGolden + "tokenizer/json/llama3.json")},
      {"tokenizer_config.json", "{\"eos_token\": \"<|end|>\", \"chat_template\": \"{{ x }}\"}"},
      {"generation_config.json", "{\"eos_token_id\": [2, 5]}"}};
  const std::string source = ModelWith(dir, 520, files);
  EXPECT_EQ(ReadHfConfig(source).model.eos_token_ids, (std::vector<int32_t>{2, 5}));
  Convert(source, dir / "hf");
  for (const auto& [name, content] : files) EXPECT_EQ(ReadFile(dir / "hf" + "/" + name), content);
  Convert(source, dir / "x.gguf");
  const GgufFile gguf(dir / "x.gguf");
  EXPECT_EQ(gguf.Integer("tokenizer.ggml.eos_token_id"), 2);
  EXPECT_EQ(gguf.Integer("tokenizer.ggml.eot_token_id"), 5);
  EXPECT_EQ(gguf.Text("tokenizer.chat_template"), "{{ x }}");
  EXPECT_EQ(gguf.Text("general.name"), "source");
  Convert(dir / "x.gguf", dir / "again");
  std::vector<int32_t> ends = ReadHfConfig(dir / "again").model.eos_token_ids;
  ASSERT_GE(ends.size(), 2u);
  ends.resize(2);  // the others are tokens that GGUF knows by their spelling, as <|eot|>
  EXPECT_EQ(ends, (std::vector<int32_t>{2, 5}));
  EXPECT_EQ(ChatTemplate::Load(dir / "again").source(), "{{ x }}");
}

TEST(ModelConvertTest, AFaultyCopyOfATemplateIsNotPassedOn) {
  const TempDir dir;
  const std::string source =
      ModelWith(dir, 520,
                {{"tokenizer.json", ReadFile(kGolden + "tokenizer/json/llama3.json")},
                 {"chat_template.jinja",
                  "{% for m in messages %}Human: {{ m['content'] }}\n\n"
                  "BITNETAssistant: {% endfor %}"}});
  Convert(source, dir / "x.gguf");
  const ChatTemplate chat = ChatTemplate::Load(dir / "x.gguf");
  EXPECT_EQ(chat.source().find("BITNETAssistant"), std::string::npos);
  EXPECT_EQ(chat.family(), "bitnet-2b-4t");
}

class GgufVocabularyTest : public ::testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Shared, GgufVocabularyTest,
                         ::testing::Values("falcon", "gpt-2", "refact", "llama-spm"));

TEST_P(GgufVocabularyTest, BecomesHuggingFaceFiles) {
  const std::string name = std::string("ggml-vocab-") + GetParam() + ".gguf";
  TERN_NEEDS_SHARED(name);
  const TempDir dir;
  WriteHfTokenizer(GgufFile(test::SharedVector(name)), dir.path());
  const auto expected = LoadTokenizer(test::SharedVector(name)), got = LoadTokenizer(dir.path());
  EXPECT_EQ(TokenizerDifference(*expected, *got), "");
  for (const auto& [text, ids] : test::IdVectors(name)) EXPECT_EQ(got->Encode(text), ids) << text;
}

TEST(ModelConvertTest, ATokenizerThatIsNotKeptExactlyIsNoticed) {
  // A word that is found by its spelling in the middle of the learned ones: text behind it begins
  // with a space in GGUF and not in sentencepiece.
  TERN_NEEDS_SHARED("ggml-vocab-phi-3.gguf");
  const TempDir dir;
  const std::string file = test::SharedVector("ggml-vocab-phi-3.gguf");
  WriteHfTokenizer(GgufFile(file), dir.path());
  ExpectHas(TokenizerDifference(*LoadTokenizer(file), *LoadTokenizer(dir.path())),
            "gets other tokens");
}

TEST(ModelConvertTest, DamagedUnigramVocabulariesAreErrors) {
  const TempDir dir;
  const auto refusal = [&](std::vector<std::string> tokens, std::vector<float> scores,
                           std::vector<int32_t> types) {
    WriteGguf(dir / "x.gguf",
              {{"tokenizer.ggml.model", std::string("t5")},
               {"tokenizer.ggml.tokens", std::move(tokens)},
               {"tokenizer.ggml.scores", std::move(scores)},
               {"tokenizer.ggml.token_type", std::move(types)}},
              {});
    return ErrorText([&] { LoadTokenizer(dir / "x.gguf"); });
  };
  ExpectHas(refusal({"<unk>", "a"}, {0}, {2, 1}), "scores");
  ExpectHas(refusal({"<unk>", "a"}, {0, NAN}, {2, 1}), "score of token 1");
  ExpectHas(refusal({"x", "a"}, {0, -1}, {1, 1}), "unknown text");
  ExpectHas(refusal({"<unk>", "a"}, {0, -1}, {2, 9}), "1 to 6");
  ExpectHas(refusal({"<unk>", "a", "a"}, {0, -1, -2}, {2, 1, 1}), "not a sentencepiece model");
  ExpectHas(refusal({"<unk>", ""}, {0, -1}, {2, 1}), "not a sentencepiece model");
  ExpectHas(refusal({"<unk>", "a"}, {0, -1}, {2, 1}), "no byte pieces");
}

TEST(ModelConvertTest, TheArmOrderIsReadWhereAsked) {
  const TempDir dir;
  Convert(kGolden + "tiny_bitnet", dir / "x.gguf");
  const Model right = LoadModel(dir / "x.gguf");
  const Model wrong = LoadModel(dir / "x.gguf", I2sOrder::k64x16);
  EXPECT_FALSE(SameBits(Logits(right)[3], Logits(wrong)[3]));
}

}  // namespace
}  // namespace tern
