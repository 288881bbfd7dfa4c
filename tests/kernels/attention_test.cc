#include "kernels/attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/aligned_buffer.h"
#include "kernels/parallel.h"
#include "kernels/twin_checks.h"
#include "tests/kernels/every_target.h"
#include "tests/support/comparator.h"

namespace tern::test {
namespace {

TEST(Attention, EqualsTheTwinOnEveryTarget) {
  OnEveryTarget([] {
    for (const size_t head_dim : {8u, 16u, 24u, 40u, 64u, 128u}) {
      for (const size_t kv_heads : {1u, 3u}) {
        for (const size_t group : {1u, 2u, 3u, 4u, 7u}) {
          EXPECT_EQ(CheckAttention(head_dim, kv_heads, group), "")
              << head_dim << " dims, " << kv_heads << " x " << group << " heads";
        }
      }
    }
  });
}

TEST(Attention, SameBitsForAnyBatchAndThreads) {
  OnEveryTarget([] {
    AttentionInput c(8, 4, 64, 29);
    std::vector<AttentionRow> many;
    AlignedBuffer<float> q = c.random.Floats(4 * c.rows.size() * c.Width());
    for (int copy = 0; copy < 4; ++copy) many.insert(many.end(), c.rows.begin(), c.rows.end());
    const MatView<const float> queries = q.View(many.size(), c.Width());
    AlignedBuffer<float> alone(many.size() * c.Width());
    {
      const WithThreads threads(1);
      for (size_t r = 0; r < many.size(); ++r) {
        const AlignedBuffer<float> out = c.Run(std::span(many).subspan(r, 1), queries.Rows(r, 1));
        std::copy(out.data(), out.data() + c.Width(), alone.data() + r * c.Width());
      }
    }
    for (const int count : {1, 2, 3}) {
      const WithThreads threads(count);
      const AlignedBuffer<float> together = c.Run(many, queries);
      EXPECT_TRUE(SameBits(alone.View(1, alone.size()), together.View(1, alone.size())))
          << count << " threads";
    }
  });
}

// The same positions, reached as one prefix, as a tail, or through another block table.
TEST(Attention, SameBitsWhereverPrefixAndTailMeet) {
  OnEveryTarget([] {
    AttentionInput c(4, 2, 40, 31);
    constexpr int32_t kLength = 100;
    std::vector<int32_t> slots(kLength);
    for (int32_t i = 0; i < kLength; ++i) slots[static_cast<size_t>(i)] = i;
    const MatView<const float> query = c.Q().Rows(0, 1);
    const AttentionRow whole = {c.table.data(), &slots[kLength - 1], kLength - 1, 1};
    const AlignedBuffer<float> expected = c.Run({&whole, 1}, query);
    for (const int32_t prefix : {0, 1, 31, 64, 98}) {
      const AttentionRow split = {c.table.data(), &slots[static_cast<size_t>(prefix)], prefix,
                                  kLength - prefix};
      const AlignedBuffer<float> got = c.Run({&split, 1}, query);
      EXPECT_TRUE(SameBits(expected.View(1, c.Width()), got.View(1, c.Width())))
          << "prefix " << prefix;
    }
  });
}

// What lies in the cache but is not seen, whatever it holds, has no influence.
TEST(Attention, UnseenPositionsNeverEnter) {
  OnEveryTarget([] {
    AttentionInput c(4, 2, 24, 37);
    const int32_t tail[] = {10, 13};
    const AttentionRow row = {c.table.data(), tail, 10, 2};
    const MatView<const float> query = c.Q().Rows(0, 1);
    const AlignedBuffer<float> expected = c.Run({&row, 1}, query);
    for (size_t b = 0; b < AttentionInput::kBlocks; ++b) {
      for (size_t g = 0; g < 2; ++g) {
        for (size_t s = 0; s < kKvBlock; ++s) {
          if (b == static_cast<size_t>(c.table[0]) && (s < 11 || s == 13)) continue;
          for (size_t i = 0; i < 24; ++i) {
            const size_t block = (b * 2 + g) * kKvBlock * 24;
            c.k[block + KeyElement(s, i)].bits = 0x7FC0;  // NaN
            c.v[block + s * 24 + i].bits = 0x7FC0;
          }
        }
      }
    }
    const AlignedBuffer<float> got = c.Run({&row, 1}, query);
    EXPECT_TRUE(SameBits(expected.View(1, c.Width()), got.View(1, c.Width())));
  });
}

TEST(Attention, LargeScoresDoNotOverflow) {
  OnEveryTarget([] {
    AttentionInput c(2, 1, 16, 41);
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
