#include "kernels/ternary_pack.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "kernels/quantize.h"
#include "kernels/random_data.h"
#include "kernels/reference.h"
#include "tests/support/comparator.h"

namespace tern::test {
namespace {

TEST(PackTernary, FollowsThePictureAndComesBack) {
  for (const size_t rows : {1u, 2u, 31u, 32u, 33u, 80u}) {
    for (const size_t cols : {1u, 3u, 15u, 16u, 17u, 50u}) {
      SCOPED_TRACE(::testing::Message() << rows << " x " << cols);
      RandomData random(static_cast<uint32_t>(100 * rows + cols));
      AlignedBuffer<int8_t> weights = random.Ternaries(rows * cols), back(rows * cols);
      const TernaryMatrix packed = PackTernary(weights.View(rows, cols), 0.5f);
      EXPECT_EQ(packed.scale, 0.5f);
      const size_t padded_rows = (rows + 31) / 32 * 32;
      ASSERT_EQ(packed.data.size(), padded_rows * PadK(cols) / 4);
      ASSERT_EQ(packed.data.size(), PackedTernaryBytes(rows, cols));
      for (size_t r = 0; r < padded_rows; ++r) {
        for (size_t c = 0; c < PadK(cols); ++c) {
          const int expected = r < rows && c < cols ? weights[r * cols + c] : 0;
          ASSERT_EQ(reference::UnpackWeight(packed.View(), r, c), expected) << r << ", " << c;
        }
      }
      UnpackTernary(packed.View(), back.View(rows, cols));
      EXPECT_TRUE(SameBits(weights.View(rows, cols), back.View(rows, cols)));
    }
  }
}

// 40 rows are three rows of tiles, the last one half padding; weight (r, c) is two bits of byte
// 4 * (r % 16) + c % 4 of its tile.
TEST(CanonicalTernary, IsRowsOfTilesOfSixteen) {
  constexpr size_t kRows = 40, kCols = 50, kBlocks = 4;
  RandomData random(6);
  const AlignedBuffer<int8_t> weights = random.Ternaries(kRows * kCols);
  const AlignedBuffer<uint8_t> tiles =
      CanonicalTernary(PackTernary(weights.View(kRows, kCols), 1.0f).View());
  ASSERT_EQ(tiles.size(), 3 * kBlocks * 64);
  for (size_t r = 0; r < 48; ++r) {
    for (size_t c = 0; c < 64; ++c) {
      const uint8_t byte = tiles[(r / 16 * kBlocks + c / 16) * 64 + 4 * (r % 16) + c % 4];
      const int expected = r < kRows && c < kCols ? weights[r * kCols + c] : 0;
      ASSERT_EQ((byte >> (2 * (c % 16 / 4)) & 3) - 1, expected) << r << ", " << c;
    }
  }
}

TEST(PackTernary, ReadsRowsThroughTheStride) {
  RandomData random(5);
  const AlignedBuffer<int8_t> weights = random.Ternaries(20 * 40);
  const MatView<const int8_t> window(weights.data() + 3, 20, 21, 40);
  const TernaryMatrix packed = PackTernary(window, 1.0f);
  for (size_t r = 0; r < 20; ++r) {
    for (size_t c = 0; c < 21; ++c) {
      EXPECT_EQ(reference::UnpackWeight(packed.View(), r, c), window.Row(r)[c]);
    }
  }
}

// Bytes worked out by hand from P[r][c] = sum over parts of (W[r + part * R / 4][c] + 1) << (2 *
// part). Byte (0, 0): rows 0, 2, 4, 6 hold -1, 0, 1, -1, codes 0, 1, 2, 0: 0 + 4 + 32 + 0 = 36.
TEST(HuggingFacePacking, GoldenBytes) {
  const std::vector<int8_t> weights = {-1, -1, -1, -1, 1, -1, 0, 1, 0,  -1, 1,  0,  -1, -1, -1, -1,
                                       1,  -1, 0,  1,  0, -1, 1, 0, -1, -1, -1, -1, 1,  -1, 0,  1};
  const std::vector<uint8_t> golden = {36, 0, 24, 36, 146, 0, 97, 146};
  std::vector<uint8_t> bytes(golden.size());
  PackToHuggingFace({weights.data(), 8, 4}, bytes.data());
  EXPECT_EQ(bytes, golden);

  TernaryMatrix packed;
  size_t bad = 0;
  ASSERT_TRUE(PackFromHuggingFace(golden.data(), 8, 4, 2.0f, &packed, &bad));
  std::vector<int8_t> back(weights.size());
  UnpackTernary(packed.View(), {back.data(), 8, 4});
  EXPECT_EQ(back, weights);
  EXPECT_EQ(packed.scale, 2.0f);
}

TEST(HuggingFacePacking, RoundTrips) {
  for (const size_t rows : {4u, 8u, 36u, 64u}) {
    for (const size_t cols : {1u, 17u, 32u}) {
      RandomData random(static_cast<uint32_t>(100 * rows + cols));
      const AlignedBuffer<int8_t> weights = random.Ternaries(rows * cols);
      AlignedBuffer<uint8_t> bytes(rows / 4 * cols);
      PackToHuggingFace(weights.View(rows, cols), bytes.data());
      for (size_t i = 0; i < bytes.size(); ++i) {
        ASSERT_EQ(bytes[i],
                  reference::HuggingFaceByte(weights.View(rows, cols), i / cols, i % cols));
      }
      const TernaryMatrix expected = PackTernary(weights.View(rows, cols), 1.0f);
      TernaryMatrix got;
      size_t bad = 0;
      ASSERT_TRUE(PackFromHuggingFace(bytes.data(), rows, cols, 1.0f, &got, &bad));
      EXPECT_TRUE(
          SameBits(expected.data.View(1, expected.data.size()), got.data.View(1, got.data.size())));
    }
  }
}

TEST(HuggingFacePacking, ReportsTheFirstInvalidCode) {
  for (int part = 0; part < 4; ++part) {
    std::vector<uint8_t> bytes(12, 0x55);
    bytes[7] = static_cast<uint8_t>(3 << (2 * part));
    bytes[9] = 0xFF;
    TernaryMatrix packed;
    size_t bad = 0;
    EXPECT_FALSE(PackFromHuggingFace(bytes.data(), 8, 6, 1.0f, &packed, &bad));
    EXPECT_EQ(bad, 7u) << part;
  }
}

TEST(TernarizeAbsMean, EqualsTheTwin) {
  RandomData random(9);
  for (const size_t cols : {1u, 7u, 8u, 37u}) {
    const AlignedBuffer<float> weights = random.Floats(11 * cols, -0.1f, 0.1f);
    AlignedBuffer<int8_t> expected(11 * cols), got(11 * cols);
    const float mean = reference::TernarizeAbsMean(weights.View(11, cols), expected.View(11, cols));
    EXPECT_FLOAT_EQ(TernarizeAbsMean(weights.View(11, cols), got.View(11, cols)), mean);
    EXPECT_TRUE(SameBits(expected.View(11, cols), got.View(11, cols)));
  }
}

TEST(TernarizeAbsMean, HalfTheMeanRoundsToZeroAndTinyMatricesUseTheFloor) {
  // The mean of these magnitudes is 1: 0.5 is a tie (to even: 0), 0.75 rounds up.
  const std::vector<float> weights = {0.5f, -0.5f, 0.75f, -2.25f};
  std::vector<int8_t> got(4);
  EXPECT_EQ(TernarizeAbsMean({weights.data(), 1, 4}, {got.data(), 1, 4}), 1.0f);
  EXPECT_EQ(got, (std::vector<int8_t>{0, 0, 1, -1}));

  const std::vector<float> tiny = {1e-9f, -1e-9f, 0.0f, 1e-9f};
  EXPECT_EQ(TernarizeAbsMean({tiny.data(), 2, 2}, {got.data(), 2, 2}), 1e-5f);
  EXPECT_EQ(got, (std::vector<int8_t>{0, 0, 0, 0}));
}

// As few scales as say the same: groups of zeros, whose scale is 0, agree with any.
TEST(PackTernaryGroups, KeepsAsFewScalesAsSayTheSame) {
  constexpr size_t kRows = 20, kCols = 48, kGroup = 16;
  RandomData random(21);
  AlignedBuffer<int8_t> codes = random.Ternaries(kRows * kCols);
  std::fill_n(codes.data() + 2 * kCols + kGroup, kGroup, int8_t{0});  // row 2, group 1
  AlignedBuffer<float> scales(kRows * 3);
  const auto pack = [&] {
    return PackTernaryGroups(codes.View(kRows, kCols), scales.View(kRows, 3), kGroup);
  };
  for (float& s : scales.span()) s = 0.25f;
  scales[2 * 3 + 1] = 0;
  const TernaryMatrix one = pack();
  EXPECT_TRUE(one.View().has_one_scale());
  EXPECT_EQ(one.scale, 0.25f);

  for (size_t g = 0; g < 3; ++g) scales[7 * 3 + g] = 0.5f;
  const TernaryMatrix rows = pack();
  ASSERT_EQ(rows.group_cols, kCols);
  ASSERT_EQ(rows.group_scales.size(), PadRows(kRows));
  for (size_t r = 0; r < kRows; ++r) EXPECT_EQ(rows.group_scales[r], r == 7 ? 0.5f : 0.25f) << r;

  scales[7 * 3 + 2] = 0.125f;
  const TernaryMatrix groups = pack();
  ASSERT_EQ(groups.group_cols, kGroup);
  for (size_t r = 0; r < kRows; ++r) {
    for (size_t g = 0; g < 3; ++g)
      EXPECT_EQ(groups.group_scales[g * PadRows(kRows) + r], scales[r * 3 + g]) << r << " " << g;
  }
  for (const TernaryMatrix* packed : {&one, &rows, &groups}) {
    AlignedBuffer<int8_t> back(kRows * kCols);
    UnpackTernary(packed->View(), back.View(kRows, kCols));
    EXPECT_TRUE(std::equal(back.data(), back.data() + back.size(), codes.data()));
  }
}

}  // namespace
}  // namespace tern::test
