#include "kernels/dense_matmul.h"

#include <gtest/gtest.h>

#include <tuple>
#include <vector>

#include "kernels/parallel.h"
#include "kernels/twin_checks.h"

namespace tern {
namespace {

TEST(DenseMatmul, ExactProductsOfEveryLayout) {
  for (auto [m, k, n] : {std::tuple{1u, 1u, 1u}, {5u, 7u, 3u}, {64u, 64u, 48u}, {33u, 20u, 130u}}) {
    EXPECT_EQ(CheckDenseMatmul(m, k, n), "") << m << " x " << k << " x " << n;
  }
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
