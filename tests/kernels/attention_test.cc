#include "kernels/attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "kernels/aligned_buffer.h"
#include "kernels/parallel.h"
#include "kernels/twin_checks.h"
#include "tests/kernels/every_target.h"
#include "tests/support/comparator.h"

namespace tern::test {
namespace {

constexpr KvType kKvTypes[] = {KvType::kBFloat16, KvType::kInt8};

TEST(KvBlock, HoldsVectorsWithinTheBoundOfTheirType) {
  for (const KvType type : kKvTypes) {
    for (const size_t head_dim : {2u, 8u, 24u, 64u, 128u})
      EXPECT_EQ(CheckKvBlock(type, head_dim), "") << head_dim << " dims";
  }
}

// The scale of a vector is chosen from that vector alone, and one that is not finite shows.
TEST(KvBlock, Int8IsChosenFromTheVectorAlone) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const size_t bytes = KvBlockBytes(KvType::kInt8, 4);
  AlignedBuffer<std::byte> alone(bytes), among(bytes);
  std::vector<float> read(4);
  for (size_t slot = 0; slot < kKvBlock; ++slot) {
    const auto s = static_cast<float>(slot);
    StoreKey(KvType::kInt8, std::vector<float>{s, 1e20f, -s, 0}, among.data(), slot);
    StoreKey(KvType::kInt8, std::vector<float>{-1, s / 64, 0.3f, 7}, among.data(), slot);
    StoreKey(KvType::kInt8, std::vector<float>{-1, s / 64, 0.3f, 7}, alone.data(), slot);
  }
  EXPECT_EQ(std::memcmp(alone.data(), among.data(), bytes), 0);
  for (const float bad : {kInfinity, -kInfinity, std::nanf("")}) {
    StoreValue(KvType::kInt8, std::vector<float>{0, 1, bad, 2}, among.data(), 9);
    LoadValue(KvType::kInt8, among.data(), 9, read);
    EXPECT_TRUE(std::all_of(read.begin(), read.end(), [](float x) { return std::isnan(x); }));
  }
}

TEST(KvBlock, CopiesEveryBit) {
  for (const KvType type : kKvTypes) {
    const size_t bytes = KvBlockBytes(type, 6);
    AlignedBuffer<std::byte> from(bytes), to(bytes), expected(bytes);
    const std::vector<float> x = {0.1f, -3, 5, 0.77f, 0, 1e-7f};
    StoreKey(type, x, from.data(), 3);
    StoreKey(type, x, expected.data(), 60);
    CopyKey(type, 6, from.data(), 3, to.data(), 60);
    std::vector<float> a(6), b(6);
    LoadKey(type, expected.data(), 60, a);
    LoadKey(type, to.data(), 60, b);
    EXPECT_EQ(a, b);
    StoreValue(type, x, from.data(), 3);
    CopyValue(type, 6, from.data(), 3, to.data(), 60);
    LoadValue(type, to.data(), 60, b);
    EXPECT_EQ(a, b);
  }
}

class Attention : public testing::TestWithParam<KvType> {};
INSTANTIATE_TEST_SUITE_P(All, Attention, testing::ValuesIn(kKvTypes), [](const auto& type) {
  return type.param == KvType::kInt8 ? std::string("int8") : std::string("bf16");
});

TEST_P(Attention, EqualsTheTwinOnEveryTarget) {
  OnEveryTarget([this] {
    for (const size_t head_dim : {8u, 16u, 24u, 40u, 64u, 128u}) {
      for (const size_t kv_heads : {1u, 3u}) {
        for (const size_t group : {1u, 2u, 3u, 4u, 7u}) {
          EXPECT_EQ(CheckAttention(GetParam(), head_dim, kv_heads, group), "")
              << head_dim << " dims, " << kv_heads << " x " << group << " heads";
        }
      }
    }
  });
}

TEST_P(Attention, SameBitsForAnyBatchAndThreads) {
  OnEveryTarget([this] {
    AttentionInput c(GetParam(), 8, 4, 64, 29);
    std::vector<AttentionRow> many;
    AlignedBuffer<float> q = c.random.Floats(4 * c.rows.size() * c.Width());
    for (int copy = 0; copy < 4; ++copy) many.insert(many.end(), c.rows.begin(), c.rows.end());
    const MatView<const float> queries = q.View(many.size(), c.Width());
    const auto one_by_one = [&](int count) {
      const WithThreads threads(count);
      AlignedBuffer<float> alone(many.size() * c.Width());
      for (size_t r = 0; r < many.size(); ++r) {
        const AlignedBuffer<float> out = c.Run(std::span(many).subspan(r, 1), queries.Rows(r, 1));
        std::copy(out.data(), out.data() + c.Width(), alone.data() + r * c.Width());
      }
      return alone;
    };
    const AlignedBuffer<float> alone = one_by_one(1);
    // Few rows of a long context fall to threads by segments.
    EXPECT_TRUE(SameBits(alone.View(1, alone.size()), one_by_one(3).View(1, alone.size())));
    for (const int count : {1, 2, 3}) {
      const WithThreads threads(count);
      const AlignedBuffer<float> together = c.Run(many, queries);
      EXPECT_TRUE(SameBits(alone.View(1, alone.size()), together.View(1, alone.size())))
          << count << " threads";
    }
  });
}

// The same positions, reached as one prefix, as a tail, or through another block table.
TEST_P(Attention, SameBitsWhereverPrefixAndTailMeet) {
  OnEveryTarget([this] {
    AttentionInput c(GetParam(), 4, 2, 40, 31);
    std::vector<int32_t> slots(1100);
    for (size_t i = 0; i < slots.size(); ++i) slots[i] = static_cast<int32_t>(i);
    const MatView<const float> query = c.Q().Rows(0, 1);
    for (const int32_t length : {100, 1100}) {
      const AttentionRow whole = {c.table.data(), &slots[static_cast<size_t>(length) - 1],
                                  length - 1, 1};
      const AlignedBuffer<float> expected = c.Run({&whole, 1}, query);
      for (const int32_t prefix : {0, 1, 31, 64, 98, 511, 512, 700, 1024}) {
        if (prefix >= length) break;
        const AttentionRow split = {c.table.data(), &slots[static_cast<size_t>(prefix)], prefix,
                                    length - prefix};
        const AlignedBuffer<float> got = c.Run({&split, 1}, query);
        EXPECT_TRUE(SameBits(expected.View(1, c.Width()), got.View(1, c.Width())))
            << "prefix " << prefix << " of " << length;
      }
    }
  });
}

// What lies in the cache but is not seen, whatever it holds, has no influence.
TEST_P(Attention, UnseenPositionsNeverEnter) {
  OnEveryTarget([this] {
    AttentionInput c(GetParam(), 4, 2, 24, 37);
    const int32_t tail[] = {10, 13};
    const AttentionRow row = {c.table.data(), tail, 10, 2};
    const MatView<const float> query = c.Q().Rows(0, 1);
    const AlignedBuffer<float> expected = c.Run({&row, 1}, query);
    const std::vector<float> nan(2 * 24, std::nanf(""));
    for (size_t b = 0; b < AttentionInput::kBlocks; ++b) {
      for (size_t g = 0; g < 2; ++g) {
        for (size_t s = 0; s < kKvBlock; ++s) {
          if (b == static_cast<size_t>(c.table[0]) && (s < 11 || s == 13)) continue;
          c.Set(b, g, s, nan);
        }
      }
    }
    const AlignedBuffer<float> got = c.Run({&row, 1}, query);
    EXPECT_TRUE(SameBits(expected.View(1, c.Width()), got.View(1, c.Width())));
  });
}

TEST_P(Attention, LargeScoresDoNotOverflow) {
  OnEveryTarget([this] {
    AttentionInput c(GetParam(), 2, 1, 16, 41);
    for (float& value : c.q.span()) value *= 1000.0f;
    const AlignedBuffer<float> got = c.Run(c.rows, c.Q());
    for (const float value : got.span()) {
      ASSERT_TRUE(std::isfinite(value));
      ASSERT_LE(std::fabs(value), 1.0001f);  // a mean of values in [-1, 1]
    }
  });
}

}  // namespace
}  // namespace tern::test
