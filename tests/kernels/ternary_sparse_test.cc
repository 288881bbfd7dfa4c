// Sparse products against the twin of the whole product, bit for bit, on every target.
#include "kernels/ternary_sparse.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <vector>

#include "kernels/parallel.h"
#include "kernels/quantized_data.h"
#include "kernels/random_data.h"
#include "kernels/ternary_matmul.h"
#include "kernels/twin_checks.h"
#include "tests/kernels/every_target.h"
#include "tests/support/comparator.h"

namespace tern::test {
namespace {

std::vector<int32_t> All(size_t n) {
  std::vector<int32_t> list(n);
  std::iota(list.begin(), list.end(), 0);
  return list;
}

TEST(TernarySparse, EqualsTheTwinForAllRemainders) {
  const WithThreads one(1);  // others below
  OnEveryTarget([] {
    for (const size_t rows : {1u, 5u, 64u, 255u, 257u}) {
      for (const size_t k : {1u, 15u, 64u, 256u, 257u, 530u}) {
        EXPECT_EQ(CheckTernarySparse(3, rows, k), "") << rows << " x " << k;
      }
    }
  });
}

// Both products of a matrix of equal weights and a row of equal codes.
void ExpectProducts(size_t rows, size_t k, int weight, int code) {
  AlignedBuffer<int8_t> weights(rows * k);
  for (int8_t& w : weights.span()) w = static_cast<int8_t>(weight);
  const TernaryMatrix packed = PackTernary(weights.View(rows, k), 1.0f);
  QuantizedData x(1, k);
  x.SetRow(0, 1.0f, [&](size_t) { return code; });
  const float expected = static_cast<float>(weight * code) * static_cast<float>(k);
  SparseScratch scratch(std::max(rows, k), rows, static_cast<size_t>(ThreadCount()));
  AlignedBuffer<float> by_rows(rows), by_columns(rows);
  TernaryRowsMatvec(PackLines(packed.View()), x.Rows(), All(rows), by_rows.span());
  TernaryColumnsMatvec(PackLinesOfColumns(packed.View()), x.Rows(), All(k), scratch,
                       by_columns.span());
  for (size_t r = 0; r < rows; ++r) {
    ASSERT_EQ(by_rows[r], expected) << rows << " x " << k << ", " << weight << " x " << code;
    ASSERT_EQ(by_columns[r], expected) << rows << " x " << k << ", " << weight << " x " << code;
  }
}

// Where 16-bit sums would overflow first, and at the longest row, where the 32-bit sums of columns
// come within 0.00005% of 2^31.
TEST(TernarySparse, ExactAtTheExtremes) {
  constexpr size_t kLongest = (1u << 24) / 127;
  OnEveryTarget([] {
    for (const int weight : {-1, 1}) {
      for (const int code : {-127, 127}) {
        for (const size_t k : {255u, 2560u, 4099u}) ExpectProducts(20, k, weight, code);
        const WithThreads one(1);  // all in one sum
        ExpectProducts(1, kLongest, weight, code);
      }
    }
  });
}

TEST(TernarySparse, SameBitsForAnyThreadsAndTarget) {
  constexpr size_t kRows = 700, kK = 3000;
  RandomData random(11);
  const AlignedBuffer<int8_t> weights = random.Ternaries(kRows * kK);
  const TernaryMatrix packed = PackTernary(weights.View(kRows, kK), 0.01f);
  const TernaryLines rows = PackLines(packed.View()), columns = PackLinesOfColumns(packed.View());
  QuantizedData x(1, kK);
  x.SetRow(0, 0.02f, [&](size_t c) { return c % 3 == 0 ? random.Code() : 0; });
  AlignedBuffer<float> expected(kRows), got(kRows);
  TernaryMatmul(packed.View(), x.Rows(), expected.View(1, kRows));
  OnEveryTarget([&] {
    for (const int count : {1, 2, 3, 5}) {
      const WithThreads threads(count);
      SparseScratch scratch(kK, kRows, static_cast<size_t>(count));
      TernaryColumnsMatvec(columns, x.Rows(), ListNonZero(x.codes.span().first(kK), scratch),
                           scratch, got.span());
      EXPECT_TRUE(SameBits(expected.View(1, kRows), got.View(1, kRows))) << count << " threads";
      TernaryRowsMatvec(rows, x.Rows(), All(kRows), got.span());
      EXPECT_TRUE(SameBits(expected.View(1, kRows), got.View(1, kRows))) << count << " threads";
    }
  });
}

TEST(TernarySparse, ListsWhatReluLeaves) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float tiny = std::numeric_limits<float>::denorm_min();
  OnEveryTarget([&] {
    for (const size_t n : {0u, 1u, 7u, 16u, 17u, 64u, 101u}) {
      std::vector<float> values(n);
      std::vector<int8_t> codes(n);
      std::vector<int32_t> positive, non_zero;
      for (size_t i = 0; i < n; ++i) {
        const float kinds[] = {0.0f, -0.0f, 1.0f, -1.0f, nan, tiny, -tiny};
        values[i] = kinds[i * i % 7];
        codes[i] = static_cast<int8_t>(i * i % 5 * 50 - 100);
        if (!(values[i] <= 0.0f)) positive.push_back(static_cast<int32_t>(i));
        if (codes[i] != 0) non_zero.push_back(static_cast<int32_t>(i));
      }
      SparseScratch scratch(n, 1, 1);
      const auto list = [](std::span<const int32_t> s) {
        return std::vector<int32_t>(s.begin(), s.end());
      };
      EXPECT_EQ(list(ListPositive(values, scratch)), positive) << n;
      EXPECT_EQ(list(ListNonZero(codes, scratch)), non_zero) << n;
    }
  });
}

}  // namespace
}  // namespace tern::test
