#include "tests/support/comparator.h"

#include <limits>
#include <string>
#include <vector>

namespace tern::test {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

MatView<const float> Row(const std::vector<float>& values) {
  return {values.data(), 1, values.size()};
}

TEST(Comparator, AcceptsUpToTheBoundAndNoFurther) {
  const std::vector<float> expected = {1.0f, -2.0f}, near = {1.25f, -2.25f}, far = {1.0f, -2.5f};
  EXPECT_TRUE(AllNear(Row(expected), Row(near), {.absolute = 0.25}));
  EXPECT_FALSE(AllNear(Row(expected), Row(far), {.absolute = 0.25}));
  EXPECT_TRUE(AllNear(Row(expected), Row(far), {.relative = 0.25}));
  EXPECT_FALSE(AllNear(Row(expected), Row(near), {.relative = 0.2}));
}

TEST(Comparator, NegativeDifferencesCount) {
  const std::vector<float> expected = {-1.0f}, got = {-3.0f};
  EXPECT_FALSE(AllNear(Row(expected), Row(got), {.absolute = 0.5}));
  EXPECT_FALSE(AllNear(Row(expected), Row(got), {.relative = 0.5}));
  EXPECT_FALSE(AllNear(Row(got), Row(expected), {.absolute = 0.5}));
}

TEST(Comparator, NaNIsNeverNear) {
  const std::vector<float> number = {1.0f}, nan = {kNaN};
  const Bound loose = {.absolute = 1e9, .relative = 1e9};
  EXPECT_FALSE(AllNear(Row(number), Row(nan), loose));
  EXPECT_FALSE(AllNear(Row(nan), Row(number), loose));
  EXPECT_FALSE(AllNear(Row(nan), Row(nan), loose));
}

TEST(Comparator, InfinitiesMustBeEqual) {
  const std::vector<float> number = {1.0f}, infinity = {kInfinity}, minus = {-kInfinity};
  EXPECT_TRUE(AllNear(Row(infinity), Row(infinity), {}));
  EXPECT_FALSE(AllNear(Row(number), Row(infinity), {.absolute = 1e9}));
  EXPECT_FALSE(AllNear(Row(infinity), Row(minus), {.absolute = 1e9}));
}

TEST(Comparator, ShapesMustAgree) {
  const std::vector<float> data(6);
  const MatView<const float> wide(data.data(), 2, 3), tall(data.data(), 3, 2);
  EXPECT_FALSE(AllNear(wide, tall, {.absolute = 1}));
  EXPECT_FALSE(SameBits(wide, tall));
}

TEST(Comparator, BoundMayFollowAScaleOfItsOwn) {
  const std::vector<float> expected = {0.0f, 0.0f}, got = {0.5f, 0.5f};
  const std::vector<double> scales = {1.0, 0.1};
  const Bound bound = {.relative = 0.5, .scale = {scales.data(), 1, 2}};
  EXPECT_FALSE(AllNear(Row(expected), Row(got), bound));
  const std::vector<float> fits = {0.5f, 0.03f};
  EXPECT_TRUE(AllNear(Row(expected), Row(fits), bound));
}

TEST(Comparator, ReportsTheWorstElement) {
  const std::vector<float> expected(4, 1.0f), got = {1.0f, 1.5f, 9.0f, 1.5f};
  const ::testing::AssertionResult result = AllNear(Row(expected), Row(got), {.absolute = 0.25});
  ASSERT_FALSE(result);
  const std::string message = result.message();
  EXPECT_NE(message.find("3 of 4"), std::string::npos) << message;
  EXPECT_NE(message.find("(0, 2)"), std::string::npos) << message;
  EXPECT_NE(message.find("got 9,"), std::string::npos) << message;
}

TEST(Comparator, SameBitsTellsZeroesApart) {
  const std::vector<float> zero = {0.0f}, minus = {-0.0f}, nan = {kNaN};
  EXPECT_TRUE(SameBits(Row(zero), Row(zero)));
  EXPECT_TRUE(SameBits(Row(nan), Row(nan)));
  EXPECT_FALSE(SameBits(Row(zero), Row(minus)));
}

}  // namespace
}  // namespace tern::test
