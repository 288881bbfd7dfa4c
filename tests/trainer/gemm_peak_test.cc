#include <gtest/gtest.h>

#include "trainer/machine.h"

namespace tern::test {
namespace {

TEST(GemmPeak, OnlyRises) {
  for (const bool bfloat16 : {false, true}) {
    GemmPeak peak(bfloat16);
    const double first = peak.macs_per_second();
    EXPECT_GT(first, 1e6);  // a CPU does a million multiplications a second
    peak.Measure();
    EXPECT_GE(peak.macs_per_second(), first);
    peak.AtLeast(1);
    EXPECT_GE(peak.macs_per_second(), first);
    peak.AtLeast(1e18);
    EXPECT_EQ(peak.macs_per_second(), 1e18);
    peak.Measure();
    EXPECT_EQ(peak.macs_per_second(), 1e18);
  }
}

}  // namespace
}  // namespace tern::test
