#include "kernels/dense_matmul.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <tuple>
#include <vector>

#include "kernels/aligned_buffer.h"
#include "kernels/parallel.h"

namespace tern {
namespace {

template <class T>
T Convert(float value) {
  if constexpr (sizeof(T) == 2) {
    return BFloat16::FromFloat(value);
  } else {
    return value;
  }
}
float Value(float value) { return value; }
float Value(BFloat16 value) { return value.ToFloat(); }

// Small integers are exact in bf16 and their sums exact in fp32, so every order gives the same
// bits: |sum| <= 64 * 127 * 4 + 127 < 2^24.
template <class T>
void ExpectExactProduct(Transpose ta, Transpose tb, float beta, size_t m, size_t k, size_t n) {
  std::mt19937 random(7);
  std::uniform_int_distribution<int> codes(-127, 127), small(-4, 4);
  const bool at = ta == Transpose::kYes, bt = tb == Transpose::kYes;
  // Strides beyond the width: the GEMM must not read or write what lies between rows.
  const size_t a_stride = (at ? m : k) + 3, b_stride = (bt ? k : n) + 5, c_stride = n + 2;
  std::vector<T> a((at ? k : m) * a_stride), b((bt ? n : k) * b_stride);
  std::vector<float> c(m * c_stride, 11.0f);
  for (T& value : a) value = Convert<T>(static_cast<float>(codes(random)));
  for (T& value : b) value = Convert<T>(static_cast<float>(small(random)));
  DenseMatmul(MatView<const T>(a.data(), at ? k : m, at ? m : k, a_stride), ta,
              MatView<const T>(b.data(), bt ? n : k, bt ? k : n, b_stride), tb, beta,
              MatView<float>(c.data(), m, n, c_stride));
  for (size_t i = 0; i < m; ++i) {
    for (size_t j = 0; j < c_stride; ++j) {
      double want = 11.0;
      if (j < n) {
        want = beta * 11.0;
        for (size_t p = 0; p < k; ++p) {
          want += double{Value(a[at ? p * a_stride + i : i * a_stride + p])} *
                  Value(b[bt ? j * b_stride + p : p * b_stride + j]);
        }
      }
      ASSERT_EQ(c[i * c_stride + j], want) << i << "," << j << " of " << m << "x" << k << "x" << n;
    }
  }
}

template <class T>
void ExpectExactProducts() {
  for (Transpose ta : {Transpose::kNo, Transpose::kYes}) {
    for (Transpose tb : {Transpose::kNo, Transpose::kYes}) {
      for (float beta : {0.0f, 1.0f}) {
        for (auto [m, k, n] : {std::tuple{1, 1, 1}, {5, 7, 3}, {64, 64, 48}, {33, 20, 130}}) {
          ExpectExactProduct<T>(ta, tb, beta, m, k, n);
        }
      }
    }
  }
}

TEST(DenseMatmul, Float) { ExpectExactProducts<float>(); }

TEST(DenseMatmul, BFloat16) {
  if (!HasBFloat16Matmul()) GTEST_SKIP() << "no bf16 matrix multiplication on this CPU";
  ExpectExactProducts<BFloat16>();
}

TEST(DenseMatmul, InsideParallelForEachRangeComputesItsOwn) {
  constexpr size_t kTasks = 4, kSize = 40;
  std::vector<float> a(kSize * kSize, 1.0f), b(kSize * kSize, 2.0f), c(kTasks * kSize * kSize);
  ParallelFor(kTasks, 1, [&](size_t begin, size_t end) {
    for (size_t task = begin; task < end; ++task) {
      DenseMatmul(MatView<const float>(a.data(), kSize, kSize), Transpose::kNo,
                  MatView<const float>(b.data(), kSize, kSize), Transpose::kNo, 0.0f,
                  MatView<float>(c.data() + task * kSize * kSize, kSize, kSize));
    }
  });
  for (float value : c) ASSERT_EQ(value, 2.0f * kSize);
}

TEST(DenseMatmul, NoRowsWriteNothing) {
  std::vector<float> b(12, 1.0f), c(3, 777.0f);
  DenseMatmul(MatView<const float>(b.data(), 0, 4), Transpose::kNo,
              MatView<const float>(b.data(), 4, 3), Transpose::kNo, 0.0f,
              MatView<float>(c.data(), 0, 3));
  for (float value : c) EXPECT_EQ(value, 777.0f);
}

TEST(DenseMatmul, NamesItsLibraryVersion) {
  EXPECT_EQ(std::string(DenseMatmulLibraryVersion()).substr(0, 2), "2.");
}

}  // namespace
}  // namespace tern
