// Compares matrices of results; a failure names the worst element, not the first.
#ifndef TERN_TESTS_SUPPORT_COMPARATOR_H_
#define TERN_TESTS_SUPPORT_COMPARATOR_H_

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#include "kernels/mat_view.h"

namespace tern::test {

// Allowed |got - expected|: absolute + relative * |expected|, or, where `scale` is set, absolute +
// relative * |scale(r, c)|, for sums whose error grows with the terms and not with the result.
struct Bound {
  double absolute = 0;
  double relative = 0;
  MatView<const double> scale = {};
};

// Every element within the bound. NaN on either side fails; equal infinities pass.
template <class E, class G>
::testing::AssertionResult AllNear(const MatView<E>& expected, const MatView<G>& got,
                                   const Bound& bound) {
  if (expected.rows != got.rows || expected.cols != got.cols) {
    return ::testing::AssertionFailure() << "expected [" << expected.rows << ", " << expected.cols
                                         << "], got [" << got.rows << ", " << got.cols << "]";
  }
  size_t failures = 0, worst_r = 0, worst_c = 0;
  double worst = -1;  // excess over the bound, as a ratio; NaN counts as infinite
  for (size_t r = 0; r < got.rows; ++r) {
    for (size_t c = 0; c < got.cols; ++c) {
      const auto e = static_cast<double>(expected.Row(r)[c]),
                 g = static_cast<double>(got.Row(r)[c]);
      if (e == g) continue;
      const double scale = bound.scale.data != nullptr ? bound.scale.Row(r)[c] : e;
      const double allowed = bound.absolute + bound.relative * std::fabs(scale);
      const double difference = std::fabs(g - e);
      if (difference <= allowed) continue;  // false for NaN
      ++failures;
      const double ratio = difference / allowed;
      const double excess = std::isnan(ratio) ? std::numeric_limits<double>::infinity() : ratio;
      if (excess > worst) worst = excess, worst_r = r, worst_c = c;
    }
  }
  if (failures == 0) return ::testing::AssertionSuccess();
  const auto e = static_cast<double>(expected.Row(worst_r)[worst_c]);
  const double scale = bound.scale.data != nullptr ? bound.scale.Row(worst_r)[worst_c] : e;
  return ::testing::AssertionFailure()
         << failures << " of " << got.rows * got.cols << " outside the bound; worst at (" << worst_r
         << ", " << worst_c << "): expected " << e << ", got "
         << static_cast<double>(got.Row(worst_r)[worst_c]) << ", allowed "
         << bound.absolute + bound.relative * std::fabs(scale);
}

// Every element the same bits (so NaN equals itself and 0 differs from -0).
template <class A, class B>
::testing::AssertionResult SameBits(const MatView<A>& expected, const MatView<B>& got) {
  static_assert(std::is_same_v<std::remove_const_t<A>, std::remove_const_t<B>>);
  if (expected.rows != got.rows || expected.cols != got.cols) {
    return ::testing::AssertionFailure() << "expected [" << expected.rows << ", " << expected.cols
                                         << "], got [" << got.rows << ", " << got.cols << "]";
  }
  for (size_t r = 0; r < got.rows; ++r) {
    for (size_t c = 0; c < got.cols; ++c) {
      if (std::memcmp(expected.Row(r) + c, got.Row(r) + c, sizeof(A)) == 0) continue;
      return ::testing::AssertionFailure() << "bits differ at (" << r << ", " << c << "): expected "
                                           << +expected.Row(r)[c] << ", got " << +got.Row(r)[c];
    }
  }
  return ::testing::AssertionSuccess();
}

}  // namespace tern::test

#endif  // TERN_TESTS_SUPPORT_COMPARATOR_H_
