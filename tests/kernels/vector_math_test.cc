#include "kernels/vector_math.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <set>
#include <vector>

#include "kernels/random_data.h"
#include "kernels/twin_checks.h"

namespace tern::test {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST(Exp, WithinTheStatedError) {
  double worst = 0;
  for (float x = -87.3f; x < 88.7f; x += 0.00371f) {
    const double expected = std::exp(static_cast<double>(x));
    worst = std::max(worst, std::fabs(static_cast<double>(Exp(x)) / expected - 1));
  }
  EXPECT_LT(worst, 0x1p-22);
}

TEST(Exp, Edges) {
  EXPECT_EQ(Exp(0.0f), 1.0f);
  EXPECT_EQ(Exp(-87.34f), 0.0f);
  EXPECT_EQ(Exp(-kInfinity), 0.0f);
  EXPECT_EQ(Exp(88.73f), kInfinity);
  EXPECT_EQ(Exp(kInfinity), kInfinity);
  EXPECT_TRUE(std::isfinite(Exp(88.72f)));
  EXPECT_TRUE(std::isnan(Exp(std::numeric_limits<float>::quiet_NaN())));
}

TEST(Log, WithinTheStatedError) {
  for (uint32_t bits = 1; bits < 0x7F800000; bits += 99991) {  // from the smallest subnormal up
    const float x = std::bit_cast<float>(bits);
    const double expected = std::log(static_cast<double>(x));
    ASSERT_NEAR(Log(x), expected, 0x1p-24 + 0x1p-21 * std::fabs(expected)) << x;
  }
  for (float x = 0.9f; x < 1.1f; x += 0.0001f)
    ASSERT_NEAR(Log(x), std::log(static_cast<double>(x)), 0x1p-24);
}

TEST(Log, Edges) {
  EXPECT_EQ(Log(1.0f), 0.0f);
  EXPECT_EQ(Log(0.0f), -kInfinity);
  EXPECT_EQ(Log(kInfinity), kInfinity);
  EXPECT_TRUE(std::isnan(Log(-1.0f)));
}

TEST(LogSumExp, EqualsTheTwin) {
  for (const size_t n : {1u, 2u, 17u, 1000u}) EXPECT_EQ(CheckSumExp(n), "") << n;
}

TEST(LogSumExp, Extremes) {
  const std::vector<float> far = {-1000.0f, 1000.0f, -kInfinity};
  EXPECT_EQ(LogSumExp(far), 1000.0f);
  const std::vector<float> nothing = {-kInfinity, -kInfinity};
  EXPECT_EQ(LogSumExp(nothing), -kInfinity);
  const std::vector<float> bad = {1.0f, std::numeric_limits<float>::quiet_NaN(), 2.0f};
  EXPECT_TRUE(std::isnan(LogSumExp(bad)));
}

// The known answers published with the generator.
TEST(Philox, KnownAnswers) {
  EXPECT_EQ(Philox4x32({0, 0, 0, 0}, 0, 0),
            (PhiloxBlock{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  constexpr uint32_t kOnes = 0xFFFFFFFF;
  EXPECT_EQ(Philox4x32({kOnes, kOnes, kOnes, kOnes}, kOnes, kOnes),
            (PhiloxBlock{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(Philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, 0xa4093822, 0x299f31d0),
            (PhiloxBlock{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(CounterRandom, EveryArgumentMatters) {
  EXPECT_EQ(CounterRandom(0, 0, 0, 0), 0xe169c58d6627e8d5u);
  std::set<uint64_t> values;
  for (const uint64_t seed : {uint64_t{1}, uint64_t{2}, uint64_t{1} << 32}) {
    for (uint32_t stream = 0; stream < 3; ++stream) {
      for (uint32_t position = 0; position < 3; ++position) {
        for (uint32_t token = 0; token < 3; ++token)
          values.insert(CounterRandom(seed, stream, position, token));
      }
    }
  }
  EXPECT_EQ(values.size(), 81u);
}

TEST(GumbelNoise, HasTheMomentsOfTheDistribution) {
  constexpr uint32_t kCount = 100000;
  double sum = 0, squares = 0;
  for (uint32_t i = 0; i < kCount; ++i) {
    const double noise = GumbelNoise(42, 0, 7, i);
    ASSERT_TRUE(std::isfinite(noise));
    sum += noise;
    squares += noise * noise;
  }
  const double mean = sum / kCount, variance = squares / kCount - mean * mean;
  // Mean 0.5772 (Euler), variance pi^2 / 6 = 1.645, fourth central moment 5.4 variance^2: standard
  // errors are sqrt(1.645 / n) = 0.0041 and 1.645 sqrt(4.4 / n) = 0.011; four of each.
  EXPECT_NEAR(mean, 0.5772, 0.0164);
  EXPECT_NEAR(variance, 1.645, 0.044);
}

}  // namespace
}  // namespace tern::test
