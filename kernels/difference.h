// Compares matrices of results; what it says names the worst element, not the first.
#ifndef TERN_KERNELS_DIFFERENCE_H_
#define TERN_KERNELS_DIFFERENCE_H_

#include <cmath>
#include <cstring>
#include <limits>
#include <sstream>
#include <string>
#include <type_traits>

#include "kernels/mat_view.h"

namespace tern {

// Allowed |got - expected|: absolute + relative * |expected|, or, where `scale` is set, absolute +
// relative * |scale(r, c)|, for sums whose error grows with the terms and not with the result.
struct Bound {
  double absolute = 0;
  double relative = 0;
  MatView<const double> scale = {};
};

namespace internal {
template <class E, class G>
std::string ShapeDifference(const MatView<E>& expected, const MatView<G>& got) {
  if (expected.rows == got.rows && expected.cols == got.cols) return "";
  return (std::ostringstream() << "expected [" << expected.rows << ", " << expected.cols
                               << "], got [" << got.rows << ", " << got.cols << "]")
      .str();
}
}  // namespace internal

// "" where every element is within the bound. NaN on either side is not; equal infinities are.
template <class E, class G>
std::string Difference(const MatView<E>& expected, const MatView<G>& got, const Bound& bound) {
  if (std::string shape = internal::ShapeDifference(expected, got); !shape.empty()) return shape;
  const auto allowed_at = [&](size_t r, size_t c) {
    const double scale = bound.scale.data != nullptr ? bound.scale.Row(r)[c]
                                                     : static_cast<double>(expected.Row(r)[c]);
    return bound.absolute + bound.relative * std::fabs(scale);
  };
  size_t failures = 0, worst_r = 0, worst_c = 0;
  double worst = -1;  // excess over the bound, as a ratio; NaN counts as infinite
  for (size_t r = 0; r < got.rows; ++r) {
    for (size_t c = 0; c < got.cols; ++c) {
      const auto e = static_cast<double>(expected.Row(r)[c]),
                 g = static_cast<double>(got.Row(r)[c]);
      if (e == g) continue;
      const double allowed = allowed_at(r, c), difference = std::fabs(g - e);
      if (difference <= allowed) continue;  // false for NaN
      ++failures;
      const double ratio = difference / allowed;
      const double excess = std::isnan(ratio) ? std::numeric_limits<double>::infinity() : ratio;
      if (excess > worst) worst = excess, worst_r = r, worst_c = c;
    }
  }
  if (failures == 0) return "";
  std::ostringstream text;
  text << failures << " of " << got.rows * got.cols << " outside the bound; worst at (" << worst_r
       << ", " << worst_c << "): expected " << static_cast<double>(expected.Row(worst_r)[worst_c])
       << ", got " << static_cast<double>(got.Row(worst_r)[worst_c]) << ", allowed "
       << allowed_at(worst_r, worst_c);
  return text.str();
}

// "" where every element has the same bits (so NaN equals itself and 0 differs from -0).
template <class A, class B>
std::string BitDifference(const MatView<A>& expected, const MatView<B>& got) {
  static_assert(std::is_same_v<std::remove_const_t<A>, std::remove_const_t<B>>);
  if (std::string shape = internal::ShapeDifference(expected, got); !shape.empty()) return shape;
  for (size_t r = 0; r < got.rows; ++r) {
    for (size_t c = 0; c < got.cols; ++c) {
      if (std::memcmp(expected.Row(r) + c, got.Row(r) + c, sizeof(A)) == 0) continue;
      return (std::ostringstream() << "bits differ at (" << r << ", " << c << "): expected "
                                   << +expected.Row(r)[c] << ", got " << +got.Row(r)[c])
          .str();
    }
  }
  return "";
}

}  // namespace tern

#endif  // TERN_KERNELS_DIFFERENCE_H_
