#include "kernels/attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/aligned_buffer.h"
#include "kernels/reference.h"
#include "tests/kernels/every_target.h"
#include "tests/support/comparator.h"
#include "tests/support/random_data.h"

namespace tern::test {
namespace {

constexpr size_t kBlocks = 6;

// A random cache, and rows of several lengths: short and long prefixes, block ends, tree tails.
struct Case {
  Case(size_t heads_in, size_t kv_heads, size_t head_dim, uint32_t seed)
      : heads(heads_in),
        random(seed),
        k(random.BFloat16s(kBlocks * kv_heads * kKvBlock * head_dim)),
        v(random.BFloat16s(k.size())),
        kv{k.data(), v.data(), kv_heads, head_dim} {
    const std::vector<int32_t> prefixes = {0, 0, 5, 15, 62, 63, 64, 128, 190};
    tails = {{0}, {0, 1, 3}, {9}, {15, 17}, {62}, {63}, {64, 66}, {128}, {190, 200, 230, 255}};
    for (size_t i = 0; i < prefixes.size(); ++i) {
      rows.push_back(
          {table.data(), tails[i].data(), prefixes[i], static_cast<int32_t>(tails[i].size())});
    }
    q = random.Floats(rows.size() * Width());
  }
  size_t Width() const { return heads * kv.head_dim; }
  MatView<const float> Q() const { return q.View(rows.size(), Width()); }

  AlignedBuffer<float> Run(std::span<const AttentionRow> which, MatView<const float> queries) {
    AlignedBuffer<float> out(which.size() * Width());
    AlignedBuffer<float> scratch(
        AttentionScratchFloats(static_cast<size_t>(ThreadCount()), kv.head_dim, 256));
    Attention(queries, kv, which, heads, scratch.span(), out.View(which.size(), Width()));
    return out;
  }

  size_t heads;
  RandomData random;
  AlignedBuffer<BFloat16> k, v;
  KvLayerView kv;
  std::vector<int32_t> table = {3, 0, 5, 1};
  std::vector<std::vector<int32_t>> tails;
  std::vector<AttentionRow> rows;
  AlignedBuffer<float> q;
};

TEST(Attention, EqualsTheTwinOnEveryTarget) {
  OnEveryTarget([] {
    for (const size_t head_dim : {8u, 16u, 24u, 40u, 64u, 128u}) {
      for (const size_t kv_heads : {1u, 3u}) {
        for (const size_t group : {1u, 2u, 3u, 4u, 7u}) {
          SCOPED_TRACE(::testing::Message()
                       << head_dim << " dims, " << kv_heads << " x " << group << " heads");
          Case c(kv_heads * group, kv_heads, head_dim, 23);
          const AlignedBuffer<float> got = c.Run(c.rows, c.Q());
          AlignedBuffer<double> expected(got.size());
          reference::Attention(c.Q(), c.kv, c.rows, c.heads,
                               expected.View(c.rows.size(), c.Width()));
          // |q|, |k|, |v| <= 1. A score's error is at most (head_dim / 4 + 8) 2^-24 of sum |q k| /
          // sqrt(hd) <= sqrt(hd); a weight has the errors of its score and of the largest, 2^-21 of
          // exp, and those of the sum, at most length / 4 + 4 roundings; adding up to 194 weighted
          // values, 194 more.
          const double dims = static_cast<double>(head_dim);
          const double score = (dims / 4 + 8) * 0x1p-24 * std::sqrt(dims);
          const double bound = 2 * (2 * score + 0x1p-21) + (194 + 194 / 4 + 8) * 0x1p-24;
          EXPECT_TRUE(
              AllNear(expected.View(1, got.size()), got.View(1, got.size()), {.absolute = bound}));
        }
      }
    }
  });
}

TEST(Attention, SameBitsForAnyBatchAndThreads) {
  OnEveryTarget([] {
    Case c(8, 4, 64, 29);
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
    Case c(4, 2, 40, 31);
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
    Case c(4, 2, 24, 37);
    const int32_t tail[] = {10, 13};
    const AttentionRow row = {c.table.data(), tail, 10, 2};
    const MatView<const float> query = c.Q().Rows(0, 1);
    const AlignedBuffer<float> expected = c.Run({&row, 1}, query);
    for (size_t b = 0; b < kBlocks; ++b) {
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
    Case c(2, 1, 16, 41);
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
