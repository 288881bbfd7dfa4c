#include "kernels/training_rows.h"

#include <gtest/gtest.h>

#include "kernels/twin_checks.h"
#include "tests/kernels/every_target.h"

namespace tern::test {
namespace {

const size_t kWidths[] = {1, 2, 3, 5, 8, 15, 16, 17, 31, 33, 64, 100, 257};

TEST(TrainingRows, EqualTheTwinsInBothElementTypes) {
  OnEveryTarget([] {
    for (const size_t n : kWidths) EXPECT_EQ(CheckTrainingRows(n), "") << n;
  });
}

TEST(TrainingRows, GradientsEqualTheTwins) {
  OnEveryTarget([] {
    for (const size_t n : kWidths) EXPECT_EQ(CheckTrainingGradients(n), "") << n;
  });
}

TEST(TrainingRows, RotateHeadEqualsTheTwin) {
  OnEveryTarget([] {
    for (const size_t n : {2u, 6u, 16u, 24u, 64u, 66u, 128u}) EXPECT_EQ(CheckRotateHead(n), "");
  });
}

}  // namespace
}  // namespace tern::test
