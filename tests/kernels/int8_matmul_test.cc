#include "kernels/int8_matmul.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "kernels/parallel.h"
#include "kernels/quantized_data.h"
#include "kernels/random_data.h"
#include "kernels/reference.h"
#include "kernels/twin_checks.h"
#include "tests/kernels/every_target.h"
#include "tests/support/comparator.h"

namespace tern::test {
namespace {

// Weights, their packed form, and its codes read back.
struct Matrix {
  Matrix(AlignedBuffer<BFloat16> weights_in, size_t rows, size_t cols)
      : weights(std::move(weights_in)),
        packed(PackInt8(weights.View(rows, cols))),
        codes(rows * cols) {
    for (size_t i = 0; i < rows * cols; ++i)
      codes[i] = static_cast<int8_t>(reference::UnpackInt8(packed, i / cols, i % cols));
  }
  AlignedBuffer<BFloat16> weights;
  Int8Matrix packed;
  AlignedBuffer<int8_t> codes;
};

// The twin's result and the kernel's, which must be the same bits: the integer part is exact.
void ExpectExact(const Matrix& w, const QuantizedRows& x) {
  const size_t rows = w.packed.rows;
  AlignedBuffer<float> expected(x.n() * rows), got(x.n() * rows);
  reference::Int8Matmul(w.codes.View(rows, w.packed.cols), w.packed.scales.span(), x,
                        expected.View(x.n(), rows));
  Int8Matmul(w.packed, x, got.View(x.n(), rows));
  EXPECT_TRUE(SameBits(expected.View(x.n(), rows), got.View(x.n(), rows)));
}

TEST(PackInt8, CodesAreTheNearestOnesInThePlaceOfThePicture) {
  constexpr size_t kRows = 21, kCols = 37;
  RandomData random(3);
  AlignedBuffer<BFloat16> weights = random.BFloat16s(kRows * kCols);
  for (size_t c = 0; c < kCols; ++c) weights[5 * kCols + c] = BFloat16::FromFloat(0.0f);
  std::vector<int32_t> picked = {20, 0, 5, 7, 7, 19, 3, 1, 2, 4, 6, 8, 9, 10, 11, 12, 13};
  for (int32_t i = 0; i < 60; ++i) picked.push_back(i * 5 % 21);  // into a second group
  const Int8Matrix packed = PackInt8(weights.View(kRows, kCols), picked);
  ASSERT_EQ(packed.rows, picked.size());
  for (size_t r = 0; r < picked.size(); ++r) {
    const BFloat16* row = weights.data() + static_cast<size_t>(picked[r]) * kCols;
    float absmax = 0.0f;
    for (size_t c = 0; c < kCols; ++c) absmax = std::max(absmax, std::abs(row[c].ToFloat()));
    EXPECT_EQ(packed.scales[r], absmax / 127.0f);
    for (size_t c = 0; c < kCols; ++c) {
      const int code = reference::UnpackInt8(packed, r, c);
      EXPECT_LE(std::abs(code), 127);
      // Half a step, and three roundings of values up to 127 steps.
      EXPECT_NEAR(static_cast<float>(code) * packed.scales[r], row[c].ToFloat(),
                  packed.scales[r] * (0.5f + 3 * 127 * 0x1p-24f));
    }
  }
}

TEST(Int8Matmul, EqualsTheTwinForAllRemainders) {
  OnEveryTarget([] {
    for (size_t n = 1; n <= 19; n += n < 10 ? 1 : 3) {
      for (const size_t rows : {1u, 5u, 16u, 33u, 200u}) {
        for (const size_t k : {1u, 15u, 16u, 77u}) {
          EXPECT_EQ(CheckInt8Matmul(n, rows, k), "") << n << " x " << k << " x " << rows;
        }
      }
    }
  });
}

// Every product has the same sign and the largest size: where 16-bit sums would overflow, and, at
// the longest row, where 32-bit sums nearly do.
TEST(Int8Matmul, ExactAtTheExtremes) {
  OnEveryTarget([] {
    for (const size_t k : {256u, 4099u, 65536u}) {
      for (const float weight : {-1.0f, 1.0f}) {
        for (const int code : {-127, 127}) {
          for (const size_t n : {1u, 4u}) {
            AlignedBuffer<BFloat16> weights(3 * k);
            for (BFloat16& value : weights.span()) value = BFloat16::FromFloat(weight);
            QuantizedData x(n, k);
            for (size_t r = 0; r < n; ++r) x.SetRow(r, 1.0f, [&](size_t) { return code; });
            ExpectExact(Matrix(std::move(weights), 3, k), x.Rows());
          }
        }
      }
    }
  });
}

TEST(Int8Matmul, SameBitsForAnyBatchThreadsAndTarget) {
  constexpr size_t kRows = 1000, kK = 400, kN = 13;  // 5 M products: two threads
  RandomData random(11);
  const Int8Matrix packed = PackInt8(random.BFloat16s(kRows * kK).View(kRows, kK));
  QuantizedData x = RandomQuantized(kN, kK, random);
  AlignedBuffer<float> alone(kN * kRows), together(kN * kRows);
  {
    const WithThreads threads(1);
    for (size_t i = 0; i < kN; ++i)
      Int8Matmul(packed, x.Rows(i, 1), alone.View(kN, kRows).Rows(i, 1));
  }
  OnEveryTarget([&] {
    for (const int count : {1, 2, 3}) {
      const WithThreads threads(count);
      Int8Matmul(packed, x.Rows(), together.View(kN, kRows));
      EXPECT_TRUE(SameBits(alone.View(kN, kRows), together.View(kN, kRows))) << count << " threads";
    }
  });
}

TEST(Int8Matmul, WritesNothingOutsideTheView) {
  OnEveryTarget([] {
    RandomData random(13);
    const Int8Matrix packed = PackInt8(random.BFloat16s(21 * 30).View(21, 30));
    QuantizedData x = RandomQuantized(3, 30, random);
    AlignedBuffer<float> out(3 * 32);
    for (float& value : out.span()) value = 777.0f;
    Int8Matmul(packed, x.Rows(), {out.data(), 3, 21, 32});
    for (size_t r = 0; r < 3; ++r) {
      for (size_t c = 21; c < 32; ++c) EXPECT_EQ(out[r * 32 + c], 777.0f);
    }
  });
}

}  // namespace
}  // namespace tern::test
