#include "trainer/acceptance.h"

#include <gtest/gtest.h>

#include "engine/error.h"
#include "engine/generator.h"
#include "tests/support/byte_tokenizer.h"
#include "tests/support/random_heads.h"
#include "tests/support/tiny_model.h"

namespace tern {
namespace {

std::vector<Prompt> Prompts() {
  return {{"a", "some text", 1, "one"}, {"b", "other words", 2, "two"}};
}

AcceptanceOptions Options() {
  AcceptanceOptions options;
  options.generation.max_tokens = 50;
  options.generation.ignore_eos = true;
  options.generation.draft = DraftMode::kTree;
  return options;
}

TEST(Acceptance, HeadsAreScoredAgainstTheTokensThatCame) {
  const Model model = MakeTinyModel();
  const ByteTokenizer tokenizer;
  // A head of zeros repeats the backbone's guess for t+1: it is right for t+1+k exactly where the
  // greedy text has the same token k places further on.
  const auto heads = std::make_shared<const MedusaHeads>(ZeroMedusaHeads(2, 64));
  const AcceptanceOptions options = Options();
  const AcceptanceReport report = MeasureAcceptance(model, tokenizer, heads, Prompts(), options);
  EXPECT_TRUE(report.identical) << report.difference;
  EXPECT_EQ(report.prompts, 2);
  EXPECT_EQ(report.tokens, 100);
  Generator generator(model, tokenizer);
  int64_t same[2] = {}, pairs[2] = {};
  for (const Prompt& prompt : Prompts()) {
    const std::vector<TokenId> ids =
        generator.Generate(EncodePrompt(model.config, tokenizer, prompt.text), options.generation)
            .token_ids;
    for (size_t k = 1; k <= 2; ++k) {
      for (size_t i = 0; i + k < ids.size(); ++i) {
        same[k - 1] += ids[i] == ids[i + k] ? 1 : 0;
        ++pairs[k - 1];
      }
    }
  }
  ASSERT_EQ(report.head_top1.size(), 2u);
  for (size_t k = 0; k < 2; ++k) {
    EXPECT_DOUBLE_EQ(report.head_top1[k],
                     static_cast<double>(same[k]) / static_cast<double>(pairs[k]));
  }
  EXPECT_GT(report.head_top1[0] + report.head_top1[1], 0.0);
  // Nothing comes before head 1: its first candidate is right as often as its most probable token.
  ASSERT_EQ(report.acceptance.size(), 2u);
  EXPECT_DOUBLE_EQ(report.acceptance[0][0], report.head_top1[0]);
  for (const std::vector<double>& head : report.acceptance) {
    ASSERT_EQ(head.size(), 8u);
    double sum = 0.0;
    for (const double rate : head) sum += rate;
    EXPECT_LE(sum, 1.0 + 1e-12);
  }
}

TEST(Acceptance, CountsAddUp) {
  const Model model = MakeTinyModel();
  const ByteTokenizer tokenizer;
  const auto heads = std::make_shared<const MedusaHeads>(RandomHeads(3, 64, 0.05f, 2));
  AcceptanceOptions options = Options();
  options.repeats = 3;
  size_t last = 0;
  const AcceptanceReport report = MeasureAcceptance(model, tokenizer, heads, Prompts(), options,
                                                    [&](size_t done) { EXPECT_EQ(done, ++last); });
  EXPECT_EQ(last, 2u);
  double sum = 1.0;
  for (double share : report.accepted_per_depth) sum += share;
  EXPECT_NEAR(report.acceptance_length, sum, 1e-12);
  EXPECT_GT(report.acceptance_length, 1.0);
  EXPECT_LE(report.verify_steps, report.steps);
  // Each text's first token comes from the prompt's pass.
  EXPECT_NEAR(static_cast<double>(report.tokens - 2),
              static_cast<double>(report.steps) +
                  (report.acceptance_length - 1.0) * static_cast<double>(report.verify_steps),
              1e-6);
  EXPECT_GT(report.median_speedup, 0.0);
}

TEST(Acceptance, EveryDifferenceIsFound) {
  GenerationResult plain;
  plain.token_ids = {5, 6, 7};
  plain.text = "abc";
  GenerationResult other = plain;
  EXPECT_EQ(TextDifference(plain, other), "");
  other.token_ids[1] = 9;
  EXPECT_EQ(TextDifference(plain, other), "token 1 is 6 plainly and 9 with drafts");
  other.token_ids = {5, 6};
  EXPECT_EQ(TextDifference(plain, other), "token 2 is 7 plainly and missing with drafts");
  EXPECT_EQ(TextDifference(other, plain), "token 2 is missing plainly and 7 with drafts");
  other = plain;
  other.text = "abd";
  EXPECT_NE(TextDifference(plain, other), "");
  other = plain;
  other.finish_reason = FinishReason::kEos;
  EXPECT_NE(TextDifference(plain, other), "");
}

TEST(Acceptance, APromptTooLongNamesItsLine) {
  const Model model = MakeTinyModel();
  const ByteTokenizer tokenizer;
  const std::vector<Prompt> prompts = {{"a", "fine", 1},
                                       {"b", std::string(600, 'x'), 9, "", "some.txt"}};
  try {
    MeasureAcceptance(model, tokenizer, nullptr, prompts, Options());
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("some.txt:9: "), std::string::npos) << error.what();
  }
  // One that leaves room for a single token is fine.
  const std::vector<Prompt> full = {{"c", std::string(510, 'y'), 1}};
  EXPECT_EQ(MeasureAcceptance(model, tokenizer, nullptr, full, Options()).tokens, 1);
}

}  // namespace
}  // namespace tern
