// The sampler against a straightforward double-precision one, and the properties that make it pure.
#include "engine/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <vector>

#include "kernels/vector_math.h"
#include "tests/support/validation_text.h"

namespace tern {
namespace {

struct Case {
  std::vector<float> logits;
  SamplingOptions options;
  std::vector<TokenId> prompt, generated;
  int32_t position = 0;
};

std::vector<float> RandomLogits(std::mt19937_64& random, size_t vocab, float spread) {
  std::normal_distribution<float> normal(0.0f, spread);
  std::vector<float> logits(vocab);
  for (float& logit : logits) logit = normal(random);
  return logits;
}

// What SampleToken promises, written down plainly: full sort, doubles, one step per sentence of the
// contract. Sets `margin` to the smallest relative distance of any decision from going the other
// way, so that the test can leave out the few cases that rounding may decide.
TokenId Reference(const Case& c, double& margin) {
  const SamplingOptions& o = c.options;
  std::vector<double> logits(c.logits.begin(), c.logits.end());
  for (size_t v = 0; v < logits.size(); ++v) {
    const TokenId token = static_cast<TokenId>(v);
    const auto in_text = std::count(c.generated.begin(), c.generated.end(), token);
    const auto in_prompt = std::count(c.prompt.begin(), c.prompt.end(), token);
    if (in_text + in_prompt > 0) {
      logits[v] =
          logits[v] > 0 ? logits[v] / o.repetition_penalty : logits[v] * o.repetition_penalty;
    }
    logits[v] -= o.frequency_penalty * static_cast<double>(in_text);
    if (in_text > 0) logits[v] -= o.presence_penalty;
    if (const auto bias = o.logit_bias.find(token); bias != o.logit_bias.end())
      logits[v] += bias->second;
  }
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  const auto value = [&](int32_t v) { return logits[static_cast<size_t>(v)]; };
  std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return value(a) != value(b) ? value(a) > value(b) : a < b;
  });
  margin = 1.0;
  const auto decide = [&](double difference) { margin = std::min(margin, std::abs(difference)); };
  if (o.temperature == 0.0f) {
    decide(value(order[0]) - value(order[1]));
    return order[0];
  }
  for (double& logit : logits) logit /= o.temperature;
  if (o.top_k > 0 && static_cast<size_t>(o.top_k) < order.size()) {
    const size_t k = static_cast<size_t>(o.top_k);
    decide(value(order[k - 1]) - value(order[k]));
    order.resize(k);
  }
  double total = 0.0;
  for (int32_t v : order) total += std::exp(value(v) - value(order[0]));
  if (o.top_p < 1.0f) {
    double sum = 0.0;
    size_t kept = 0;
    while (kept < order.size() && sum < o.top_p * total) {
      sum += std::exp(value(order[kept++]) - value(order[0]));
      decide((sum - o.top_p * total) / total);
    }
    order.resize(kept);
  }
  const double top = value(order[0]);
  TokenId best = -1;
  double best_score = 0.0, second = -1e30;
  for (int32_t v : order) {
    const double relative = std::exp(value(v) - top);
    if (o.min_p > 0.0f) decide((relative - o.min_p) / o.min_p);
    if (relative < o.min_p) continue;
    const double score = value(v) + GumbelNoise(o.seed, o.stream, static_cast<uint32_t>(c.position),
                                                static_cast<uint32_t>(v));
    if (best < 0 || score > best_score) {
      if (best >= 0) second = std::max(second, best_score);
      best_score = score;
      best = v;
    } else {
      second = std::max(second, score);
    }
  }
  decide(best_score - second);
  return best;
}

TokenId Sample(const Case& c, SamplerScratch& scratch) {
  TokenCounts counts(static_cast<int32_t>(c.logits.size()), 1000);
  counts.AddPrompt(c.prompt);
  for (TokenId token : c.generated) counts.Push(token);
  return SampleToken(c.logits, c.options, c.position, counts, scratch);
}

// Every combination of filters and penalties, over flat and peaky rows of several sizes.
std::vector<Case> ManyCases() {
  std::mt19937_64 random(7);
  std::vector<Case> cases;
  const auto chance = [&](double p) { return static_cast<double>(random() % 1000) < p * 1000; };
  for (int i = 0; i < 3000; ++i) {
    const size_t vocab = i % 3 == 0 ? 40 : i % 3 == 1 ? 259 : 1500;
    Case c;
    const float spreads[] = {0.1f, 2.0f, 6.0f};
    c.logits = RandomLogits(random, vocab, spreads[random() % 3]);
    SamplingOptions& o = c.options;
    o.seed = random();
    o.stream = static_cast<uint32_t>(random() % 3);
    c.position = static_cast<int32_t>(random() % 5000);
    const float temperatures[] = {0.0f, 0.5f, 1.0f, 1.7f};
    o.temperature = temperatures[random() % 4];
    if (chance(0.4)) o.top_k = 1 + static_cast<int32_t>(random() % 60);
    if (chance(0.5)) o.top_p = 0.05f + 0.94f * static_cast<float>(random() % 1000) / 1000.0f;
    if (chance(0.4)) o.min_p = 0.3f * static_cast<float>(random() % 1000) / 1000.0f;
    if (chance(0.4)) o.repetition_penalty = 0.8f + 0.1f * static_cast<float>(random() % 10);
    if (chance(0.4)) o.frequency_penalty = -2.0f + 0.1f * static_cast<float>(random() % 40);
    if (chance(0.4)) o.presence_penalty = -2.0f + 0.1f * static_cast<float>(random() % 40);
    if (chance(0.2)) {
      for (int j = 0; j < 5; ++j)
        o.logit_bias[static_cast<TokenId>(random() % vocab)] = chance(0.5) ? 5.0f : -100.0f;
    }
    for (int j = 0; j < 20; ++j) {
      c.prompt.push_back(static_cast<TokenId>(random() % vocab));
      c.generated.push_back(static_cast<TokenId>(random() % (vocab / 4)));
    }
    cases.push_back(std::move(c));
  }
  return cases;
}

TEST(Sampler, EqualsTheDoublePrecisionOne) {
  SamplerScratch scratch(1500);
  int compared = 0;
  for (const Case& c : ManyCases()) {
    double margin = 0.0;
    const TokenId expected = Reference(c, margin);
    // Scores reach about 60 (logit / temperature + noise) after four fp32 roundings of 2^-24
    // each: 1.5e-5. Sums are doubles of terms with relative error 2^-22. 1e-4 is above both.
    if (margin < 1e-4) continue;
    ++compared;
    ASSERT_EQ(Sample(c, scratch), expected)
        << "seed " << c.options.seed << " T " << c.options.temperature << " top_k "
        << c.options.top_k << " top_p " << c.options.top_p << " min_p " << c.options.min_p
        << " margin " << margin;
  }
  EXPECT_GT(compared, 2500);
}

TEST(Sampler, DependsOnItsArgumentsOnly) {
  const std::vector<Case> cases = ManyCases();
  std::vector<TokenId> forward;
  SamplerScratch scratch(1500);
  for (const Case& c : cases) forward.push_back(Sample(c, scratch));
  for (size_t i = cases.size(); i-- > 0;) {
    SamplerScratch fresh(static_cast<int32_t>(cases[i].logits.size()));
    ASSERT_EQ(Sample(cases[i], i % 2 == 0 ? scratch : fresh), forward[i]) << i;
  }
}

TEST(Sampler, TiesGoToTheLowestId) {
  Case c;
  c.logits = {1.0f, 3.0f, 3.0f, -1.0f, 3.0f};
  SamplerScratch scratch(5);
  EXPECT_EQ(Sample(c, scratch), 1);
  c.options.temperature = 1.0f;
  c.options.top_k = 1;
  for (c.position = 0; c.position < 50; ++c.position) EXPECT_EQ(Sample(c, scratch), 1);
}

TEST(Sampler, OptionsAtTheirLimitsFilterNothingOrAllButOne) {
  std::mt19937_64 random(3);
  SamplerScratch scratch(300);
  for (int i = 0; i < 200; ++i) {
    Case plain;
    plain.logits = RandomLogits(random, 300, 2.0f);
    plain.options.temperature = 0.9f;
    plain.position = i;
    Case wide = plain;
    wide.options.top_k = 300;
    wide.options.top_p = 1.0f;
    EXPECT_EQ(Sample(wide, scratch), Sample(plain, scratch));
    const TokenId greedy = static_cast<TokenId>(
        std::max_element(plain.logits.begin(), plain.logits.end()) - plain.logits.begin());
    Case narrow = plain;
    narrow.options.top_p = 1e-6f;
    EXPECT_EQ(Sample(narrow, scratch), greedy);
    narrow.options.top_p = 1.0f;
    narrow.options.min_p = 1.0f;
    EXPECT_EQ(Sample(narrow, scratch), greedy);
  }
}

// Draws from softmax(logits / T) cut to the filter must show its frequencies.
double ChiSquare(const Case& base, std::span<const double> expected) {
  constexpr int kDraws = 40000;
  std::vector<int> seen(expected.size(), 0);
  SamplerScratch scratch(static_cast<int32_t>(expected.size()));
  Case c = base;
  for (c.position = 0; c.position < kDraws; ++c.position)
    ++seen[static_cast<size_t>(Sample(c, scratch))];
  double chi = 0.0;
  for (size_t v = 0; v < expected.size(); ++v) {
    if (expected[v] == 0.0) {
      EXPECT_EQ(seen[v], 0) << v;
      continue;
    }
    const double mean = expected[v] * kDraws;
    chi += (seen[v] - mean) * (seen[v] - mean) / mean;
  }
  return chi;
}

TEST(Sampler, DrawsHaveTheSoftmaxDistribution) {
  Case c;
  c.options.seed = 12345;
  c.options.temperature = 0.8f;
  for (int v = 0; v < 20; ++v) c.logits.push_back(1.5f * std::sin(static_cast<float>(v)));
  std::vector<double> p(20);
  double total = 0.0;
  for (size_t v = 0; v < 20; ++v) total += p[v] = std::exp(c.logits[v] / 0.8);
  for (double& x : p) x /= total;
  // 19 degrees of freedom: above 43.8 with probability 0.001; the seed is fixed.
  EXPECT_LT(ChiSquare(c, p), 43.8);

  c.options.top_k = 5;
  std::vector<double> sorted = p;
  std::sort(sorted.rbegin(), sorted.rend());
  const double kept = std::accumulate(sorted.begin(), sorted.begin() + 5, 0.0);
  for (double& x : p) x = x >= sorted[4] ? x / kept : 0.0;
  // 4 degrees of freedom: above 18.5 with probability 0.001.
  EXPECT_LT(ChiSquare(c, p), 18.5);
}

TEST(Sampler, StreamsAndSeedsDrawDifferently) {
  Case c;
  c.logits.assign(64, 0.0f);
  c.options.temperature = 1.0f;
  SamplerScratch scratch(64);
  int by_stream = 0, by_seed = 0;
  for (c.position = 0; c.position < 200; ++c.position) {
    Case other = c;
    other.options.stream = 1;
    by_stream += Sample(c, scratch) != Sample(other, scratch);
    other = c;
    other.options.seed = 1;
    by_seed += Sample(c, scratch) != Sample(other, scratch);
  }
  // Equal by chance once in 64.
  EXPECT_GT(by_stream, 180);
  EXPECT_GT(by_seed, 180);
}

TEST(Logprobs, AreTheLogSoftmaxOfTheRawLogits) {
  std::mt19937_64 random(5);
  const std::vector<float> logits = RandomLogits(random, 259, 3.0f);
  double total = 0.0;
  for (float logit : logits) total += std::exp(static_cast<double>(logit));
  SamplerScratch scratch(259);
  std::vector<TokenLogprob> top(5);
  const TokenLogprob chosen = Logprobs(logits, 17, top, scratch);
  // fp32: the normaliser is below 16, rounded once, and subtracted once.
  constexpr double kTolerance = 16 * 0x1p-23;
  EXPECT_EQ(chosen.token, 17);
  EXPECT_NEAR(chosen.logprob, logits[17] - std::log(total), kTolerance);
  std::vector<float> sorted = logits;
  std::sort(sorted.rbegin(), sorted.rend());
  for (size_t i = 0; i < top.size(); ++i) {
    EXPECT_EQ(logits[static_cast<size_t>(top[i].token)], sorted[i]);
    EXPECT_NEAR(top[i].logprob, sorted[i] - std::log(total), kTolerance);
  }
}

TEST(SamplingOptions, OutOfRangeNamesFieldValueAndRange) {
  const auto message = [](const auto& change) {
    return test::ValidationText<SamplingOptions>(change);
  };
  EXPECT_EQ(message([](auto& o) { o.temperature = -1.0f; }),
            "temperature is -1.000000, expected 0 (greedy) or 0.001 to 100");
  EXPECT_EQ(message([](auto& o) { o.temperature = NAN; }),
            "temperature is nan, expected 0 (greedy) or 0.001 to 100");
  EXPECT_NE(message([](auto& o) { o.top_k = -1; }).find("top_k"), std::string::npos);
  EXPECT_NE(message([](auto& o) { o.top_p = 0.0f; }).find("top_p"), std::string::npos);
  EXPECT_NE(message([](auto& o) { o.top_p = 1.5f; }).find("top_p"), std::string::npos);
  EXPECT_NE(message([](auto& o) { o.min_p = 2.0f; }).find("min_p"), std::string::npos);
  EXPECT_NE(message([](auto& o) { o.repetition_penalty = 0.0f; }).find("repetition"),
            std::string::npos);
  EXPECT_NE(message([](auto& o) { o.frequency_penalty = 3.0f; }).find("frequency"),
            std::string::npos);
  EXPECT_NE(message([](auto& o) { o.presence_penalty = -3.0f; }).find("presence"),
            std::string::npos);
  EXPECT_NE(message([](auto& o) { o.logit_bias[3] = 101.0f; }).find("logit_bias"),
            std::string::npos);
  EXPECT_NE(message([](auto& o) { o.logit_bias[-3] = 1.0f; }).find("-3"), std::string::npos);
  EXPECT_EQ(message([](auto&) {}), "no error");
}

TEST(TokenCounts, PopTakesBackPush) {
  TokenCounts counts(10, 8);
  const std::vector<TokenId> prompt = {3, 4, 3};
  counts.AddPrompt(prompt);
  counts.Push(5);
  counts.Push(3);
  const std::vector<TokenId> before(counts.distinct().begin(), counts.distinct().end());
  for (TokenId token : {5, 7, 3, 7}) counts.Push(token);
  EXPECT_EQ(counts.Generated(7), 2);
  EXPECT_EQ(counts.Generated(3), 2);
  for (TokenId token : {7, 3, 7, 5}) counts.Pop(token);
  EXPECT_EQ(std::vector<TokenId>(counts.distinct().begin(), counts.distinct().end()), before);
  EXPECT_EQ(counts.Generated(5), 1);
  EXPECT_EQ(counts.Generated(4), 0);
  counts.Clear();
  EXPECT_TRUE(counts.distinct().empty());
  EXPECT_EQ(counts.Generated(3), 0);
}

}  // namespace
}  // namespace tern
