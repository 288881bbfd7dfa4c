#include "kernels/ternary_matmul.h"

#include <gtest/gtest.h>

#include "kernels/parallel.h"
#include "kernels/quantized_data.h"
#include "kernels/random_data.h"
#include "kernels/reference.h"
#include "kernels/twin_checks.h"
#include "tests/kernels/every_target.h"
#include "tests/support/comparator.h"

namespace tern::test {
namespace {

// The twin's result and the kernel's, which must be the same bits: the integer part is exact.
void ExpectExact(MatView<const int8_t> weights, float scale, const QuantizedRows& x) {
  const TernaryMatrix packed = PackTernary(weights, scale);
  AlignedBuffer<float> expected(x.n() * weights.rows), got(x.n() * weights.rows);
  reference::TernaryMatmul(weights, scale, x, expected.View(x.n(), weights.rows));
  TernaryMatmul(packed.View(), x, got.View(x.n(), weights.rows));
  EXPECT_TRUE(SameBits(expected.View(x.n(), weights.rows), got.View(x.n(), weights.rows)));
}

TEST(TernaryMatmul, EqualsTheTwinForAllRemainders) {
  OnEveryTarget([] {
    for (size_t n = 1; n <= 19; ++n) {
      for (const size_t rows : {1u, 4u, 5u, 16u, 33u}) {
        for (const size_t k : {1u, 15u, 16u, 17u, 77u}) {
          EXPECT_EQ(CheckTernaryMatmul(n, rows, k), "") << n << " x " << k << " x " << rows;
        }
      }
    }
  });
}

// Where 16-bit partial sums would overflow first: K is long, and every product has the same sign
// and the largest size the packed form allows (code 2 x 127).
TEST(TernaryMatmul, ExactAtTheExtremes) {
  OnEveryTarget([] {
    for (const size_t k : {256u, 272u, 2560u, 4099u}) {
      for (const int weight : {-1, 0, 1}) {
        for (const int code : {-127, 127}) {
          for (const size_t n : {1u, 2u, 3u, 8u}) {
            AlignedBuffer<int8_t> weights(20 * k);
            for (int8_t& w : weights.span()) w = static_cast<int8_t>(weight);
            QuantizedData x(n, k);
            for (size_t r = 0; r < n; ++r) x.SetRow(r, 1.0f, [&](size_t) { return code; });
            ExpectExact(weights.View(20, k), 1.0f, x.Rows());
          }
        }
      }
    }
  });
}

TEST(TernaryMatmul, ExactAtTheLongestRow) {
  constexpr size_t kLongest = (1u << 24) / 127;
  OnEveryTarget([] {
    AlignedBuffer<int8_t> weights(kLongest);
    for (int8_t& w : weights.span()) w = 1;
    for (const size_t n : {1u, 4u}) {
      QuantizedData x(n, kLongest);
      for (size_t r = 0; r < n; ++r) x.SetRow(r, 1.0f, [&](size_t) { return -127; });
      ExpectExact(weights.View(1, kLongest), 1.0f, x.Rows());
    }
  });
}

TEST(TernaryMatmul, SameBitsForAnyBatchThreadsAndTarget) {
  constexpr size_t kRows = 200, kK = 400, kN = 37;  // 3 M products: two threads
  RandomData random(11);
  const AlignedBuffer<int8_t> weights = random.Ternaries(kRows * kK);
  const TernaryMatrix packed = PackTernary(weights.View(kRows, kK), 0.01f);
  QuantizedData x = RandomQuantized(kN, kK, random);
  AlignedBuffer<float> alone(kN * kRows), together(kN * kRows);
  {
    const WithThreads threads(1);
    for (size_t i = 0; i < kN; ++i) {
      TernaryMatmul(packed.View(), x.Rows(i, 1), alone.View(kN, kRows).Rows(i, 1));
    }
  }
  OnEveryTarget([&] {
    for (const int count : {1, 2, 3}) {
      const WithThreads threads(count);
      TernaryMatmul(packed.View(), x.Rows(), together.View(kN, kRows));
      EXPECT_TRUE(SameBits(alone.View(kN, kRows), together.View(kN, kRows))) << count << " threads";
    }
  });
}

TEST(TernaryMatmul, WritesNothingOutsideTheView) {
  OnEveryTarget([] {
    RandomData random(13);
    const AlignedBuffer<int8_t> weights = random.Ternaries(21 * 30);
    const TernaryMatrix packed = PackTernary(weights.View(21, 30), 1.0f);
    QuantizedData x = RandomQuantized(3, 30, random);
    AlignedBuffer<float> out(3 * 32);
    for (float& value : out.span()) value = 777.0f;
    TernaryMatmul(packed.View(), x.Rows(), {out.data(), 3, 21, 32});
    for (size_t r = 0; r < 3; ++r) {
      for (size_t c = 21; c < 32; ++c) EXPECT_EQ(out[r * 32 + c], 777.0f);
    }
  });
}

}  // namespace
}  // namespace tern::test
