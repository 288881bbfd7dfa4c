#include "trainer/calibration_fit.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "engine/error.h"
#include "tests/support/byte_tokenizer.h"
#include "tests/support/error_text.h"
#include "tests/support/random_heads.h"
#include "tests/support/tiny_model.h"
#include "trainer/head_rows.h"

namespace tern {
namespace {

std::vector<Prompt> Prompts(int count) {
  std::vector<Prompt> prompts;
  for (int i = 0; i < count; ++i)
    prompts.push_back({std::to_string(i), "text " + std::to_string(i * 37), 1, "t", "f"});
  return prompts;
}

TEST(CalibrationFit, ExpectsWhatComes) {
  const Model model = MakeTinyModel();
  const ByteTokenizer tokenizer;
  // Heads that repeat the backbone's guess: sure, and seldom right.
  const MedusaHeads heads = ZeroMedusaHeads(2, 64);
  const CalibrationOptions options{.max_tokens = 50, .parallel = 4, .seed = 5};
  size_t done = 0;
  const CalibrationReport report = FitCalibration(model, tokenizer, heads, Prompts(8), options,
                                                  [&](size_t texts) { EXPECT_EQ(texts, ++done); });
  EXPECT_EQ(done, 32u);
  const DraftCalibration& fit = report.calibration;
  ASSERT_TRUE(fit.fitted());
  EXPECT_EQ(fit.heads(), 2);
  EXPECT_LE(fit.tokens, 8 * 50 * 4);
  for (const auto& range : fit.ranges) {
    for (const auto& rates : range.by_rank) EXPECT_TRUE(std::ranges::is_sorted(rates));
  }
  for (size_t r = 0; r < report.truths.size(); ++r) {
    const HeadTruth& first = report.truths[r][0];
    ASSERT_GT(first.places, 100) << r;
    // Eight standard deviations of a share among so many places, half of them for the places that
    // it was fitted on, since neighbouring ones are alike.
    const double bound = 8.0 * 0.5 / std::sqrt(static_cast<double>(first.places));
    EXPECT_NEAR(first.expected, first.came, bound) << r;
    EXPECT_LE(std::abs(first.expected - first.came),
              std::abs(first.expected_before - first.came_before) + 0.05)
        << r;
  }
  // The same texts give the same fit.
  const CalibrationReport again = FitCalibration(model, tokenizer, heads, Prompts(8), options);
  EXPECT_EQ(again.calibration.noise, fit.noise);
  for (size_t r = 0; r < fit.ranges.size(); ++r) {
    EXPECT_EQ(again.calibration.ranges[r].spreads, fit.ranges[r].spreads);
    EXPECT_EQ(again.calibration.ranges[r].by_rank, fit.ranges[r].by_rank);
  }
}

TEST(CalibrationFit, TooFewPlacesSayNothing) {
  const Model model = MakeTinyModel();
  const ByteTokenizer tokenizer;
  const std::string error = test::ErrorText([&] {
    FitCalibration(model, tokenizer, ZeroMedusaHeads(1, 64), Prompts(1), {.max_tokens = 3});
  });
  EXPECT_NE(error.find("give more prompts"), std::string::npos) << error;
}

// Prompts picked by it are those whose texts train does not see.
TEST(HeldOutTexts, AreTheLastOfTheOrder) {
  EXPECT_EQ(HeldOutTexts(5000, 0.02), 100u);
  EXPECT_EQ(HeldOutTexts(10, 0.0), 1u);
  std::vector<uint64_t> order;
  for (uint64_t i = 0; i < 50; ++i) order.push_back(TextInOrder(i, 50));
  EXPECT_FALSE(std::ranges::is_sorted(order));
  std::ranges::sort(order);
  for (uint64_t i = 0; i < 50; ++i) EXPECT_EQ(order[i], i);
}

}  // namespace
}  // namespace tern
