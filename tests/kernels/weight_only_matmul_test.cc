#include "kernels/weight_only_matmul.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "kernels/parallel.h"
#include "kernels/random_data.h"
#include "kernels/twin_checks.h"
#include "tests/kernels/every_target.h"
#include "tests/support/comparator.h"

namespace tern::test {
namespace {

TEST(WeightOnlyMatmul, EqualsTheTwinForAllRemaindersAndGroups) {
  OnEveryTarget([] {
    for (const size_t group : {0u, 16u, 32u, 128u, 256u}) {
      for (const size_t k : {1u, 77u, 128u, 300u}) {
        for (const size_t rows : {1u, 16u, 33u, 80u}) {
          for (const size_t n : {1u, 2u, 3u, 4u, 9u}) {
            EXPECT_EQ(CheckWeightOnlyMatmul(n, rows, k, group == 0 ? k : group), "")
                << n << " x " << k << " x " << rows << ", groups of " << group;
          }
        }
      }
    }
  });
}

AlignedBuffer<float> RandomRows(size_t size, RandomData& random) {
  return random.Floats(size, -3.0f, 3.0f);
}

// The twin itself, and the bound of the contract: against products in double with the scales that
// went into the packing.
TEST(WeightOnlyMatmul, WithinTheBoundOfTheExactProduct) {
  RandomData random(3);
  constexpr size_t kRows = 20, kN = 3;
  for (const size_t k : {100u, 1000u}) {
    for (const size_t group : {size_t{16}, size_t{128}, size_t{k}}) {
      const WeightOnlyInput w(kRows, k, group, random);
      const AlignedBuffer<float> x = RandomRows(kN * k, random);
      AlignedBuffer<float> got(kN * kRows);
      WeightOnlyMatmul(w.packed.View(), x.View(kN, k), got.View(kN, kRows));
      for (size_t i = 0; i < kN; ++i) {
        for (size_t r = 0; r < kRows; ++r) {
          double sum = 0, magnitudes = 0;
          for (size_t c = 0; c < k; ++c) {
            const double term = static_cast<double>(w.scales[r * w.groups + c / group]) *
                                w.codes[r * k + c] * static_cast<double>(x[i * k + c]);
            sum += term;
            magnitudes += std::fabs(term);
          }
          // Groups of 16 add one total for each of them.
          const double run = static_cast<double>(std::min(group, size_t{128}));
          const double steps = static_cast<double>(k) / run + 130;
          ASSERT_NEAR(got[i * kRows + r], sum, steps * 0x1p-24 * magnitudes)
              << k << " in groups of " << group << ": " << i << ", " << r;
        }
      }
    }
  }
}

TEST(WeightOnlyMatmul, OneScaleEqualsThatScaleInEveryGroup) {
  RandomData random(5);
  const AlignedBuffer<int8_t> codes = random.Ternaries(40 * 256);
  const TernaryMatrix one = PackTernary(codes.View(40, 256), 0.37f);
  TernaryMatrix many = PackTernary(codes.View(40, 256), 99.0f);
  many.group_cols = 128;
  many.group_scales = AlignedBuffer<float>(2 * PadRows(40));
  for (float& s : many.group_scales.span()) s = 0.37f;
  const AlignedBuffer<float> x = RandomRows(256, random);
  AlignedBuffer<float> a(40), b(40);
  WeightOnlyMatmul(one.View(), x.View(1, 256), a.View(1, 40));
  WeightOnlyMatmul(many.View(), x.View(1, 256), b.View(1, 40));
  EXPECT_TRUE(SameBits(a.View(1, 40), b.View(1, 40)));
}

TEST(WeightOnlyMatmul, SameBitsForAnyBatchThreadsAndTarget) {
  constexpr size_t kRows = 200, kK = 384, kN = 37;  // 3 M products: several threads
  RandomData random(11);
  const WeightOnlyInput w(kRows, kK, 128, random);
  const AlignedBuffer<float> x = RandomRows(kN * kK, random);
  AlignedBuffer<float> alone(kN * kRows), together(kN * kRows);
  {
    const WithThreads threads(1);
    for (size_t i = 0; i < kN; ++i) {
      WeightOnlyMatmul(w.packed.View(), x.View(kN, kK).Rows(i, 1),
                       alone.View(kN, kRows).Rows(i, 1));
    }
  }
  OnEveryTarget([&] {
    for (const int count : {1, 2, 3}) {
      const WithThreads threads(count);
      WeightOnlyMatmul(w.packed.View(), x.View(kN, kK), together.View(kN, kRows));
      EXPECT_TRUE(SameBits(alone.View(kN, kRows), together.View(kN, kRows))) << count << " threads";
    }
  });
}

TEST(WeightOnlyMatmul, TouchesNothingOutsideTheViews) {
  OnEveryTarget([] {
    RandomData random(13);
    const WeightOnlyInput w(21, 30, 16, random);
    AlignedBuffer<float> x(3 * 40), out(3 * 32);
    for (float& v : x.span()) v = NAN;  // behind the rows: 0 * NaN would show
    for (size_t r = 0; r < 3; ++r) std::fill_n(x.data() + r * 40, 30, 1.0f);
    for (float& value : out.span()) value = 777.0f;
    WeightOnlyMatmul(w.packed.View(), {x.data(), 3, 30, 40}, {out.data(), 3, 21, 32});
    for (size_t r = 0; r < 3; ++r) {
      for (size_t c = 0; c < 32; ++c) {
        const float got = out[r * 32 + c];
        EXPECT_TRUE(c < 21 ? std::isfinite(got) && got != 777.0f : got == 777.0f) << r << " " << c;
      }
    }
  });
}

}  // namespace
}  // namespace tern::test
