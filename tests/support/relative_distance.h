// How far vectors lie apart.
#ifndef TERN_TESTS_SUPPORT_RELATIVE_DISTANCE_H_
#define TERN_TESTS_SUPPORT_RELATIVE_DISTANCE_H_

#include <gtest/gtest.h>

#include <cmath>
#include <span>

namespace tern::test {

// |a - b| / |b|; of vectors of one size.
inline double RelativeDistance(std::span<const float> a, std::span<const float> b) {
  EXPECT_EQ(a.size(), b.size());
  double difference = 0, squares = 0;
  for (size_t i = 0; i < b.size(); ++i) {
    const double x = a[i], y = b[i];
    difference += (x - y) * (x - y);
    squares += y * y;
  }
  return std::sqrt(difference / squares);
}

}  // namespace tern::test

#endif  // TERN_TESTS_SUPPORT_RELATIVE_DISTANCE_H_
