#include "kernels/quantize.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "kernels/norm.h"
#include "kernels/parallel.h"
#include "kernels/quantized_data.h"
#include "kernels/random_data.h"
#include "kernels/twin_checks.h"
#include "tests/kernels/every_target.h"
#include "tests/support/comparator.h"

namespace tern::test {
namespace {

template <class T>
MatView<const T> AsRow(const AlignedBuffer<T>& buffer) {
  return buffer.View(1, buffer.size());
}

void ExpectSame(QuantizedData& expected, QuantizedData& got) {
  EXPECT_TRUE(SameBits(AsRow(expected.codes), AsRow(got.codes)));
  EXPECT_TRUE(SameBits(AsRow(expected.scales), AsRow(got.scales)));
  EXPECT_TRUE(SameBits(AsRow(expected.sums), AsRow(got.sums)));
}

const size_t kWidths[] = {1,  2,  3,  4,  5,  7,  8,  9,   15,  16,
                          17, 31, 32, 33, 63, 64, 65, 100, 257, 1000};

TEST(QuantizeRows, EqualsTheTwinOnEveryTarget) {
  OnEveryTarget([] {
    for (const size_t k : kWidths) EXPECT_EQ(CheckQuantizeRows(k), "") << k;
  });
}

TEST(QuantizeRows, RoundsHalvesToEven) {
  OnEveryTarget([] {
    // absmax 127 makes the scale 1, so that codes are the rounded inputs.
    std::vector<float> x = {127.0f, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -2.5f, 126.5f, -127.0f};
    const int8_t expected[] = {127, 0, 2, 2, 0, -2, -2, 126, -127};
    QuantizedData got(1, x.size());
    QuantizeRows({x.data(), 1, x.size()}, got.Rows());
    for (size_t c = 0; c < x.size(); ++c) EXPECT_EQ(got.codes[c], expected[c]) << x[c];
    EXPECT_EQ(got.scales[0], 1.0f);
    EXPECT_EQ(got.sums[0], 0 + 127 + 2 + 2 - 2 - 2 + 126 - 127);
  });
}

TEST(QuantizeRows, NonFiniteInputShowsInTheScaleAndStaysInRange) {
  OnEveryTarget([] {
    for (const float bad :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
      for (const size_t k : {5u, 21u}) {
        for (size_t where = 0; where < k; ++where) {
          std::vector<float> x(k, 1.0f);
          x[where] = bad;
          QuantizedData got(1, k);
          QuantizeRows({x.data(), 1, k}, got.Rows());
          EXPECT_FALSE(std::isfinite(got.scales[0]));
          int32_t sum = 0;
          for (size_t c = 0; c < PadK(k); ++c) {
            EXPECT_GE(got.codes[c], -127);
            if (c >= k) {
              EXPECT_EQ(got.codes[c], 0);
            }
            sum += got.codes[c];
          }
          EXPECT_EQ(got.sums[0], sum);
        }
      }
    }
  });
}

TEST(RmsNorm, EqualsTheTwinOnEveryTarget) {
  OnEveryTarget([] {
    for (const size_t k : kWidths) EXPECT_EQ(CheckRmsNorm(k), "") << k;
  });
}

TEST(RmsNorm, WorksInPlace) {
  RandomData random(1);
  AlignedBuffer<float> x = random.Floats(2 * 37), y(2 * 37);
  const AlignedBuffer<float> gain = random.Floats(37);
  RmsNorm(x.View(2, 37), gain.span(), 1e-5f, y.View(2, 37));
  RmsNorm(x.View(2, 37), gain.span(), 1e-5f, x.View(2, 37));
  EXPECT_TRUE(SameBits(AsRow(y), AsRow(x)));
}

TEST(RmsNormQuantize, SameBitsAsTheTwoSteps) {
  OnEveryTarget([] {
    for (const size_t k : kWidths) EXPECT_EQ(CheckRmsNormQuantize(k), "") << k;
  });
}

TEST(RmsNormQuantize, RowsDependOnNothingButThemselves) {
  OnEveryTarget([] {
    constexpr size_t kRows = 97, kWidth = 700;  // 68k elements: two threads
    RandomData random(3);
    const AlignedBuffer<float> x = random.Floats(kRows * kWidth), gain = random.Floats(kWidth);
    QuantizedData alone(kRows, kWidth), together(kRows, kWidth);
    {
      const WithThreads threads(1);
      for (size_t r = 0; r < kRows; ++r) {
        RmsNormQuantize(x.View(kRows, kWidth).Rows(r, 1), gain.span(), 1e-5f, alone.Rows(r, 1));
      }
    }
    const WithThreads threads(2);
    RmsNormQuantize(x.View(kRows, kWidth), gain.span(), 1e-5f, together.Rows());
    ExpectSame(alone, together);
  });
}

}  // namespace
}  // namespace tern::test
