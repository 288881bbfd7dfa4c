// Tokenizers of Hugging Face directories: the ids of their reference implementations, and what is
// refused. The files and ids were made by golden/tokenizer/make_bpe_cases.py.
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/atomic_file.h"
#include "engine/error.h"
#include "engine/tokenizer.h"
#include "engine/tokenizer_json_reader.h"
#include "tests/support/error_text.h"
#include "tests/support/temp_dir.h"

namespace tern {
namespace {

using nlohmann::json;
using test::ErrorText;

const std::string kGolden = TERN_SOURCE_DIR "/tests/golden/tokenizer/";

json Cases() { return json::parse(ReadFile(kGolden + "bpe_cases.json")); }
json GoldenFile(const std::string& name) {
  return json::parse(ReadFile(kGolden + "json/" + name + ".json"));
}

// A folder with these files.
std::unique_ptr<Tokenizer> LoadFrom(const json& tokenizer, const json& config = json::object()) {
  const TempDir dir;
  dir.Write("tokenizer.json", tokenizer.dump());
  dir.Write("tokenizer_config.json", config.dump());
  return LoadTokenizer(dir.path());
}

void ExpectIds(const Tokenizer& tokenizer, const char* name) {
  const json cases = Cases();
  ASSERT_GE(cases["texts"].size(), 60u);
  for (size_t i = 0; i < cases["texts"].size(); ++i) {
    const std::string text = cases["texts"][i];
    EXPECT_EQ(tokenizer.Encode(text), cases[name][i].get<std::vector<TokenId>>())
        << name << ", case " << i << ": " << cases["texts"][i];
  }
}

class TokenizerJsonTest : public ::testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Families, TokenizerJsonTest,
                         ::testing::Values("llama3", "qwen", "gpt2", "falcon", "neox", "behaviours",
                                           "llama2", "metaspace"));

TEST_P(TokenizerJsonTest, AgreesWithHuggingFaceTokenizers) {
  const auto tokenizer = LoadFrom(GoldenFile(GetParam()));
  ExpectIds(*tokenizer, GetParam());
  const std::string text =
      "It's the  cat.\n\xff"
      "123 \xf0\x9f\x98\x80";
  EXPECT_EQ(tokenizer->Decode(tokenizer->Encode(text)), text);
}

TEST(TokenizerJsonTest, FirstAndLastTokens) {
  const auto llama3 = LoadFrom(GoldenFile("llama3"), {{"eos_token", {{"content", "<|eot|>"}}}});
  const auto id_of = [](const Tokenizer& tokenizer, const std::string& text) {
    for (const AddedToken& token : tokenizer.ControlTokens()) {
      if (token.text == text) return token.id;
    }
    return TokenId{-1};
  };
  EXPECT_GT(llama3->bos(), 0);
  EXPECT_EQ(llama3->bos(), id_of(*llama3, "<|begin|>"));
  EXPECT_EQ(llama3->eos(), id_of(*llama3, "<|eot|>"));
  EXPECT_EQ(LoadFrom(GoldenFile("qwen"), {{"bos_token", "<|im_start|>"}})->bos(), -1);
  EXPECT_EQ(LoadFrom(GoldenFile("qwen"))->eos(), -1);
  EXPECT_EQ(LoadFrom(GoldenFile("llama2"))->bos(), 1);
  const json no_bos = {{"tokenizer_class", "LlamaTokenizer"}, {"add_bos_token", false}};
  EXPECT_EQ(LoadFrom(GoldenFile("llama2"), no_bos)->bos(), -1);
}

TEST(TokenizerFilesTest, SentencePieceWithAPrefix) {
  const auto tokenizer = LoadTokenizer(kGolden + "llama2");
  ExpectIds(*tokenizer, "sentencepiece");
  const json cases = Cases();
  for (const std::string text : cases["texts"]) {
    EXPECT_EQ(tokenizer->Decode(tokenizer->Encode(text)), text);
  }
  // The prefix stands before the whole text, also where the library does not see its beginning.
  const std::string odd = "\xff the cat";
  std::vector<TokenId> ids = tokenizer->Encode(odd);
  EXPECT_EQ(tokenizer->PieceBytes(ids[0]), " ");
  EXPECT_EQ(tokenizer->Decode(ids), odd);
}

TEST(TokenizerFilesTest, AddedToASentencePieceModel) {
  const TempDir dir;
  dir.Write("tokenizer.model", ReadFile(kGolden + "llama2/tokenizer.model"));
  const TokenId first = LoadTokenizer(dir.path())->vocab_size();
  const auto added = [](const char* text, TokenId id, bool special) {
    return json{{"content", text}, {"id", id}, {"special", special}};
  };
  const json tokens = {added("</s>", 2, true), added("<|im_end|>", first, true),
                       added("<tool>", first + 2, false)};
  const auto check = [&] {
    const auto tokenizer = LoadTokenizer(dir.path());
    const std::vector<PromptPart> parts = {
        {"a", true}, {"<|im_end|><tool>", false}, {"<|im_end|>", true}};
    std::vector<TokenId> ids = tokenizer->Encode("a<|im_end|><tool>");
    EXPECT_EQ(ids.back(), first + 2);
    EXPECT_EQ(tokenizer->Decode(ids), "a<|im_end|><tool>");
    for (const TokenId id : ids) EXPECT_NE(id, first);
    ids.push_back(first);
    EXPECT_EQ(EncodeParts(*tokenizer, parts), ids);
    EXPECT_EQ(tokenizer->vocab_size(), first + 3);
  };
  dir.Write("tokenizer.json", json{{"added_tokens", tokens}}.dump());
  check();
  json decoder;
  for (const json& token : tokens) decoder[token["id"].dump()] = token;
  dir.Write("tokenizer_config.json", json{{"added_tokens_decoder", decoder}}.dump());
  dir.Write("tokenizer.json", "{}");
  check();
  for (const char* name : {"tokenizer_config.json", "tokenizer.json"}) {
    std::filesystem::remove(dir / name);
  }
  dir.Write("added_tokens.json", json{{"<|im_end|>", first}}.dump());
  EXPECT_EQ(LoadTokenizer(dir.path())->vocab_size(), first + 1);
  decoder["2"]["content"] = "</t>";
  dir.Write("tokenizer_config.json", json{{"added_tokens_decoder", decoder}}.dump());
  EXPECT_NE(ErrorText([&] { LoadTokenizer(dir.path()); }).find("piece 2: expected \"</t>\""),
            std::string::npos);
}

TEST(TokenizerFilesTest, AFolderOfLlama3sHasAnotherTokenizerModel) {
  const TempDir dir;
  dir.Write("tokenizer.model", "IQ== 0\nIg== 1\n");
  dir.Write("tokenizer.json", GoldenFile("llama3").dump());
  EXPECT_GT(LoadTokenizer(dir.path())->bos(), 0);
}

TEST(TokenizerFilesTest, NestedDeeperThanTheStackIsHigh) {
  const TempDir dir;
  dir.Write("tokenizer.json", R"({"model": )" + std::string(1'000'000, '['));
  EXPECT_NE(ErrorText([&] { LoadTokenizer(dir.path()); }).find("a JSON object"), std::string::npos);
  json file = GoldenFile("gpt2");
  for (int i = 0; i < 250; ++i) file["normalizer"] = json::array({file["normalizer"]});
  EXPECT_NE(ErrorText([&] { LoadFrom(file); }).find("normalizer"), std::string::npos);
}

TEST(TokenizerFilesTest, WhatIsNotKnownIsNamed) {
  const auto with = [](const char* pointer, const json& value) {
    json file = GoldenFile("gpt2");
    file[json::json_pointer(pointer)] = value;
    const std::string error = ErrorText([&] { LoadFrom(file); });
    EXPECT_EQ(error.find('\n'), std::string::npos);
    return error;
  };
  const auto has = [](const std::string& text, const char* part) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  };
  EXPECT_EQ(with("/version", "1.0"), "");
  has(with("/model/type", "WordPiece"), "WordPiece");
  // Its scores alone lack what tokenizer.model knows; the error says which file to fetch.
  has(with("/model/type", "Unigram"), "\"Unigram\" is not known");
  has(with("/model/type", "Unigram"), "use a sentencepiece tokenizer.model");
  has(with("/model/end_of_word_suffix", "</w>"), "end_of_word_suffix");
  has(with("/normalizer", {{"type", "Lowercase"}}), "Lowercase");
  has(with("/pre_tokenizer", {{"type", "Whitespace"}}), "Whitespace");
  has(with("/pre_tokenizer/add_prefix_space", true), "add_prefix_space");
  has(with("/pre_tokenizer", nullptr), "neither byte-level");
  has(with("/post_processor", {{"type", "BertProcessing"}}), "BertProcessing");
  const auto split = [&](const char* pattern, const char* behaviour) {
    const json first = {
        {"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", behaviour}};
    const json stages = {first, GoldenFile("gpt2")["pre_tokenizer"]};
    return with("/pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", stages}});
  };
  has(split("(", "Isolated"), "pattern");
  has(split("a", "Removed"), "Removed");
  has(with("/model/vocab/the", 2000000000), "one near the others");
  has(with("/model/vocab/the", -1), "a token's id");
  has(with("/model/vocab", 3), "vocab");
  has(with("/model/merges", {3}), "merges");
  has(with("/model/merges", {"a"}), "merge 0");
  has(with("/model", 3), "model");
  has(with("/added_tokens", {{"id"}}), "added_tokens");
  has(with("/added_tokens", {{{"id", 1}, {"content", " x"}, {"lstrip", true}}}), "lstrip");
  const TempDir empty;
  has(ErrorText([&] { LoadTokenizer(empty.path()); }), "no tokenizer.json");
  empty.Write("tokenizer.json", "{\"model\": ");
  has(ErrorText([&] { LoadTokenizer(empty.path()); }), "a JSON object");
}

}  // namespace
}  // namespace tern
