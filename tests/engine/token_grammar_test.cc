// A grammar over tokens: the allowed ones against brute force, the samplers under a mask, and texts
// that are what the schema asks for, with and without speculation alike.
#include "engine/token_grammar.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "engine/error.h"
#include "engine/generator.h"
#include "engine/json_schema.h"
#include "engine/sampler.h"
#include "engine/screened_sampler.h"
#include "kernels/vocab_projection.h"
#include "tests/support/error_text.h"
#include "tests/support/json_schemas.h"
#include "tests/support/json_validator.h"
#include "tests/support/pieces_tokenizer.h"
#include "tests/support/test_drafters.h"
#include "tests/support/tiny_model.h"

namespace tern {
namespace {

using nlohmann::json;
using test::ErrorText;

constexpr TokenId kEos[] = {2};

std::shared_ptr<const TokenGrammar> MakeGrammar(const Tokenizer& tokenizer, Grammar grammar) {
  return std::make_shared<TokenGrammar>(
      std::move(grammar), std::make_shared<TokenTrie>(tokenizer, kEos, tokenizer.vocab_size()));
}

TEST(TokenTrieTest, HasEveryTokenOnce) {
  const PiecesTokenizer tokenizer(JsonPieces());
  const TokenTrie trie(tokenizer, kEos, tokenizer.vocab_size() + 5);
  std::vector<int> seen(static_cast<size_t>(tokenizer.vocab_size()));
  std::string path;
  for (size_t i = 0; i < trie.nodes().size(); ++i) {
    const TokenTrie::Node& node = trie.nodes()[i];
    path.resize(node.depth - 1u);
    path += static_cast<char>(node.byte);
    EXPECT_GT(static_cast<size_t>(node.end), i);
    for (const TokenId token : trie.TokensOf(node)) {
      EXPECT_EQ(tokenizer.PieceBytes(token), path);
      ++seen[static_cast<size_t>(token)];
    }
  }
  for (TokenId id = 0; id < tokenizer.vocab_size(); ++id)
    EXPECT_EQ(seen[static_cast<size_t>(id)], id < 3 ? 0 : 1) << id;
  EXPECT_EQ(trie.Bytes(tokenizer.vocab_size()), "");
}

class NoTab : public ByteTokenizer {
 public:
  std::string_view PieceBytes(TokenId id) const override {
    return id == 3 + '\t' ? std::string_view() : ByteTokenizer::PieceBytes(id);
  }
};
TEST(TokenTrieTest, NeedsEveryByte) {
  EXPECT_NE(ErrorText([] { TokenTrie(NoTab(), kEos, 259); }).find("no token for the byte 0x09"),
            std::string::npos);
}

TEST(TokenGrammarTest, AllowedTokensAreThoseThatBruteForceFinds) {
  const PiecesTokenizer tokenizer(JsonPieces());
  std::vector<Grammar> grammars;
  grammars.push_back(JsonObjectGrammar());
  for (const char* schema : kSchemas) grammars.push_back(JsonSchemaGrammar(schema));
  std::mt19937 random(3);
  for (Grammar& grammar : grammars) {
    const auto shared = MakeGrammar(tokenizer, grammar);
    for (int run = 0; run < 12; ++run) {
      GrammarText text(shared);
      GrammarMatcher matcher(grammar);
      GrammarMatcher::Place place = matcher.start();
      std::string so_far;
      for (int step = 0; step < 60 && !text.complete(); ++step) {
        std::vector<TokenId> allowed;
        for (TokenId id = 0; id < tokenizer.vocab_size(); ++id) {
          const std::string_view bytes = tokenizer.PieceBytes(id);
          const bool fits = !bytes.empty() && matcher.Next(place, bytes) != GrammarMatcher::kDead;
          ASSERT_EQ(text.Allowed().Has(id), fits || (id == 2 && matcher.MayEnd(place)))
              << "token " << id << " \"" << bytes << "\" behind " << so_far;
          if (fits) allowed.push_back(id);
        }
        ASSERT_FALSE(text.stuck());
        if (allowed.empty()) break;
        const TokenId token = allowed[random() % allowed.size()];
        text.Append(token);
        so_far += tokenizer.PieceBytes(token);
        place = matcher.Next(place, tokenizer.PieceBytes(token));
      }
    }
  }
}

TEST(TokenGrammarTest, DraftsThatItForbidsAreTakenOut) {
  const PiecesTokenizer tokenizer(JsonPieces());
  GrammarText text(MakeGrammar(tokenizer, JsonSchemaGrammar(R"({"enum":["ab","ac"]})")));
  const auto byte = [](char c) { return static_cast<TokenId>(3 + c); };
  DraftTree tree(16);
  const int32_t quote = tree.Add(-1, byte('"'), 0.9f);
  const int32_t wrong = tree.Add(-1, byte('a'), 0.8f);
  tree.Add(wrong, byte('"'), 0.7f);
  tree.Add(quote, byte('b'), 0.6f);
  const int32_t a = tree.Add(quote, byte('a'), 0.5f);
  const int32_t end = tree.Add(tree.Add(a, byte('c'), 0.4f), byte('"'), 0.4f);
  tree.Add(end, 2, 0.3f);
  tree.Add(a, 2, 0.2f);
  tree.Add(end, 1, 0.2f);
  text.Prune(tree);
  std::vector<TokenId> tokens;
  for (const DraftNode& node : tree.nodes()) tokens.push_back(node.token);
  EXPECT_EQ(tokens, (std::vector<TokenId>{byte('"'), byte('a'), byte('c'), byte('"'), 2}));
  EXPECT_EQ(tree[4].depth, 5);
  EXPECT_EQ(tree[3].score, 0.4f);
  EXPECT_EQ(tree.capacity(), 16);
}

// A mask is as if the model had never heard of the other tokens; bounds of the logits give the
// same.
TEST(TokenGrammarTest, SamplersChooseAmongTheAllowed) {
  constexpr size_t kVocab = 500, kWidth = 32;
  std::mt19937 random(11);
  const auto uniform = [&] { return static_cast<float>(random() % 2001) / 1000.0f - 1.0f; };
  AlignedBuffer<BFloat16> embedding(kVocab * kWidth);
  for (BFloat16& e : embedding.span()) e = BFloat16::FromFloat(uniform());
  const auto table = embedding.View(kVocab, kWidth);
  const VocabScreen screen = MakeVocabScreen(table);
  ScreenedLogits screened(1, kVocab, kWidth);
  SamplerScratch scratch(kVocab), other(kVocab);
  int decided = 0, draws = 0;
  for (int round = 0; round < 400; ++round) {
    AlignedBuffer<float> hidden(kWidth), logits(kVocab);
    for (float& h : hidden.span()) h = 2.0f * uniform();
    VocabProjection(hidden.View(1, kWidth), table, logits.View(1, kVocab));
    TokenMask mask(kVocab);
    const size_t allowed = 1 + random() % (round % 2 == 0 ? 8 : 400);
    for (size_t i = 0; i < allowed; ++i) mask.Add(static_cast<TokenId>(random() % kVocab));
    SamplingOptions options;
    options.seed = random();
    options.temperature = round % 5 == 0 ? 0.0f : 0.2f + static_cast<float>(round % 4);
    if (round % 3 == 1) options.top_p = 0.7f;
    if (round % 4 == 2) options.top_k = 5;
    if (round % 7 == 3) options.min_p = 0.1f;

    // The same of a vocabulary without the others: ids as they are, for the noise.
    std::vector<float> left(logits.span().begin(), logits.span().end());
    std::vector<TokenId> kept;
    for (TokenId id = 0; id < static_cast<TokenId>(kVocab); ++id) {
      if (mask.Has(id)) kept.push_back(id);
    }
    const TokenId token = SampleToken(logits.span(), options, 7, TokenCounts(), scratch, &mask);
    ASSERT_TRUE(mask.Has(token));
    EXPECT_EQ(mask.Count(), static_cast<int32_t>(kept.size()));
    EXPECT_EQ(mask.First(), kept.front());
    for (size_t v = 0; v < kVocab; ++v) {
      if (!mask.Has(static_cast<TokenId>(v))) left[v] = -1e4f;  // a weight of zero all the same
    }
    EXPECT_EQ(token, SampleToken(left, options, 7, TokenCounts(), other)) << round;

    screened.Screen(hidden.View(1, kWidth), table, screen);
    const auto bounded = SampleScreened(screened, 0, options, 7, other, &mask);
    ++draws;
    if (!bounded) continue;
    ++decided;
    EXPECT_EQ(*bounded, token) << round;
  }
  EXPECT_GT(decided, draws / 4);
}

class GrammarGenerationTest : public ::testing::Test {
 protected:
  static ModelConfig Config(const Tokenizer& tokenizer) {
    ModelConfig config = TinyConfig();
    config.vocab_size = tokenizer.vocab_size() + 3;  // more rows than pieces
    return config;
  }
  std::shared_ptr<const TokenGrammar> Make(Grammar grammar) const {
    return std::make_shared<TokenGrammar>(std::move(grammar), trie_);
  }

  const PiecesTokenizer tokenizer_{JsonPieces()};
  const Model model_ = MakeTinyModel(Config(tokenizer_));
  const std::shared_ptr<const TokenTrie> trie_ =
      std::make_shared<TokenTrie>(tokenizer_, kEos, model_.config.vocab_size);
};

// Random weights know nothing of JSON. Whatever drafts are proposed, the tokens are those of plain
// decoding, and what ends with "stop" is what the schema asks for.
TEST_F(GrammarGenerationTest, TextsAreValidAndNeverDependOnDrafts) {
  GeneratorLimits limits;
  limits.max_rows = 12;
  limits.fixed_threads = true;
  Generator plain(model_, tokenizer_, limits);
  std::vector<std::unique_ptr<Drafter>> some, told;
  some.push_back(std::make_unique<RandomDrafter>(model_.config.vocab_size, 40, 5));
  auto oracle = std::make_unique<OracleDrafter>(6, 2, model_.config.vocab_size, 9);
  OracleDrafter* const knows = oracle.get();
  told.push_back(std::move(oracle));
  Generator random(model_, tokenizer_, limits, std::move(some));
  Generator future(model_, tokenizer_, limits, std::move(told));
  int whole = 0;
  int64_t accepted = 0;
  std::vector<const char*> schemas(std::begin(kSchemas), std::end(kSchemas));
  schemas.push_back(R"({"type":"object"})");
  for (size_t s = 0; s < schemas.size(); ++s) {
    const JsonValidator validator(json::parse(schemas[s]));
    GenerationOptions options;
    options.grammar = Make(JsonSchemaGrammar(schemas[s]));
    options.max_tokens = 120;
    for (uint64_t seed = 0; seed < 8; ++seed) {
      options.sampling = {};
      options.sampling.seed = seed;
      options.sampling.temperature = seed == 0 ? 0.0f : 1.0f;
      if (seed == 2) options.sampling.top_p = 0.8f;
      if (seed == 3) options.sampling.top_k = 20;
      if (seed == 4) options.sampling.min_p = 0.05f;
      if (seed == 5) options.sampling.frequency_penalty = 0.5f;
      options.logprobs = seed == 6 ? 2 : -1;
      std::vector<TokenId> prompt = {1, 40 + static_cast<TokenId>(seed), 70};
      options.draft = DraftMode::kOff;
      const GenerationResult expected = plain.Generate(prompt, options);
      const bool stopped = ToString(expected.finish_reason) == "stop";
      whole += stopped ? 1 : 0;
      const json value = json::parse(expected.text, nullptr, false);
      if (stopped) {
        EXPECT_TRUE(!value.is_discarded() && validator.Valid(value)) << expected.text;
      } else {
        EXPECT_EQ(expected.token_ids.size(), 120u) << expected.text;
      }
      std::vector<TokenId> text = prompt;
      text.insert(text.end(), expected.token_ids.begin(), expected.token_ids.end());
      knows->SetText(text);
      for (const DraftMode mode : {DraftMode::kTree, DraftMode::kChain, DraftMode::kNgram}) {
        options.draft = mode;
        for (Generator* generator : {&plain, &random, &future}) {
          const GenerationResult result = generator->Generate(prompt, options);
          ASSERT_EQ(result.token_ids, expected.token_ids) << schemas[s] << " seed " << seed;
          EXPECT_EQ(result.text, expected.text);
          EXPECT_EQ(result.logprobs, expected.logprobs);
          EXPECT_EQ(result.finish_reason, expected.finish_reason);
          if (generator == &future) accepted += result.timings.accepted;
        }
      }
    }
  }
  EXPECT_GT(whole, 40);
  EXPECT_GT(accepted, 1000);
}

TEST_F(GrammarGenerationTest, EndsWhereNothingMayFollow) {
  Generator generator(model_, tokenizer_);
  GenerationOptions options;
  options.grammar = Make(JsonSchemaGrammar(R"({"const":{"a":[true,null]}})"));
  const GenerationResult result = generator.Generate(std::vector<TokenId>{1, 50}, options);
  EXPECT_EQ(result.text, R"({"a":[true,null]})");
  EXPECT_EQ(result.finish_reason, FinishReason::kGrammar);
  EXPECT_EQ(ToString(result.finish_reason), "stop");

  options.max_tokens = 2;
  EXPECT_EQ(generator.Generate(std::vector<TokenId>{1, 50}, options).finish_reason,
            FinishReason::kMaxTokens);
  options.stops = {"["};
  options.max_tokens = 50;
  EXPECT_EQ(generator.Generate(std::vector<TokenId>{1, 50}, options).text, R"({"a":)");
}

TEST_F(GrammarGenerationTest, WhatDoesNotGoTogetherIsRefused) {
  Generator generator(model_, tokenizer_);
  GenerationOptions options;
  options.grammar = Make(JsonObjectGrammar());
  options.ignore_eos = true;
  const std::vector<TokenId> prompt = {1, 50};
  EXPECT_NE(ErrorText([&] { generator.Generate(prompt, options); }).find("ignore_eos is true"),
            std::string::npos);
  options.ignore_eos = false;
  options.grammar = MakeGrammar(tokenizer_, JsonObjectGrammar());
  EXPECT_NE(ErrorText([&] { generator.Generate(prompt, options); }).find("grammar is of a vocab"),
            std::string::npos);
}

}  // namespace
}  // namespace tern
