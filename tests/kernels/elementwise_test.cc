#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "kernels/activation.h"
#include "kernels/aligned_buffer.h"
#include "kernels/reference.h"
#include "kernels/rope.h"
#include "kernels/sum_exp.h"
#include "tests/kernels/every_target.h"
#include "tests/support/comparator.h"
#include "tests/support/random_data.h"

namespace tern::test {
namespace {

TEST(ReluSquaredGate, EqualsTheTwinOnEveryTarget) {
  OnEveryTarget([] {
    for (size_t f = 1; f <= 35; ++f) {
      RandomData random(static_cast<uint32_t>(f));
      const AlignedBuffer<float> gate = random.Floats(3 * f), up = random.Floats(3 * f);
      AlignedBuffer<float> got(3 * f);
      AlignedBuffer<double> expected(3 * f);
      ReluSquaredGate(gate.View(3, f), up.View(3, f), got.View(3, f));
      reference::ReluSquaredGate(gate.View(3, f), up.View(3, f), expected.View(3, f));
      // Two roundings of half an ulp; products down to 2^-72 are still normal.
      EXPECT_TRUE(AllNear(expected.View(3, f), got.View(3, f), {.relative = 3 * 0x1p-24}));
    }
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
    for (size_t f = 1; f <= 35; ++f) {
      RandomData random(static_cast<uint32_t>(f));
      AlignedBuffer<float> gate = random.Floats(3 * f, -30.0f, 30.0f);
      const AlignedBuffer<float> up = random.Floats(3 * f);
      gate[0] = 500.0f;
      gate[f] = -500.0f;
      AlignedBuffer<double> expected(3 * f);
      reference::SiluGate(gate.View(3, f), up.View(3, f), expected.View(3, f));
      SiluGate(gate.View(3, f), up.View(3, f), gate.View(3, f));
      // 2^-21 from exp, and four roundings; silu(-500) is 0 to the last normal number.
      EXPECT_TRUE(AllNear(expected.View(3, f), gate.View(3, f),
                          {.absolute = 0x1p-100, .relative = 0x1p-20}));
    }
  });
}

TEST(ResidualSilu, EqualsTheTwinOnEveryTarget) {
  OnEveryTarget([] {
    for (size_t d : {1u, 3u, 16u, 17u, 35u, 64u}) {
      RandomData random(static_cast<uint32_t>(d));
      const AlignedBuffer<float> x = random.Floats(d), bias = random.Floats(3 * d);
      AlignedBuffer<float> z = random.Floats(3 * d, -30.0f, 30.0f);
      z[0] = 500.0f;
      z[3 * d - 1] = -500.0f;
      AlignedBuffer<double> expected(3 * d);
      reference::ResidualSilu(x.span(), bias.View(3, d), z.View(3, d), expected.View(3, d));
      ResidualSilu(x.span(), bias.View(3, d), z.View(3, d));
      // z + bias is off by half an ulp, below 2^-20 where |z| < 32, times silu's slope of at most
      // 1.1; the sum with x by 2^-21. Relative to silu: 2^-21 from exp, four roundings.
      EXPECT_TRUE(AllNear(expected.View(3, d), z.View(3, d),
                          {.absolute = 1.1 * 0x1p-20 + 0x1p-22, .relative = 0x1p-19}));
    }
  });
}

TEST(SumExpMinus, EqualsTheTwinOnEveryTarget) {
  OnEveryTarget([] {
    for (size_t n : {1u, 2u, 15u, 16u, 17u, 1000u, 4097u}) {
      RandomData random(static_cast<uint32_t>(n));
      const AlignedBuffer<float> x = random.Floats(n, -20.0f, 5.0f);
      const double expected = reference::SumExpMinus(x.span(), 5.0f);
      // exp: 2^-21, its argument half an ulp of 25 (2^-20); 258 additions a lane, 4 lanes and more.
      EXPECT_NEAR(SumExpMinus(x.span(), 5.0f), expected,
                  expected * (0x1p-21 + 0x1p-20 + 1100 * 0x1p-24))
          << n;
    }
    const float far[] = {0.0f, -200.0f, -1e30f};
    EXPECT_EQ(SumExpMinus(far, 0.0f), 1.0f);
  });
}

TEST(AddInPlace, IsExactlyFloatAddition) {
  OnEveryTarget([] {
    for (size_t d = 1; d <= 35; ++d) {
      RandomData random(static_cast<uint32_t>(d));
      AlignedBuffer<float> x = random.Floats(2 * d), expected(2 * d);
      const AlignedBuffer<float> y = random.Floats(2 * d);
      for (size_t i = 0; i < 2 * d; ++i) expected[i] = x[i] + y[i];
      AddInPlace(x.View(2, d), y.View(2, d));
      EXPECT_TRUE(SameBits(expected.View(2, d), x.View(2, d)));
    }
  });
}

TEST(ApplyRope, EqualsTheTwinOnEveryTarget) {
  const std::vector<int32_t> positions = {0, 1, 17, 499};
  for (const size_t head_dim : {2u, 6u, 16u, 64u, 72u}) {
    const RopeTable table(500, head_dim, 10000.0);
    OnEveryTarget([&] {
      RandomData random(7);
      const size_t width = 3 * head_dim, rows = positions.size();
      AlignedBuffer<float> x = random.Floats(rows * width);
      AlignedBuffer<double> expected(rows * width);
      reference::ApplyRope(10000.0, head_dim, positions, x.View(rows, width),
                           expected.View(rows, width));
      ApplyRope(table, positions, x.View(rows, width));
      // |x|, |cos|, |sin| <= 1: two table entries, two products and a sum rounded, each half an ulp
      // of at most 2.
      EXPECT_TRUE(
          AllNear(expected.View(rows, width), x.View(rows, width), {.absolute = 5 * 0x1p-24}));
    });
  }
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
