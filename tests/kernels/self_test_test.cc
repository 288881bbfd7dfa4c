#include "kernels/self_test.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kernels/findings.h"
#include "tests/kernels/every_target.h"

namespace tern::test {
namespace {

TEST(SelfTest, FindsNothingWrongHere) {
  OnEveryTarget([] {
    for (const KernelCheck& check : CheckKernels()) EXPECT_EQ(check.problem, "") << check.kernel;
  });
}

TEST(Findings, TellTheFirstThingThatIsWrong) {
  const float a[] = {1, 2}, b[] = {1, 3};
  const MatView<const float> left(a, 1, 2), right(b, 1, 2);
  Findings findings;
  findings.Same("same", left, left);
  findings.Near("near", left, right, {.absolute = 1});
  findings.Close("close", 1, 1.5, 0.5);
  findings.That(true, "true");
  EXPECT_EQ(findings.text(), "");
  findings.Close("close", 1, NAN, 0.5);
  EXPECT_EQ(findings.text().find("close: expected 1, got nan"), 0u) << findings.text();
  findings.Same("same", left, right);
  findings.That(false, "false");
  EXPECT_EQ(findings.text().find("close"), 0u);
}

}  // namespace
}  // namespace tern::test
