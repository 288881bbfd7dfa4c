// The benchmark of head training: what it flags, and its sanity values.
#include "trainer/head_benchmark.h"

#include <gtest/gtest.h>

#include <cmath>
#include <utility>
#include <vector>

namespace tern::test {
namespace {

TEST(StepTimes, EvenOnesAreFine) {
  const StepTimes times = Summarise({1.0, 1.02, 0.99, 1.01, 1.0, 1.03, 1.0, 0.98, 1.01, 1.0});
  EXPECT_NEAR(times.median, 1.0, 0.011);
  EXPECT_FALSE(times.grows());
  EXPECT_FALSE(times.spreads());
}

TEST(StepTimes, GrowthIsSeen) {
  const StepTimes times = Summarise({1.0, 1.0, 1.0, 1.05, 1.1, 1.1, 1.2, 1.2, 1.2});
  EXPECT_NEAR(times.growth, 0.2 / 1.1, 1e-9);
  EXPECT_TRUE(times.grows());
}

TEST(StepTimes, SpreadIsSeenButNotOneOutlierInTen) {
  EXPECT_TRUE(Summarise({1.0, 1.3, 1.0, 1.3, 1.0, 1.3, 1.0, 1.3, 1.0, 1.3}).spreads());
  EXPECT_FALSE(Summarise({1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 5.0}).spreads());
  EXPECT_EQ(Summarise({2.0}).median, 2.0);
}

TEST(BenchmarkHeads, UntrainedHeadsKnowNothing) {
  constexpr size_t kVocab = 700, kD = 64;
  const AlignedBuffer<BFloat16> table = RandomTable(kVocab, kD, 1);
  HeadTrainerOptions options;
  options.heads = 2;
  options.layers = 2;
  options.batch = 32;
  options.loss_shortlist = 100;
  options.loss_samples = 50;
  const HeadBenchmarkResult r =
      BenchmarkHeads(std::as_const(table).View(kVocab, kD), options, 3, 1);
  // Logits of deviation 0.1: the loss exceeds ln V by 0.005, and the mean over 64 places of the
  // target's own logit deviates by 0.1 / 8.
  EXPECT_NEAR(r.loss, std::log(700.0), 0.06);
  EXPECT_LE(r.top1, 5.0 / 64);  // expected: 64 / 700 hits
  EXPECT_EQ(r.places, 64u);
  EXPECT_GT(r.micro_seconds, 0);
  EXPECT_GT(r.update_seconds, 0);
  EXPECT_DOUBLE_EQ(r.gemm_macs, 64.0 * kD * (2 * 150 + (5 + 2) * kD));  // 2: R
  EXPECT_GE(r.parameters, 2 * 2 * kD * (kD + 1));
}

}  // namespace
}  // namespace tern::test
