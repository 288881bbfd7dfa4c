#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "kernels/activation.h"
#include "kernels/aligned_buffer.h"
#include "kernels/random_data.h"
#include "kernels/rope.h"
#include "kernels/sum_exp.h"
#include "kernels/twin_checks.h"
#include "tests/kernels/every_target.h"
#include "tests/support/comparator.h"

namespace tern::test {
namespace {

TEST(ReluSquaredGate, EqualsTheTwinOnEveryTarget) {
  OnEveryTarget([] {
    for (size_t f = 1; f <= 35; ++f) EXPECT_EQ(CheckReluSquaredGate(f), "") << f;
  });
}

TEST(ReluSquaredGate, MayOverwriteAnInputAndKeepsNaN) {
  OnEveryTarget([] {
    RandomData random(1);
    AlignedBuffer<float> gate = random.Floats(37), up = random.Floats(37), expected(37);
    gate[5] = gate[36] = std::numeric_limits<float>::quiet_NaN();
    ReluSquaredGate(gate.View(1, 37), up.View(1, 37), expected.View(1, 37));
    EXPECT_TRUE(std::isnan(expected[5]) && std::isnan(expected[36]));
    ReluSquaredGate(gate.View(1, 37), up.View(1, 37), up.View(1, 37));
    EXPECT_TRUE(SameBits(expected.View(1, 37), up.View(1, 37)));
  });
}

TEST(SiluGate, EqualsTheTwinOnEveryTarget) {
  OnEveryTarget([] {
    for (size_t f = 1; f <= 35; ++f) EXPECT_EQ(CheckSiluGate(f), "") << f;
  });
}

TEST(ResidualSilu, EqualsTheTwinOnEveryTarget) {
  OnEveryTarget([] {
    for (size_t d : {1u, 3u, 16u, 17u, 35u, 64u}) EXPECT_EQ(CheckResidualSilu(d), "") << d;
  });
}

TEST(SumExpMinus, EqualsTheTwinOnEveryTarget) {
  OnEveryTarget([] {
    for (size_t n : {1u, 2u, 15u, 16u, 17u, 1000u, 4097u}) EXPECT_EQ(CheckSumExp(n), "") << n;
    const float far[] = {0.0f, -200.0f, -1e30f};
    EXPECT_EQ(SumExpMinus(far, 0.0f), 1.0f);
  });
}

TEST(AddInPlace, IsExactlyFloatAddition) {
  OnEveryTarget([] {
    for (size_t d = 1; d <= 35; ++d) EXPECT_EQ(CheckAddInPlace(d), "") << d;
  });
}

TEST(ApplyRope, EqualsTheTwinOnEveryTarget) {
  OnEveryTarget([] {
    for (const size_t head_dim : {2u, 6u, 16u, 64u, 72u})
      EXPECT_EQ(CheckApplyRope(head_dim), "") << head_dim;
  });
}

TEST(ApplyRope, PositionZeroChangesNothing) {
  const RopeTable table(4, 8, 500000.0);
  RandomData random(8);
  AlignedBuffer<float> x = random.Floats(16), before = AlignedBuffer<float>(16);
  std::copy(x.data(), x.data() + 16, before.data());
  const int32_t zero = 0;
  ApplyRope(table, {&zero, 1}, x.View(1, 16));
  EXPECT_TRUE(AllNear(before.View(1, 16), x.View(1, 16), {}));
}

}  // namespace
}  // namespace tern::test
