#include "kernels/training_attention.h"

#include <gtest/gtest.h>

#include "kernels/dense_matmul.h"
#include "kernels/twin_checks.h"
#include "tests/kernels/every_target.h"

namespace tern::test {
namespace {

// One token, a block of queries exactly, one more, and one head; in fp32 and, where the CPU
// multiplies bf16, in bf16.
TEST(TrainingAttention, EqualsTheTwins) {
  HasBFloat16Matmul();  // oneDNN takes the target in force at its first use for good: the highest
  OnEveryTarget([] {
    EXPECT_EQ(CheckTrainingAttention(1, 2, 8), "");
    EXPECT_EQ(CheckTrainingAttention(5, 3, 24), "");
    EXPECT_EQ(CheckTrainingAttention(128, 1, 16), "");
    EXPECT_EQ(CheckTrainingAttention(129, 2, 16), "");
    EXPECT_EQ(CheckTrainingAttention(150, 1, 7), "");
  });
}

}  // namespace
}  // namespace tern::test
