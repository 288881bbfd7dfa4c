// Runs a check on every instruction set this CPU can run.
#ifndef TERN_TESTS_KERNELS_EVERY_TARGET_H_
#define TERN_TESTS_KERNELS_EVERY_TARGET_H_

#include <gtest/gtest.h>

#include <string>

#include "kernels/dispatch.h"

namespace tern::test {

// Calls fn() under each target in turn; leaves the highest in force.
template <class Fn>
void OnEveryTarget(const Fn& fn) {
  for (const std::string& target : SupportedTargets()) {
    SCOPED_TRACE("target " + target);
    ASSERT_TRUE(SetMaxTarget(target));
    ASSERT_EQ(CurrentTarget(), target);
    fn();
  }
}

}  // namespace tern::test

#endif  // TERN_TESTS_KERNELS_EVERY_TARGET_H_
