// kernels/difference.h in the words of GoogleTest.
#ifndef TERN_TESTS_SUPPORT_COMPARATOR_H_
#define TERN_TESTS_SUPPORT_COMPARATOR_H_

#include <gtest/gtest.h>

#include <string>

#include "kernels/difference.h"

namespace tern::test {

inline ::testing::AssertionResult NoDifference(const std::string& difference) {
  if (difference.empty()) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << difference;
}

template <class E, class G>
::testing::AssertionResult AllNear(const MatView<E>& expected, const MatView<G>& got,
                                   const Bound& bound) {
  return NoDifference(Difference(expected, got, bound));
}

template <class A, class B>
::testing::AssertionResult SameBits(const MatView<A>& expected, const MatView<B>& got) {
  return NoDifference(BitDifference(expected, got));
}

}  // namespace tern::test

#endif  // TERN_TESTS_SUPPORT_COMPARATOR_H_
