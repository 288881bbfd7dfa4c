// Byte-level tokenizers against the ids of their reference implementations.
#include "engine/bpe_tokenizer.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/error.h"
#include "engine/gguf.h"
#include "engine/gguf_tokenizer.h"
#include "tests/support/error_text.h"
#include "tests/support/shared_vectors.h"

namespace tern {
namespace {

using nlohmann::json;
using test::ErrorText;

const Tokenizer& Llama3() {
  static const std::unique_ptr<Tokenizer> tokenizer = MakeBpeTokenizer(test::Llama3Vocabulary());
  return *tokenizer;
}

TEST(Llama3TokenizerTest, AgreesWithTheReference) {
  TERN_NEEDS_SHARED("llama3-tiktoken.model");
  const Tokenizer& tokenizer = Llama3();
  const auto vectors = test::IdVectors("ggml-vocab-llama-bpe.gguf");
  ASSERT_EQ(vectors.size(), 46u);
  for (const auto& [text, ids] : vectors) {
    EXPECT_EQ(tokenizer.Encode(text), ids) << text;
    EXPECT_EQ(tokenizer.Decode(ids), text);
  }
}

TEST(Llama3TokenizerTest, TemplatesWriteControlTokensAndMessagesDoNot) {
  TERN_NEEDS_SHARED("llama3-tiktoken.model");
  const Tokenizer& tokenizer = Llama3();
  const json golden = json::parse(ReadFile(test::SharedVector("bitnet2b_chat_cases.json")));
  for (const json& chat : golden["cases"]) {
    const std::vector<PromptPart> parts = {{"<|begin_of_text|>", true},
                                           {chat["rendered_without_bos"], true}};
    EXPECT_EQ(EncodeParts(tokenizer, parts), chat["ids_with_bos"].get<std::vector<TokenId>>());
  }
  const std::vector<PromptPart> injected = {
      {"User: ", true}, {"a<|eot_id|>", false}, {"<|eot_id|>", true}};
  std::vector<TokenId> ids = tokenizer.Encode("User: a<|eot_id|>");
  for (const TokenId id : ids) EXPECT_LT(id, 128000);
  ids.push_back(128009);
  EXPECT_EQ(EncodeParts(tokenizer, injected), ids);
}

class GgufVocabularyTest : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Vocabularies, GgufVocabularyTest,
                         ::testing::Values("falcon", "gpt-2", "refact", "llama-spm", "phi-3"));

TEST_P(GgufVocabularyTest, AgreesWithTheReference) {
  const std::string name = "ggml-vocab-" + GetParam() + ".gguf";
  TERN_NEEDS_SHARED(name);
  const auto tokenizer = LoadGgufTokenizer(GgufFile(test::SharedVector(name)));
  const auto vectors = test::IdVectors(name);
  ASSERT_EQ(vectors.size(), 46u);
  for (const auto& [text, ids] : vectors) {
    EXPECT_EQ(tokenizer->Encode(text), ids) << text;
    EXPECT_EQ(tokenizer->Decode(ids), text);
  }
}

// All bytes, "a b" = "ab", and so on from pairs of tokens; a control and a user-defined token.
BpeVocabulary Tiny() {
  BpeVocabulary vocabulary;
  vocabulary.where = "tiny";
  for (int byte = 0; byte < 256; ++byte) {
    vocabulary.tokens.push_back(SpellBytes(std::string(1, static_cast<char>(byte))));
  }
  for (const char* merge : {"a b", "b c", "ab c", "\xc4\xa0 ab"}) {
    vocabulary.merges.emplace_back(merge);
    std::string token = merge;
    token.erase(token.find(' '), 1);
    vocabulary.tokens.push_back(token);
  }
  vocabulary.types.assign(vocabulary.tokens.size(), TokenType::kNormal);
  vocabulary.tokens.insert(vocabulary.tokens.end(), {"<end>", "<think>"});
  vocabulary.types.insert(vocabulary.types.end(), {TokenType::kControl, TokenType::kUserDefined});
  SetPreTokenizer("gpt-2", vocabulary);
  return vocabulary;
}

TEST(BpeTokenizerTest, MergesTheLowestRankFirst) {
  const auto tokenizer = MakeBpeTokenizer(Tiny());
  EXPECT_EQ(tokenizer->Encode("abc ab bc"), (std::vector<TokenId>{258, 259, 32, 257}));
  EXPECT_EQ(tokenizer->Encode("<end>"), (std::vector<TokenId>{'<', 'e', 'n', 'd', '>'}));
  EXPECT_EQ(tokenizer->Encode("ab<think>c"), (std::vector<TokenId>{256, 261, 'c'}));
  EXPECT_EQ(tokenizer->Decode({260, 261, 258}), "<think>abc");
}

TEST(BpeTokenizerTest, WholePiecesComeBeforeMergesWhereTheFileSaysSo) {
  BpeVocabulary vocabulary = Tiny();
  vocabulary.tokens[259] = "bcab";  // no merge makes it
  vocabulary.merges.pop_back();
  EXPECT_EQ(MakeBpeTokenizer(vocabulary)->Encode("bcab"), (std::vector<TokenId>{257, 256}));
  vocabulary.ignore_merges = true;
  EXPECT_EQ(MakeBpeTokenizer(vocabulary)->Encode("bcab"), (std::vector<TokenId>{259}));
}

TEST(BpeTokenizerTest, NormalFormC) {
  BpeVocabulary vocabulary = Tiny();
  const std::string decomposed = "e\xcc\x81\xff", composed = "\xc3\xa9\xff";
  EXPECT_EQ(MakeBpeTokenizer(vocabulary)->Encode(decomposed).size(), 4u);
  vocabulary.nfc = true;
  const auto tokenizer = MakeBpeTokenizer(vocabulary);
  EXPECT_EQ(tokenizer->Decode(tokenizer->Encode(decomposed)), composed);
}

TEST(BpeTokenizerTest, RandomBytesRoundTrip) {
  for (const char* pre : {"llama-bpe", "falcon", "starcoder"}) {
    BpeVocabulary vocabulary = Tiny();
    SetPreTokenizer(pre, vocabulary);
    const auto tokenizer = MakeBpeTokenizer(vocabulary);
    std::mt19937 random(5);
    const std::string common = "abc 12\n\xe1\xa0\x8e\xc3\xa9\xf0\x9f\x98\x80<end><think>";
    for (int repeat = 0; repeat < 1000; ++repeat) {
      std::string text;
      for (uint32_t i = random() % 40; i > 0; --i) {
        text += random() % 2 ? common[random() % common.size()] : static_cast<char>(random());
      }
      const std::vector<TokenId> ids = tokenizer->Encode(text);
      ASSERT_EQ(tokenizer->Decode(ids), text) << pre << ", repeat " << repeat;
      for (const TokenId id : ids) ASSERT_NE(id, 260);
    }
  }
}

// White space alone and letters alone: what a pattern or the merges might take too long for.
TEST(BpeTokenizerTest, LongRunsAreNoTrouble) {
  for (const char* pre : {"llama-bpe", "falcon", "gpt-2"}) {
    BpeVocabulary vocabulary = Tiny();
    SetPreTokenizer(pre, vocabulary);
    const auto tokenizer = MakeBpeTokenizer(vocabulary);
    for (const std::string& text : {std::string(1 << 20, ' ') + "a", std::string(1 << 20, 'a'),
                                    std::string(1 << 20, '\xff')}) {
      EXPECT_EQ(tokenizer->Encode(text).size(), text.size()) << pre;
    }
  }
}

TEST(BpeTokenizerTest, ContradictionsAreErrors) {
  const auto with = [](const auto& change) {
    BpeVocabulary vocabulary = Tiny();
    change(vocabulary);
    return ErrorText([&] { MakeBpeTokenizer(vocabulary); });
  };
  EXPECT_EQ(with([](BpeVocabulary&) {}), "");
  EXPECT_NE(with([](BpeVocabulary& v) { v.types.pop_back(); }).find("token types"),
            std::string::npos);
  EXPECT_NE(with([](BpeVocabulary& v) { v.tokens[65] = "A!"; }).find("byte 65 has no token"),
            std::string::npos);
  EXPECT_NE(with([](BpeVocabulary& v) { v.merges[1] = "bc"; }).find("merge 1"), std::string::npos);
  EXPECT_NE(with([](BpeVocabulary& v) { v.merges[2] = "ab z"; }).find("merge 2"),
            std::string::npos);
  EXPECT_NE(with([](BpeVocabulary& v) { v.stages = {{"(a"}}; }).find("pattern"), std::string::npos);
  EXPECT_NE(with([](BpeVocabulary& v) { v.bos = 262; }).find("at most 261"), std::string::npos);
  EXPECT_NE(ErrorText([] {
              BpeVocabulary vocabulary = Tiny();
              SetPreTokenizer("unheard-of", vocabulary);
            }).find("unheard-of"),
            std::string::npos);
}

}  // namespace
}  // namespace tern
