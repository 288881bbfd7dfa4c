#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/parallel.h"
#include "tests/support/error_text.h"
#include "trainer/adamw.h"
#include "trainer/permutation.h"
#include "trainer/schedule.h"
#include "trainer/stability.h"

namespace tern::test {
namespace {

ScheduleOptions Example() {
  ScheduleOptions options;
  options.steps = 100;
  options.warmup_steps = 10;
  options.peak = 1.0;
  options.stage1_end = 0.5;
  options.stage2_start = 0.3;
  options.final = 0.0;
  return options;
}

TEST(ScheduleTest, WarmsUpAndDecaysInTwoStages) {
  const ScheduleOptions options = Example();
  const auto rate = [&](uint64_t step) { return RatesAt(options, step).learning_rate; };
  EXPECT_DOUBLE_EQ(rate(0), 0.1);
  EXPECT_DOUBLE_EQ(rate(9), 1.0);
  EXPECT_DOUBLE_EQ(rate(10), 1.0);
  EXPECT_DOUBLE_EQ(rate(30), 0.75);  // half of stage 1's 40 steps after warm-up
  EXPECT_DOUBLE_EQ(rate(50), 0.3);   // stage 2 begins
  EXPECT_DOUBLE_EQ(rate(75), 0.15);
  EXPECT_NEAR(rate(99), 0.006, 1e-15);
  EXPECT_DOUBLE_EQ(RatesAt(options, 49).weight_decay, 0.1);
  EXPECT_DOUBLE_EQ(RatesAt(options, 50).weight_decay, 0.0);
}

TEST(ScheduleTest, Cosine) {
  ScheduleOptions options = Example();
  options.cosine = true;
  EXPECT_NEAR(RatesAt(options, 30).learning_rate, 0.75, 1e-15);
  EXPECT_NEAR(RatesAt(options, 20).learning_rate, 1 - 0.5 * (1 - std::sqrt(0.5)) / 2, 1e-15);
}

TEST(ScheduleTest, OneStageAndNoWarmUp) {
  ScheduleOptions options = Example();
  options.stage_boundary = 1;
  options.warmup_steps = 0;
  EXPECT_DOUBLE_EQ(RatesAt(options, 0).learning_rate, 1.0);
  EXPECT_DOUBLE_EQ(RatesAt(options, 50).learning_rate, 0.75);
  EXPECT_DOUBLE_EQ(RatesAt(options, 99).weight_decay, 0.1);
}

TEST(ScheduleTest, RejectsNonsense) {
  ScheduleOptions options = Example();
  options.stage_boundary = 1.5;
  EXPECT_NE(ErrorText([&] { Validate(options); }).find("--stage-boundary is 1.5"),
            std::string::npos);
  options = Example();
  options.peak = std::numeric_limits<double>::quiet_NaN();
  EXPECT_NE(ErrorText([&] { Validate(options); }).find("--lr is nan"), std::string::npos);
  options = Example();
  options.steps = 0;
  EXPECT_NE(ErrorText([&] { Validate(options); }), "");
}

// Two slices of the same four values, the first with decay; expected values from numpy in double:
//   g = 0.5 g; m = 0.9 m + 0.1 g; v = 0.95 v + 0.05 g^2; p -= lr wd p;
//   p -= lr (m / (1 - 0.9^t)) / (sqrt(v / (1 - 0.95^t)) + 1e-8)      lr 0.01, wd 0.1
TEST(AdamWTest, MatchesNumpy) {
  std::vector<ParameterSlice> slices(2);
  for (size_t s = 0; s < 2; ++s) {
    slices[s].offset = 16 * s;
    slices[s].rows = 4;
    slices[s].cols = 1;
    slices[s].decays = s == 0;
  }
  const float start[4] = {1.0f, -2.0f, 0.5f, 3.0f};
  const float steps[3][4] = {
      {0.1f, -0.2f, 0.0f, 4.0f}, {-0.3f, 0.1f, 1e-3f, 2.0f}, {0.05f, 0.05f, 0.05f, -1.0f}};
  std::vector<float> parameters(32), gradients(32);
  for (size_t s = 0; s < 2; ++s) std::copy_n(start, 4, &parameters[16 * s]);
  parameters[8] = 5;  // between the slices: not a parameter
  AdamWState state(32);
  for (uint64_t t = 1; t <= 3; ++t) {
    for (size_t s = 0; s < 2; ++s) std::copy_n(steps[t - 1], 4, &gradients[16 * s]);
    ApplyAdamW({}, {t, {0.01, 0.1}, 0.5}, slices, parameters, gradients, state);
    EXPECT_TRUE(std::ranges::all_of(gradients, [](float g) { return g == 0; }));
  }
  const double decayed[4] = {0.99469215, -1.98071982, 0.48481625, 2.96590531};
  const double plain[4] = {0.99767406, -1.98669114, 0.4863074, 2.97486693};
  const double m[4] = {-0.00695, -0.0011, 0.002545, 0.202};
  const double v[4] = {1.2128125e-03, 6.0125e-04, 3.1261875e-05, 2.405e-01};
  // fp32 with three updates of a few roundings each: 16 units in the last place of a value up to 3,
  // and the 1e-8 to which the expected values are printed.
  for (size_t i = 0; i < 4; ++i) {
    const double eps = std::numeric_limits<float>::epsilon();
    EXPECT_NEAR(parameters[i], decayed[i], 16 * eps * std::fabs(decayed[i]) + 1e-8) << i;
    EXPECT_NEAR(parameters[16 + i], plain[i], 16 * eps * std::fabs(plain[i]) + 1e-8) << i;
    EXPECT_NEAR(state.m[i], m[i], 16 * eps * 0.3) << i;  // terms up to 0.3 cancel
    EXPECT_NEAR(state.v[i], v[i], 16 * eps * v[i]) << i;
  }
  EXPECT_EQ(parameters[8], 5);
}

TEST(ClippingTest, NormIsTheSameForEveryThreadCount) {
  std::vector<float> values(100003);
  double squares = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<float>(static_cast<double>(Mix64(5, i) >> 11) * 0x1p-53 - 0.5);
    squares += static_cast<double>(values[i]) * values[i];
  }
  const int threads = ThreadCount();
  SetThreadCount(1);
  const double one = GlobalNorm(values);
  SetThreadCount(3);
  const double three = GlobalNorm(values);
  SetThreadCount(threads);
  EXPECT_EQ(one, three);
  // Double sums of n positive terms, in another order: relative error below n * 2^-53.
  EXPECT_NEAR(one, std::sqrt(squares), one * 100003 * 0x1p-53);
}

TEST(ClippingTest, Scale) {
  EXPECT_EQ(ClipScale(0.5, 1.0), 1.0);
  EXPECT_EQ(ClipScale(4.0, 1.0), 0.25);
  EXPECT_EQ(ClipScale(4.0, 0.0), 1.0);
  EXPECT_EQ(GlobalNorm(std::vector<float>{3, 4}), 5.0);
  EXPECT_FALSE(
      std::isfinite(GlobalNorm(std::vector<float>{1, std::numeric_limits<float>::infinity()})));
}

TEST(StabilityTest, FindsNanAndSpikes) {
  StabilityOptions options;
  options.settle_steps = 10;
  StabilityState state;
  const auto judge = [&](double loss, double norm = 1) {
    return Judge(options, loss, norm, state);
  };
  EXPECT_EQ(judge(50), StepVerdict::kGood);  // nothing to compare with yet
  for (int i = 0; i < 100; ++i) EXPECT_EQ(judge(2 + 0.05 * (i % 3)), StepVerdict::kGood) << i;
  EXPECT_EQ(judge(std::nan("")), StepVerdict::kNotFinite);
  EXPECT_EQ(judge(2, std::numeric_limits<double>::infinity()), StepVerdict::kNotFinite);
  const StabilityState before = state;
  EXPECT_EQ(judge(100), StepVerdict::kSpike);
  EXPECT_EQ(state.mean, before.mean) << "a bad step is no part of the mean";
  EXPECT_EQ(state.good_steps, before.good_steps);
  EXPECT_EQ(judge(0.1), StepVerdict::kGood) << "a low loss is no spike";
}

TEST(StabilityTest, SmallJumpsAreNoSpikes) {
  StabilityOptions options;
  StabilityState state;
  for (int i = 0; i < 200; ++i) Judge(options, 2.0, 1, state);  // no deviation at all
  EXPECT_EQ(Judge(options, 2.4, 1, state), StepVerdict::kGood);
  EXPECT_EQ(Judge(options, 2.9, 1, state), StepVerdict::kSpike);
}

TEST(StabilityTest, RejectsNonsense) {
  StabilityOptions options;
  options.memory = 1;
  EXPECT_NE(ErrorText([&] { Validate(options); }).find("--spike-memory"), std::string::npos);
}

}  // namespace
}  // namespace tern::test
