// Simulated speculative decoding on ranks, and the curves of costs that it goes by.
#include "trainer/simulated_speed.h"

#include <gtest/gtest.h>

#include <array>
#include <vector>

#include "tests/support/error_text.h"
#include "tests/support/temp_dir.h"

namespace tern::test {
namespace {

CostCurve Curve(std::vector<CostCurve::Point> points) { return {std::move(points)}; }

TEST(CostCurve, LiesOnStraightLines) {
  const CostCurve curve = Curve({{1, 1.0}, {2, 1.5}, {6, 3.5}});
  EXPECT_EQ(curve.Of(1), 1.0);
  EXPECT_EQ(curve.Of(2), 1.5);
  EXPECT_EQ(curve.Of(4), 2.5);
  EXPECT_EQ(curve.Of(6), 3.5);
}

TEST(CostCurve, IsReadAsWritten) {
  const TempDir dir;
  const CostCurve curve = Curve({{1, 0.1}, {3, 0.30000000000000004}});
  const CostCurve read = ReadCostCurve(dir.Write("costs.json", CostCurveText(curve)));
  ASSERT_EQ(read.points.size(), 2u);
  EXPECT_EQ(read.points[1].rows, 3);
  EXPECT_EQ(read.points[1].seconds, 0.30000000000000004);
}

TEST(CostCurve, WhatIsNoneIsRefused) {
  const TempDir dir;
  for (const char* text :
       {"", "[]", R"({"rows": [], "seconds": []})", R"({"rows": [2], "seconds": [1]})",
        R"({"rows": [1, 1], "seconds": [1, 1]})", R"({"rows": [1, 65], "seconds": [1, 1]})",
        R"({"rows": [1, 2], "seconds": [1, 0]})", R"({"rows": [1, 2], "seconds": [1]})",
        R"({"rows": [1], "seconds": ["1"]})"}) {
    const std::string path = dir.Write("costs.json", text);
    EXPECT_NE(ErrorText([&] { ReadCostCurve(path); }).find("not a curve of costs"),
              std::string::npos)
        << text;
  }
}

// Of four kinds of places, evenly: both heads right, head 1 alone, head 1's second guess, none.
// Paths: (0) half of the places, (0 0) and (1) a quarter each.
TEST(SpeedSimulator, TakesTheTreeThatPays) {
  const std::vector<std::array<uint32_t, 2>> kinds = {{0, 0}, {0, 9}, {1, 9}, {9, 0}};
  SpeedSimulator simulator;
  for (int i = 0; i < 40; ++i) {
    simulator.Add(kinds[static_cast<size_t>(i) / 2 % 4],
                  i % 2 == 1);  // each for making and for judging
  }
  EXPECT_EQ(simulator.places(), 40u);
  // Rows for nothing: the whole tree.
  SimulatedSpeed best = simulator.Best(Curve({{1, 0.5}, {8, 0.5}}));
  EXPECT_EQ(best.rows, 4);
  EXPECT_DOUBLE_EQ(best.acceptance_length, 2.0);
  EXPECT_DOUBLE_EQ(best.tokens_per_second, 4.0);
  // Speeds 1/1, 1.5/1.3, 1.75/1.6, 2/1.9.
  best = simulator.Best(Curve({{1, 1.0}, {4, 1.9}}));
  EXPECT_EQ(best.rows, 2);
  EXPECT_DOUBLE_EQ(best.tokens_per_second, 1.5 / 1.3);
  // A row for the price of a pass: no drafts.
  best = simulator.Best(Curve({{1, 1.0}, {4, 4.0}}));
  EXPECT_EQ(best.rows, 1);
  EXPECT_DOUBLE_EQ(best.tokens_per_second, 1.0);
}

TEST(SpeedSimulator, TreesAreJudgedOnOtherPlaces) {
  SpeedSimulator simulator;
  for (uint32_t i = 0; i < 20; ++i) {
    const std::array<uint32_t, 1> ranks = {i % 2 == 0 ? 3u : 5u};
    simulator.Add(ranks, i % 2 == 1);
  }
  const SimulatedSpeed best = simulator.Best(Curve({{1, 1.0}, {2, 1.0}}));
  EXPECT_EQ(best.acceptance_length, 1.0) << "rank 3 came at every place but those that judge";
}

}  // namespace
}  // namespace tern::test
