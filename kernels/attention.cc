#include "kernels/attention.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/attention.cc"
#include <hwy/foreach_target.h>
// After foreach_target.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>

#include "kernels/bfloat16-inl.h"
#include "kernels/exp-inl.h"
#include "kernels/parallel.h"

#ifndef TERN_KERNELS_ATTENTION_ITEM_
#define TERN_KERNELS_ATTENTION_ITEM_
namespace tern {

// Queries (a query head of a row) that one pass over K and V serves, at most.
inline constexpr size_t kMaxQueries = 6;

// Rows over one block table, and one KV head with the query heads of its group. Query n is head
// n % heads of row n / heads.
struct AttentionItem {
  const KvLayerView* kv;
  size_t kv_head;
  std::span<const AttentionRow> rows;
  MatView<const float> q;  // row i belongs to rows[i]; begins with the group's first head
  MatView<float> out;      // as q
  size_t heads;            // query heads that share the KV head
  float* scores;           // [kMaxQueries, score_stride]
  size_t score_stride;

  const AttentionRow& RowOf(size_t query) const { return rows[query / heads]; }
  size_t Offset(size_t query) const { return query % heads * kv->head_dim; }
  const float* Q(size_t query) const { return q.Row(query / heads) + Offset(query); }
  float* Out(size_t query) const { return out.Row(query / heads) + Offset(query); }
  // Where the block of `slot` begins, in K and in V.
  size_t BlockOffset(size_t slot) const {
    const auto block = static_cast<size_t>(rows[0].block_table[slot / kKvBlock]);
    return (block * kv->kv_heads + kv_head) * kKvBlock * kv->head_dim;
  }
};

// Slots that a row's positions lie in are all below this.
inline size_t SlotsEnd(const AttentionRow& row) {
  return static_cast<size_t>(row.tail_slots[row.tail - 1]) + 1;
}

}  // namespace tern
#endif  // TERN_KERNELS_ATTENTION_ITEM_

HWY_BEFORE_NAMESPACE();
namespace tern {
namespace HWY_NAMESPACE {

// Targets with 32 registers hold 6 x 4 accumulators, the others 3 x 4.
inline constexpr size_t kQueries = HWY_MAX_BYTES >= 64 ? kMaxQueries : kMaxQueries / 2;
inline constexpr size_t kVecs = 4;

// Scores of kN queries against the slots below `slots` and some after them, by slot. One
// accumulator per score over ascending dimensions, so a score has the same bits in any company.
template <size_t kN>
HWY_NOINLINE void Scores(const AttentionItem& item, size_t query, size_t slots, float scale) {
  const FloatTag d;
  const size_t lanes = hn::Lanes(d), head_dim = item.kv->head_dim;
  const float* q[kN];
  for (size_t n = 0; n < kN; ++n) q[n] = item.Q(query + n);
  for (size_t s = 0; s < slots; s += kVecs * lanes) {
    const BFloat16* k = item.kv->k + item.BlockOffset(s) + KeyElement(s % kKvBlock, 0);
    FloatVec sums[kN][kVecs];
#pragma GCC unroll 8
    for (size_t n = 0; n < kN; ++n) {
#pragma GCC unroll 8
      for (size_t i = 0; i < kVecs; ++i) sums[n][i] = hn::Zero(d);
    }
    for (size_t dim = 0; dim < head_dim; dim += 2, k += 2 * kKvBlock) {
#pragma GCC unroll 8
      for (size_t i = 0; i < kVecs; ++i) {
        const BFloat16Pairs keys = LoadBFloat16Pairs(d, k + i * 2 * lanes);
#pragma GCC unroll 8
        for (size_t n = 0; n < kN; ++n) {
          sums[n][i] = hn::MulAdd(hn::Set(d, q[n][dim]), keys.even, sums[n][i]);
        }
#pragma GCC unroll 8
        for (size_t n = 0; n < kN; ++n) {
          sums[n][i] = hn::MulAdd(hn::Set(d, q[n][dim + 1]), keys.odd, sums[n][i]);
        }
      }
    }
#pragma GCC unroll 8
    for (size_t n = 0; n < kN; ++n) {
#pragma GCC unroll 8
      for (size_t i = 0; i < kVecs; ++i) {
        hn::StoreU(hn::Mul(sums[n][i], hn::Set(d, scale)), d,
                   item.scores + n * item.score_stride + s + i * lanes);
      }
    }
  }
}

// Scores by slot to scores by position.
HWY_INLINE void KeepVisible(const AttentionRow& row, float* scores) {
  float* tail = scores + row.prefix;
  for (int32_t i = 0; i < row.tail; ++i) tail[i] = scores[row.tail_slots[i]];
}

// Scores to exp(score - max), in place; returns 1 / sum. Lane = position mod lanes: the order
// depends on absolute positions only.
HWY_INLINE float Softmax(float* scores, size_t length) {
  const FloatTag d;
  const size_t lanes = hn::Lanes(d);
  float max = scores[0];
  size_t p = 0;
  if (length >= lanes) {
    FloatVec maxima = hn::LoadU(d, scores);
    for (p = lanes; p + lanes <= length; p += lanes)
      maxima = hn::Max(maxima, hn::LoadU(d, scores + p));
    max = hn::GetLane(hn::MaxOfLanes(d, maxima));
  }
  for (; p < length; ++p) max = HWY_MAX(max, scores[p]);

  const FloatVec top = hn::Set(d, max);
  FloatVec sums = hn::Zero(d);
  for (p = 0; p + lanes <= length; p += lanes) {
    const FloatVec e = ExpNonPositive(d, hn::Sub(hn::LoadU(d, scores + p), top));
    hn::StoreU(e, d, scores + p);
    sums = hn::Add(sums, e);
  }
  if (p < length) {
    StorePart(ExpNonPositive(d, hn::Sub(LoadPart(d, scores + p, length - p), top)), d, scores + p,
              length - p);
    sums = hn::Add(sums, LoadPart(d, scores + p, length - p));
  }
  return 1.0f / hn::GetLane(hn::SumOfLanes(d, sums));
}

// Adds weight * V over `kPairs` pairs of vectors of dimensions, or the last `part` dimensions where
// part > 0.
template <size_t kPairs>
struct ValueSums {
  FloatVec even[kPairs], odd[kPairs];
};

template <size_t kPairs>
HWY_INLINE ValueSums<kPairs> LoadValues(const BFloat16* v, size_t part) {
  const FloatTag d;
  ValueSums<kPairs> values;
#pragma GCC unroll 8
  for (size_t i = 0; i < kPairs; ++i) {
    const BFloat16Pairs pairs = part > 0 ? LoadBFloat16PairsPart(d, v, part)
                                         : LoadBFloat16Pairs(d, v + i * 2 * hn::Lanes(d));
    values.even[i] = pairs.even;
    values.odd[i] = pairs.odd;
  }
  return values;
}

template <size_t kPairs>
HWY_INLINE void AddWeighted(float weight, const ValueSums<kPairs>& values,
                            ValueSums<kPairs>& sums) {
  const FloatVec w = hn::Set(FloatTag(), weight);
#pragma GCC unroll 8
  for (size_t i = 0; i < kPairs; ++i) {
    sums.even[i] = hn::MulAdd(w, values.even[i], sums.even[i]);
    sums.odd[i] = hn::MulAdd(w, values.odd[i], sums.odd[i]);
  }
}

// out[query][dim ..] = sum over ascending positions of weight * V, for kN queries. The positions
// below `common` lie in the slots of the same number for all of them.
template <size_t kN, size_t kPairs>
HWY_NOINLINE void WeighValues(const AttentionItem& item, size_t query, size_t common, size_t dim,
                              size_t part, const float* inverse_sums) {
  const FloatTag d;
  const size_t lanes = hn::Lanes(d), head_dim = item.kv->head_dim;
  ValueSums<kPairs> sums[kN];
#pragma GCC unroll 8
  for (size_t n = 0; n < kN; ++n) {
#pragma GCC unroll 8
    for (size_t i = 0; i < kPairs; ++i) sums[n].even[i] = sums[n].odd[i] = hn::Zero(d);
  }
  for (size_t block = 0; block < common; block += kKvBlock) {
    const BFloat16* v = item.kv->v + item.BlockOffset(block) + dim;
    const size_t end = HWY_MIN(common, block + kKvBlock);
    for (size_t p = block; p < end; ++p, v += head_dim) {
      const ValueSums<kPairs> values = LoadValues<kPairs>(v, part);
#pragma GCC unroll 8
      for (size_t n = 0; n < kN; ++n) {
        AddWeighted(item.scores[n * item.score_stride + p], values, sums[n]);
      }
    }
  }
#pragma GCC unroll 8
  for (size_t n = 0; n < kN; ++n) {
    const AttentionRow& row = item.RowOf(query + n);
    const auto prefix = static_cast<size_t>(row.prefix), end = static_cast<size_t>(row.length());
    for (size_t p = common; p < end; ++p) {
      const size_t slot = p < prefix ? p : static_cast<size_t>(row.tail_slots[p - prefix]);
      const BFloat16* v = item.kv->v + item.BlockOffset(slot) + slot % kKvBlock * head_dim + dim;
      AddWeighted(item.scores[n * item.score_stride + p], LoadValues<kPairs>(v, part), sums[n]);
    }
  }
#pragma GCC unroll 8
  for (size_t n = 0; n < kN; ++n) {
    float* out = item.Out(query + n) + dim;
    const FloatVec scale = hn::Set(d, inverse_sums[n]);
#pragma GCC unroll 8
    for (size_t i = 0; i < kPairs; ++i) {
      const FloatVec even = hn::Mul(sums[n].even[i], scale), odd = hn::Mul(sums[n].odd[i], scale);
      if (part > 0) {
        alignas(64) float whole[32];
        hn::StoreInterleaved2(even, odd, d, whole);
        std::memcpy(out, whole, part * sizeof(float));
      } else {
        hn::StoreInterleaved2(even, odd, d, out + i * 2 * lanes);
      }
    }
  }
}

// Scores, softmax and values of kN queries: what they see in common is read once for all of them.
template <size_t kN>
void AttendQueries(const AttentionItem& item, size_t query) {
  const size_t lanes = hn::Lanes(FloatTag()), head_dim = item.kv->head_dim;
  size_t slots = 0, common = SIZE_MAX;
  for (size_t n = 0; n < kN; ++n) {
    const AttentionRow& row = item.RowOf(query + n);
    slots = HWY_MAX(slots, SlotsEnd(row));
    common = HWY_MIN(common, static_cast<size_t>(row.prefix));
  }
  Scores<kN>(item, query, slots, 1.0f / std::sqrt(static_cast<float>(head_dim)));
  float inverse_sums[kN];
  for (size_t n = 0; n < kN; ++n) {
    const AttentionRow& row = item.RowOf(query + n);
    float* scores = item.scores + n * item.score_stride;
    KeepVisible(row, scores);
    inverse_sums[n] = Softmax(scores, static_cast<size_t>(row.length()));
  }
  constexpr size_t kPairs = kVecs / 2;
  size_t dim = 0;
  for (; dim + kPairs * 2 * lanes <= head_dim; dim += kPairs * 2 * lanes) {
    WeighValues<kN, kPairs>(item, query, common, dim, 0, inverse_sums);
  }
  for (; dim + 2 * lanes <= head_dim; dim += 2 * lanes) {
    WeighValues<kN, 1>(item, query, common, dim, 0, inverse_sums);
  }
  if (dim < head_dim) {
    WeighValues<kN, 1>(item, query, common, dim, head_dim - dim, inverse_sums);
  }
}

template <size_t kN>
void AttendCount(const AttentionItem& item, size_t query, size_t count) {
  if constexpr (kN > 1) {
    if (count < kN) return AttendCount<kN - 1>(item, query, count);
  }
  AttendQueries<kN>(item, query);
}

void AttendItem(const AttentionItem& item) {
  const size_t queries = item.rows.size() * item.heads;
  size_t passes = (queries + kQueries - 1) / kQueries;
  for (size_t query = 0; query < queries; --passes) {
    const size_t count = (queries - query + passes - 1) / passes;
    AttendCount<kQueries>(item, query, count);
    query += count;
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace tern
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tern {
HWY_EXPORT(AttendItem);

namespace {

size_t ScoreStride(size_t slots) { return (slots + kKvBlock - 1) / kKvBlock * kKvBlock; }

// Item i of n, taken from alternating ends: with causal rows, whose cost rises, every contiguous
// range of items then costs about the same.
size_t BalancedItem(size_t i, size_t n) { return i % 2 == 0 ? i / 2 : n - 1 - i / 2; }

void CheckRow(const AttentionRow& row) {
  bool tail_ascends = row.prefix >= 0 && row.tail >= 1 && row.tail_slots[0] >= row.prefix;
  for (int32_t i = 1; tail_ascends && i < row.tail; ++i) {
    tail_ascends = row.tail_slots[i] > row.tail_slots[i - 1];
  }
  TERN_CHECK(tail_ascends) << "attention: prefix " << row.prefix << ", tail " << row.tail;
}

// Rows that share passes over K and V: as many as fill one, unless threads were left without work.
size_t RowsPerItem(size_t rows, size_t kv_heads, size_t group, size_t threads) {
  const size_t most = std::max<size_t>(1, kMaxQueries / group);
  const size_t shared = std::clamp<size_t>(rows * kv_heads / threads, 1, most);
  const size_t items = (rows + shared - 1) / shared;
  return (rows + items - 1) / items;
}

}  // namespace

size_t AttentionScratchFloats(size_t threads, size_t, size_t, size_t max_slots) {
  return threads * kMaxQueries * ScoreStride(max_slots);
}

void Attention(MatView<const float> q, const KvLayerView& kv, std::span<const AttentionRow> rows,
               size_t heads, std::span<float> scratch, MatView<float> out) {
  TERN_CHECK(kv.kv_heads > 0 && heads % kv.kv_heads == 0 && q.cols == heads * kv.head_dim &&
             out.cols == q.cols && q.rows == rows.size() && out.rows == rows.size() &&
             kv.head_dim % 2 == 0)
      << "attention: q [" << q.rows << ", " << q.cols << "], out [" << out.rows << ", " << out.cols
      << "], " << rows.size() << " rows, " << heads << " heads, " << kv.kv_heads << " KV heads of "
      << kv.head_dim;
  if (rows.empty()) return;
  size_t max_slots = 0, total_length = 0;
  for (const AttentionRow& row : rows) {
    CheckRow(row);
    max_slots = std::max(max_slots, SlotsEnd(row));
    total_length += static_cast<size_t>(row.length());
  }
  const auto threads = static_cast<size_t>(ThreadCount());
  const size_t group = heads / kv.kv_heads, stride = ScoreStride(max_slots);
  TERN_CHECK(scratch.size() >= AttentionScratchFloats(threads, heads, kv.kv_heads, max_slots))
      << "attention: scratch of " << scratch.size() << " floats for " << threads
      << " threads, slots below " << max_slots;

  const auto attend = HWY_DYNAMIC_DISPATCH(AttendItem);
  const size_t shared = RowsPerItem(rows.size(), kv.kv_heads, group, threads);
  const size_t row_items = (rows.size() + shared - 1) / shared;
  const size_t item_products = 2 * total_length / row_items * group * kv.head_dim;
  std::atomic<size_t> ranges_started{0};  // gives each range a scratch of its own
  ParallelFor(row_items * kv.kv_heads, ProductGrain(item_products), [&](size_t begin, size_t end) {
    float* scores = scratch.data() + ranges_started.fetch_add(1) * kMaxQueries * stride;
    for (size_t i = begin; i < end; ++i) {
      const size_t g = i % kv.kv_heads, first = g * group * kv.head_dim;
      size_t row = BalancedItem(i / kv.kv_heads, row_items) * shared;
      const size_t rows_end = std::min(rows.size(), row + shared);
      while (row < rows_end) {
        size_t same = row + 1;  // rows from `row` on that share a block table
        while (same < rows_end && rows[same].block_table == rows[row].block_table) ++same;
        const size_t n = same - row, width = group * kv.head_dim;
        attend({&kv,
                g,
                rows.subspan(row, n),
                {q.Row(row) + first, n, width, q.stride},
                {out.Row(row) + first, n, width, out.stride},
                group,
                scores,
                stride});
        row = same;
      }
    }
  });
}

}  // namespace tern
#endif  // HWY_ONCE
