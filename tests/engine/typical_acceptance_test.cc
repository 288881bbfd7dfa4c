// Typical acceptance: its rule at given distributions, the path it takes, and that it is off unless
// asked for.
#include "engine/typical_acceptance.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "engine/error.h"
#include "engine/generator.h"
#include "engine/step_facts.h"
#include "kernels/parallel.h"
#include "tests/support/byte_tokenizer.h"
#include "tests/support/forward_runner.h"
#include "tests/support/test_drafters.h"
#include "tests/support/tiny_model.h"

namespace tern {
namespace {

TEST(TypicalAcceptance, TheRuleAtGivenDistributions) {
  const TypicalAcceptance medusa{.epsilon = 0.09f, .delta = 0.3f};
  // A sure model: H = 0, so the threshold is epsilon.
  EXPECT_TRUE(medusa.Accepts(1.0, 0.0));
  EXPECT_TRUE(medusa.Accepts(0.0901, 0.0));
  EXPECT_FALSE(medusa.Accepts(0.0899, 0.0));
  // 100 tokens alike: H = log 100, the threshold 0.3 / 100.
  EXPECT_TRUE(medusa.Accepts(0.01, std::log(100.0)));
  EXPECT_FALSE(medusa.Accepts(0.0029, std::log(100.0)));
  // The two meet at exp(-H) = 0.3: below, entropy decides.
  EXPECT_FALSE(medusa.Accepts(0.0899, std::log(3.3)));
  EXPECT_TRUE(medusa.Accepts(0.0899, std::log(3.4)));
  // Delta is epsilon's root where it is not given; 0.3 for 0.09.
  const TypicalAcceptance root{.epsilon = 0.09f};
  EXPECT_TRUE(root.Accepts(0.0031, std::log(100.0)));
  EXPECT_FALSE(root.Accepts(0.0029, std::log(100.0)));
  EXPECT_EQ(root.Label(), "typical acceptance, epsilon 0.09, delta 0.3");
  EXPECT_EQ(TypicalAcceptance().Label(), "");
}

TEST(TypicalAcceptance, TheDistributionIsTheOneSampledFrom) {
  const std::vector<float> logits = {1.0f, 3.0f, -2.0f, 2.5f, 0.0f, 2.0f};
  std::vector<TokenId> all(logits.size());
  std::iota(all.begin(), all.end(), 0);
  std::vector<double> got(all.size());
  SamplerScratch scratch(static_cast<int32_t>(logits.size()));
  const auto expect = [&](const SamplingOptions& options, const std::vector<TokenId>& kept) {
    const double entropy = TokenDistribution(logits, options, TokenCounts(), all, got, scratch);
    std::vector<double> expected(all.size());
    double sum = 0.0, expected_entropy = 0.0;
    for (const TokenId token : kept) {
      const auto v = static_cast<size_t>(token);
      double logit = logits[v];
      if (const auto bias = options.logit_bias.find(token); bias != options.logit_bias.end())
        logit += bias->second;
      sum += expected[v] = std::exp(logit / options.temperature);
    }
    for (double& p : expected) p /= sum;
    for (const double p : expected) expected_entropy -= p > 0.0 ? p * std::log(p) : 0.0;
    // Exp is right to 2^-22, a sum of six of them likewise.
    for (size_t v = 0; v < all.size(); ++v) EXPECT_NEAR(got[v], expected[v], 2e-6) << v;
    EXPECT_NEAR(entropy, expected_entropy, 1e-5);
  };
  expect({.temperature = 1.0f}, all);
  expect({.temperature = 0.5f}, all);
  expect({.temperature = 0.8f, .top_k = 3}, {1, 3, 5});
  // At temperature 1: 0.46, 0.28, 0.17, 0.06, ...
  expect({.temperature = 1.0f, .top_p = 0.7f}, {1, 3});
  expect({.temperature = 1.0f, .min_p = 0.3f}, {1, 3, 5});
  expect({.temperature = 1.0f, .logit_bias = {{2, 4.0f}, {1, -50.0f}}}, all);
}

TEST(TypicalAcceptance, TakesTheLongestPathThenTheLikeliest) {
  DraftTree tree(16);
  const int32_t a = tree.Add(-1, 1, 0.9f), b = tree.Add(-1, 2, 0.8f);
  const int32_t a1 = tree.Add(a, 3, 0.7f), b1 = tree.Add(b, 4, 0.6f), b2 = tree.Add(b, 5, 0.5f);
  const int32_t deep = tree.Add(a1, 6, 0.4f);
  std::vector<int32_t> path = {7};
  const auto find = [&](std::vector<TypicalVerdict> verdicts) {
    LongestAcceptedPath(tree.nodes(), verdicts, path);
    return path;
  };
  const TypicalVerdict no, yes{true, -1.0}, likelier{true, -0.5};
  using Path = std::vector<int32_t>;
  EXPECT_EQ(find({no, no, no, no, no, no}), Path{});
  EXPECT_EQ(find({yes, likelier, no, no, no, no}), Path{b});
  EXPECT_EQ(find({yes, likelier, yes, no, no, no}), (Path{a, a1}));
  EXPECT_EQ(find({yes, likelier, yes, yes, no, no}), (Path{b, b1}));
  EXPECT_EQ(find({yes, yes, yes, yes, likelier, no}), (Path{b, b2}));
  EXPECT_EQ(find({yes, yes, yes, yes, likelier, yes}), (Path{a, a1, deep}));
  // What stands below a rejected node is rejected.
  EXPECT_EQ(find({no, yes, likelier, no, no, likelier}), Path{b});
}

// All that the drafter beside the look-up proposes, and nothing else.
class WithoutLookUp : public Planner {
 public:
  void Plan(const DraftTree& proposed, int32_t max_rows, DraftTree& kept) override {
    kept.Clear();
    placed_.assign(static_cast<size_t>(proposed.size()), -1);
    for (int32_t i = 0; i < proposed.size() && kept.size() + 1 < max_rows; ++i) {
      const DraftNode& node = proposed[i];
      const int32_t parent = node.parent < 0 ? -1 : placed_[static_cast<size_t>(node.parent)];
      if ((node.proposers & kByHeads) == 0 || (node.parent >= 0 && parent < 0)) continue;
      placed_[static_cast<size_t>(i)] = kept.AddCopy(parent, node);
    }
  }

 private:
  std::vector<int32_t> placed_;
};

class TypicalTexts : public ::testing::Test {
 protected:
  TypicalTexts() {
    SetThreadCount(1);
    auto oracle = std::make_unique<OracleDrafter>(4, 2, model_.config.vocab_size, 9);
    oracle_ = oracle.get();
    generator_ = std::make_unique<Generator>(model_, tokenizer_, GeneratorLimits{},
                                             OneDrafter(std::move(oracle)),
                                             std::make_unique<WithoutLookUp>());
    options_.max_tokens = 60;
    options_.ignore_eos = true;
    options_.sampling.temperature = 1.0f;
  }
  ~TypicalTexts() override { SetThreadCount(AvailableCores()); }

  // With `told` as what is drafted behind the prompt.
  GenerationResult Write(const std::vector<TokenId>& told = {}) {
    std::vector<TokenId> whole = prompt_;
    whole.insert(whole.end(), told.begin(), told.end());
    oracle_->SetText(whole);
    return generator_->Generate(prompt_, options_);
  }

  Model model_ = MakeTinyModel();
  ByteTokenizer tokenizer_;
  OracleDrafter* oracle_;
  std::unique_ptr<Generator> generator_;
  GenerationOptions options_;
  const std::vector<TokenId> prompt_ = RandomTokens(12, 250, 3);
};

TEST_F(TypicalTexts, WhatIsNeverUnlikelyEnoughBecomesTheText) {
  const std::vector<TokenId> told = RandomTokens(80, 250, 8);
  options_.typical.epsilon = 1e-30f;
  options_.logprobs = 1;
  const GenerationResult result = Write(told);
  EXPECT_EQ(result.timings.lossy, options_.typical.Label());
  ASSERT_EQ(result.token_ids.size(), 60u);
  ASSERT_EQ(result.logprobs.size(), 60u);
  EXPECT_GT(result.timings.accepted, 10);
  // The first token, and the one behind each accepted path, are sampled; the rest is drafted.
  EXPECT_EQ(result.timings.accepted + result.timings.steps + 1, 60);
  size_t as_told = 0;
  for (size_t i = 0; i < 60; ++i) as_told += result.token_ids[i] == told[i] ? 1 : 0;
  EXPECT_GT(as_told, 12u);
  options_.typical = {};
  const GenerationResult lossless = Write(told);
  EXPECT_EQ(lossless.timings.lossy, "");
  EXPECT_NE(lossless.token_ids, result.token_ids);
}

// Penalties count a path while its rows are looked at, and no longer: what is sampled behind
// accepted tokens is what plain decoding samples there.
TEST_F(TypicalTexts, SampledTokensFollowTheirOwnHistory) {
  options_.typical.epsilon = 1e-30f;
  options_.sampling.temperature = 4.0f;
  options_.sampling.repetition_penalty = 0.1f;  // makes what was counted far likelier
  const std::vector<TokenId> told = RandomTokens(80, 250, 8);
  std::vector<TokenId> whole = prompt_;
  whole.insert(whole.end(), told.begin(), told.end());
  oracle_->SetText(whole);
  // The last token of every pass is sampled.
  std::vector<size_t> sampled;
  const StepCallback on_step = [&sampled](const StepProgress& progress) {
    sampled.push_back(progress.so_far.token_ids.size() - 1);
    return true;
  };
  const GenerationResult result = generator_->Generate(prompt_, options_, on_step);
  EXPECT_GT(result.timings.accepted, 10);
  Generator plain(model_, tokenizer_);
  GenerationOptions one = options_;
  one.typical = {};
  one.max_tokens = 1;
  EXPECT_GT(sampled.size(), 10u);
  for (const size_t at : sampled) {
    whole = prompt_;
    whole.insert(whole.end(), result.token_ids.begin(),
                 result.token_ids.begin() + static_cast<std::ptrdiff_t>(at));
    EXPECT_EQ(plain.Generate(whole, one).token_ids[0], result.token_ids[at]) << at;
  }
}

// A tree's best path as the paper defines it, by brute force: every node's distribution from a run
// of its whole path alone, one row a pass, in double.
class BruteForce {
 public:
  BruteForce(const Model& model, const GenerationOptions& options)
      : model_(model), options_(options) {}

  // The longest accepted path below the end of `text`, the likeliest of equally long ones.
  std::vector<TokenId> Best(const std::vector<TokenId>& text, std::span<const DraftNode> nodes) {
    best_.clear();
    best_sum_ = 0.0;
    Walk(text, {}, 0.0, -1, nodes);
    return best_;
  }
  int accepted = 0, rejected = 0;

 private:
  void Walk(const std::vector<TokenId>& text, const std::vector<TokenId>& path, double sum,
            int32_t parent, std::span<const DraftNode> nodes) {
    if (path.size() > best_.size() || (path.size() == best_.size() && sum > best_sum_)) {
      best_ = path;
      best_sum_ = sum;
    }
    std::vector<TokenId> whole = text;
    whole.insert(whole.end(), path.begin(), path.end());
    const std::vector<float> logits = DecodeOneByOne(model_, whole).back().logits;
    const double largest = *std::max_element(logits.begin(), logits.end());
    double all = 0.0, entropy = 0.0;
    const auto weight = [&](size_t v) {
      return std::exp((logits[v] - largest) / options_.sampling.temperature);
    };
    for (size_t v = 0; v < logits.size(); ++v) all += weight(v);
    for (size_t v = 0; v < logits.size(); ++v)
      entropy -= weight(v) / all * std::log(weight(v) / all);
    for (size_t i = 0; i < nodes.size(); ++i) {
      if (nodes[i].parent != parent) continue;
      const double p = weight(static_cast<size_t>(nodes[i].token)) / all;
      const bool typical = p > std::min<double>(options_.typical.epsilon,
                                                options_.typical.delta * std::exp(-entropy));
      ++(typical ? accepted : rejected);
      if (!typical) continue;
      std::vector<TokenId> longer = path;
      longer.push_back(nodes[i].token);
      Walk(text, longer, sum + std::log(p), static_cast<int32_t>(i), nodes);
    }
  }

  const Model& model_;
  const GenerationOptions& options_;
  std::vector<TokenId> best_;
  double best_sum_ = 0.0;
};

TEST_F(TypicalTexts, StepsTakeThePathThatBruteForceFinds) {
  std::vector<std::unique_ptr<Drafter>> drafters;
  drafters.push_back(std::make_unique<RandomDrafter>(model_.config.vocab_size, 12, 17));
  Generator generator(model_, tokenizer_, GeneratorLimits{}, std::move(drafters),
                      std::make_unique<WithoutLookUp>());
  // Flat distributions, of which about one drafted token in four is accepted.
  options_.sampling.temperature = 4.0f;
  options_.typical = {.epsilon = 0.9f, .delta = 0.4f};
  options_.max_rows = 13;
  BruteForce reference(model_, options_);
  int64_t steps = 0, long_paths = 0;
  const StepCallback on_step = [&](const StepProgress& progress) {
    if (progress.step == nullptr) return true;
    const StepFacts& step = *progress.step;
    const std::vector<TokenId>& ids = progress.so_far.token_ids;
    const auto emitted = static_cast<std::ptrdiff_t>(step.emitted);
    std::vector<TokenId> text = prompt_;
    text.insert(text.end(), ids.begin(), ids.end() - emitted);
    const std::vector<TokenId> best = reference.Best(text, step.nodes);
    const std::vector<TokenId> got(ids.end() - emitted, ids.end());
    // Behind the typical path one token is sampled, and more where it was drafted. The last step
    // may end within its path.
    if (ids.size() < 60) {
      EXPECT_GT(got.size(), best.size());
    }
    const size_t common = std::min(best.size(), got.size());
    EXPECT_TRUE(
        std::equal(best.begin(), best.begin() + static_cast<std::ptrdiff_t>(common), got.begin()))
        << "step " << steps;
    ++steps;
    long_paths += best.size() >= 2 ? 1 : 0;
    return true;
  };
  const GenerationResult result = generator.Generate(prompt_, options_, on_step);
  EXPECT_EQ(result.token_ids.size(), 60u);
  EXPECT_GT(steps, 10);
  EXPECT_GE(long_paths, 3);
  EXPECT_GT(reference.accepted, 30);
  EXPECT_GT(reference.rejected, 30);
}

TEST_F(TypicalTexts, WhereNothingIsTypicalTextsArePlainOnes) {
  options_.sampling.repetition_penalty = 1.2f;
  options_.sampling.frequency_penalty = 0.5f;
  for (TokenId token = 200; token < 259; ++token) options_.sampling.logit_bias[token] = -100.0f;
  std::vector<TokenId> told(80);
  for (size_t i = 0; i < told.size(); ++i) told[i] = 200 + static_cast<TokenId>(i % 50);
  const GenerationResult plain = Write(told);
  EXPECT_EQ(plain.timings.accepted, 0);
  options_.typical = {.epsilon = 0.3f, .delta = 1.0f};
  const GenerationResult typical = Write(told);
  EXPECT_GT(typical.timings.drafted, 0);
  EXPECT_EQ(typical.token_ids, plain.token_ids);
  options_.draft = DraftMode::kOff;
  EXPECT_EQ(Write(told).token_ids, plain.token_ids);
}

// What the rule rejects and sampling chooses is accepted as without it.
TEST_F(TypicalTexts, TheSampledPathIsStillAccepted) {
  options_.draft = DraftMode::kOff;
  const GenerationResult plain = Write();
  options_.draft = DraftMode::kAuto;
  const int64_t lossless = Write(plain.token_ids).timings.accepted;
  // No probability is above a threshold of 1 * exp(-0) but that of a certain token.
  options_.typical = {.epsilon = 0.99999f, .delta = 1.0f};
  options_.sampling.temperature = 1.0f;
  const GenerationResult typical = Write(plain.token_ids);
  EXPECT_GT(lossless, 20);
  EXPECT_GT(typical.timings.accepted, 20);
}

TEST_F(TypicalTexts, RefusesWhatMeansNothing) {
  const auto error = [this] {
    try {
      Write();
    } catch (const Error& caught) {
      return std::string(caught.what());
    }
    return std::string("none");
  };
  options_.typical.epsilon = 1.0f;
  EXPECT_NE(error().find("epsilon is 1.0"), std::string::npos) << error();
  options_.typical = {.epsilon = 0.1f, .delta = std::nanf("")};
  EXPECT_NE(error().find("delta is"), std::string::npos) << error();
  options_.typical = {.epsilon = 0.1f};
  options_.sampling.temperature = 0.0f;
  EXPECT_NE(error().find("temperature 0"), std::string::npos) << error();
}

}  // namespace
}  // namespace tern
