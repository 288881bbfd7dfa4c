#include "trainer/flip_watch.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/error_text.h"

namespace tern {
namespace {

using ::tern::test::ErrorText;

// Shares that flipped per 100 steps in two layers of a healthy run (8m, 3,900 steps, learning rate
// 3e-3, warm-up of 500): the first record is of steps 0 to 100.
const std::vector<std::vector<double>> kHealthy = {
    {.148, .136}, {.262, .236}, {.277, .275}, {.272, .307}, {.264, .296}, {.232, .252},
    {.213, .236}, {.201, .213}, {.192, .173}, {.180, .152}, {.170, .139}, {.165, .127},
    {.158, .112}, {.152, .111}, {.149, .095}, {.145, .095}, {.142, .087}, {.138, .087}};

class FlipWatchTest : public ::testing::Test {
 protected:
  std::string Next(std::vector<double> shares) {
    const uint64_t from = step_;
    return watch_.Record(from, step_ += 100, shares);
  }
  void Settle() {
    for (const std::vector<double>& shares : kHealthy) EXPECT_EQ(Next(shares), "") << step_;
  }
  FlipWatch watch_{FlipWatchOptions(), 100, 500};
  uint64_t step_ = 0;
};

bool Has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST_F(FlipWatchTest, AHealthyRunIsQuiet) {
  Settle();
  EXPECT_FALSE(watch_.alarmed());
}

TEST_F(FlipWatchTest, AnEpisodeIsSaidOnce) {
  Settle();
  const std::string alarm = Next({.140, .260});
  EXPECT_TRUE(Has(alarm, "alarm: step 1900: 26% of the ternary weights of layer 1")) << alarm;
  // The level, 0.7 of it and 0.3 of each record, is still a little above the last records.
  EXPECT_TRUE(Has(alarm, " flipped in 100 steps, 2.574 times its running level")) << alarm;
  EXPECT_TRUE(watch_.alarmed());
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(Next({.135, .260}), "");
    EXPECT_TRUE(watch_.alarmed()) << "it does not become the running level";
  }
  EXPECT_EQ(Next({.13, .09}), "");
  EXPECT_FALSE(watch_.alarmed());
  EXPECT_TRUE(Has(Next({.40, .35}), "40% of the ternary weights of layer 0")) << "another episode";
}

TEST_F(FlipWatchTest, SeveralLayersAreOneLine) {
  Settle();
  EXPECT_TRUE(Has(Next({.45, .30}), "(2 layers in all)"));
}

TEST_F(FlipWatchTest, WarmUpIsNotJudged) {
  EXPECT_EQ(Next({.9, .9}), "");
  step_ = 499;
  EXPECT_EQ(Next({.9, .9}), "");
  step_ = 500;
  EXPECT_TRUE(Has(Next({.9, .1}),
                  "90% of the ternary weights of layer 0 flipped in 100 steps, "
                  "above --flip-alarm 50%"));
}

// A record right after a resume covers few steps: it says nothing about the level.
TEST_F(FlipWatchTest, ShortRecordsAreNoLevel) {
  step_ = 500;
  for (int i = 0; i < 5; ++i) EXPECT_EQ(watch_.Record(step_ + 98, step_ + 100, {.03, .03}), "");
  for (int i = 0; i < 5; ++i) EXPECT_EQ(Next({.2, .2}), "");
}

TEST_F(FlipWatchTest, LittleIsNeverTooMuch) {
  step_ = 500;
  for (int i = 0; i < 5; ++i) EXPECT_EQ(Next({.002, .002}), "");
  EXPECT_EQ(Next({.012, .012}), "");
}

TEST(FlipWatchOptions, AreChecked) {
  for (const double bad : {0.0, -1.0, 1.5, std::nan("")}) {
    FlipWatchOptions options;
    options.alarm = bad;
    EXPECT_TRUE(Has(ErrorText([&] { Validate(options); }), "--flip-alarm is ")) << bad;
  }
  FlipWatchOptions options;
  options.jump = 1;
  EXPECT_TRUE(Has(ErrorText([&] { Validate(options); }), "--flip-jump is 1, expected above 1"));
}

}  // namespace
}  // namespace tern
