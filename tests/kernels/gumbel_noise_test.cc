// Noise at vector speed is within its bound of the exact noise, on every target.
#include "kernels/gumbel_noise.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/vector_math.h"
#include "tests/kernels/every_target.h"

namespace tern::test {
namespace {

TEST(ApproximateGumbelNoise, IsCloseToTheExactNoise) {
  OnEveryTarget([] {
    float most = 0.0f, largest = -100.0f, smallest = 100.0f;
    for (const size_t count : {size_t{1}, size_t{15}, size_t{300'001}}) {
      const uint64_t seed = 0x123456789abcdef0 + count;
      std::vector<float> noise(count);
      ApproximateGumbelNoise(seed, 3, 900, noise);
      for (size_t t = 0; t < count; ++t) {
        const float exact = GumbelNoise(seed, 3, 900, static_cast<uint32_t>(t));
        most = std::max(most, std::fabs(noise[t] - exact));
        largest = std::max(largest, exact);
        smallest = std::min(smallest, exact);
      }
    }
    EXPECT_LT(most, 0.3f * kGumbelNoiseError);
    // The draws did reach both tails.
    EXPECT_GT(largest, 10.0f);
    EXPECT_LT(smallest, -2.3f);
    EXPECT_LT(largest, kMaxGumbelNoise);
  });
}

TEST(ApproximateGumbelNoise, OfListedTokensIsTheSame) {
  OnEveryTarget([] {
    std::vector<float> all(500), some(77);
    std::vector<int32_t> tokens;
    for (int32_t i = 0; i < 77; ++i) tokens.push_back(i * 97 % 500);
    ApproximateGumbelNoise(5, 1, 2, all);
    ApproximateGumbelNoiseOf(5, 1, 2, tokens, some);
    for (size_t i = 0; i < tokens.size(); ++i)
      EXPECT_EQ(some[i], all[static_cast<size_t>(tokens[i])]) << i;
  });
}

}  // namespace
}  // namespace tern::test
