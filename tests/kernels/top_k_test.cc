#include "kernels/top_k.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "kernels/random_data.h"
#include "kernels/reference.h"
#include "kernels/twin_checks.h"
#include "tests/kernels/every_target.h"

namespace tern::test {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

void ExpectTwin(const std::vector<float>& values, size_t k) {
  std::vector<ScoredIndex> expected(k), got(k);
  reference::TopK(values, expected);
  TopK(values, got);
  for (size_t i = 0; i < k; ++i) ASSERT_EQ(got[i].index, expected[i].index) << "rank " << i;
  if (k > 0) {
    EXPECT_EQ(ArgMax(values), expected[0].index);
  }
}

TEST(TopK, EqualsTheTwinWithManyTiesAndNaNs) {
  for (uint32_t seed = 0; seed < 50; ++seed) {
    RandomData random(seed);
    std::vector<float> values(1 + random.Below(300));
    for (float& value : values) {
      value = random.Below(20) == 0 ? kNaN : static_cast<float>(random.Below(2 + seed)) - 3.0f;
    }
    for (const size_t k : {size_t{0}, size_t{1}, values.size() / 2, values.size()})
      ExpectTwin(values, k);
  }
}

TEST(TopK, EqualsTheTwinOnEveryTarget) {
  OnEveryTarget([] {
    for (uint32_t seed = 0; seed < 20; ++seed) EXPECT_EQ(CheckTopK(seed), "") << seed;
  });
}

TEST(TopK, Edges) {
  ExpectTwin({kNaN, kNaN, kNaN}, 3);
  ExpectTwin({kNaN, -std::numeric_limits<float>::infinity()}, 2);
  ExpectTwin({-0.0f, 0.0f, -0.0f}, 2);
  EXPECT_EQ(ArgMax(std::vector<float>{1.0f, 3.0f, 3.0f}), 1);
  EXPECT_EQ(ArgMax(std::vector<float>{kNaN, -1.0f}), 1);
}

}  // namespace
}  // namespace tern::test
