#include "kernels/attention.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/attention.cc"
#include <hwy/foreach_target.h>
// After foreach_target.
#include <hwy/cache_control.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "kernels/bfloat16-inl.h"
#include "kernels/exp-inl.h"
#include "kernels/parallel.h"

#ifndef TERN_KERNELS_ATTENTION_ITEM_
#define TERN_KERNELS_ATTENTION_ITEM_
namespace tern {

// Queries (a query head of a row) that meet a block of K or V while it is in the nearest cache, at
// most: beside a block, their scores and sums stay in the next one.
inline constexpr size_t kMaxQueries = 24;

// Rows over one block table, and one KV head with some of the query heads of its group. Query n is
// head n % heads of row n / heads.
struct AttentionItem {
  const KvLayerView* kv;
  size_t kv_head;
  std::span<const AttentionRow> rows;
  MatView<const float> q;  // row i belongs to rows[i]; begins with the first of the heads
  MatView<float> out;      // as q
  size_t heads;
  float* scores;  // [kMaxQueries, score_stride]
  size_t score_stride;
  float* sums;  // [kMaxQueries, SumFloats(head_dim)]
  size_t end;   // the slots of the rows' positions are below it

  size_t queries() const { return rows.size() * heads; }
  const AttentionRow& RowOf(size_t query) const { return rows[query / heads]; }
  size_t Offset(size_t query) const { return query % heads * kv->head_dim; }
  const float* Q(size_t query) const { return q.Row(query / heads) + Offset(query); }
  float* Out(size_t query) const { return out.Row(query / heads) + Offset(query); }
  float* Scores(size_t query) const { return scores + query * score_stride; }
  // Where the block of `slot` begins, in K and in V.
  size_t BlockOffset(size_t slot) const {
    const auto block = static_cast<size_t>(rows[0].block_table[slot / kKvBlock]);
    return (block * kv->kv_heads + kv_head) * kKvBlock * kv->head_dim;
  }
  // That of the block after it, to be asked for early; the same one where there is none.
  size_t NextBlockOffset(size_t slot) const {
    return BlockOffset(slot / kKvBlock * kKvBlock + kKvBlock < end ? slot + kKvBlock : slot);
  }
};

// Floats that hold the sums over V of a query: whole pairs of the widest vectors.
inline size_t SumFloats(size_t head_dim) { return (head_dim + 31) / 32 * 32; }

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
inline constexpr size_t kQueries = HWY_MAX_BYTES >= 64 ? 6 : 3;
inline constexpr size_t kVecs = 4;

// Scores of kN queries against kVecs * lanes slots from `slot` on, by slot. One accumulator per
// score over ascending dimensions, so a score has the same bits in any company.
template <size_t kN>
HWY_NOINLINE void Scores(const AttentionItem& item, size_t query, size_t slot, float scale) {
  const FloatTag d;
  const size_t lanes = hn::Lanes(d), head_dim = item.kv->head_dim;
  const float* q[kN];
  for (size_t n = 0; n < kN; ++n) q[n] = item.Q(query + n);
  const BFloat16* k = item.kv->k + item.BlockOffset(slot) + KeyElement(slot % kKvBlock, 0);
  const BFloat16* next = item.kv->k + item.NextBlockOffset(slot) + KeyElement(slot % kKvBlock, 0);
  FloatVec sums[kN][kVecs];
#pragma GCC unroll 8
  for (size_t n = 0; n < kN; ++n) {
#pragma GCC unroll 8
    for (size_t i = 0; i < kVecs; ++i) sums[n][i] = hn::Zero(d);
  }
  for (size_t dim = 0; dim < head_dim; dim += 2, k += 2 * kKvBlock, next += 2 * kKvBlock) {
#pragma GCC unroll 8
    for (size_t i = 0; i < kVecs; ++i) {
      const BFloat16Pairs keys = LoadBFloat16Pairs(d, k + i * 2 * lanes);
      hwy::Prefetch(next + i * 2 * lanes);
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
                 item.Scores(query + n) + slot + i * lanes);
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

// Where the sums of a query over kPairs pairs of vectors from dimension `dim` on wait between
// blocks.
template <size_t kPairs>
HWY_INLINE ValueSums<kPairs> LoadSums(const AttentionItem& item, size_t query, size_t dim) {
  const FloatTag d;
  const size_t lanes = hn::Lanes(d);
  const float* from = item.sums + query * SumFloats(item.kv->head_dim) + dim;
  ValueSums<kPairs> sums;
#pragma GCC unroll 8
  for (size_t i = 0; i < kPairs; ++i, from += 2 * lanes) {
    sums.even[i] = hn::LoadU(d, from);
    sums.odd[i] = hn::LoadU(d, from + lanes);
  }
  return sums;
}

template <size_t kPairs>
HWY_INLINE void StoreSums(const ValueSums<kPairs>& sums, const AttentionItem& item, size_t query,
                          size_t dim) {
  const FloatTag d;
  const size_t lanes = hn::Lanes(d);
  float* to = item.sums + query * SumFloats(item.kv->head_dim) + dim;
#pragma GCC unroll 8
  for (size_t i = 0; i < kPairs; ++i, to += 2 * lanes) {
    hn::StoreU(sums.even[i], d, to);
    hn::StoreU(sums.odd[i], d, to + lanes);
  }
}

// sums[query][dim ..] += weight * V over the positions begin .. end, ascending, for kN queries.
// They lie in the slots of the same number, in one block.
template <size_t kN, size_t kPairs>
HWY_NOINLINE void WeighBlock(const AttentionItem& item, size_t query, size_t begin, size_t end,
                             size_t dim, size_t part) {
  const size_t head_dim = item.kv->head_dim;
  ValueSums<kPairs> sums[kN];
#pragma GCC unroll 8
  for (size_t n = 0; n < kN; ++n) sums[n] = LoadSums<kPairs>(item, query + n, dim);
  const BFloat16* v = item.kv->v + item.BlockOffset(begin) + begin % kKvBlock * head_dim + dim;
  const BFloat16* next = item.kv->v + item.NextBlockOffset(begin) + dim;
  for (size_t p = begin; p < end; ++p, v += head_dim, next += head_dim) {
    const ValueSums<kPairs> values = LoadValues<kPairs>(v, part);
    for (size_t i = 0; i < kPairs; ++i) hwy::Prefetch(next + i * 2 * hn::Lanes(FloatTag()));
#pragma GCC unroll 8
    for (size_t n = 0; n < kN; ++n) AddWeighted(item.Scores(query + n)[p], values, sums[n]);
  }
#pragma GCC unroll 8
  for (size_t n = 0; n < kN; ++n) StoreSums(sums[n], item, query + n, dim);
}

// out[query][dim ..] = (sums + weight * V over the positions from `begin` on) * scale.
template <size_t kPairs>
void FinishValues(const AttentionItem& item, size_t query, size_t begin, size_t dim, size_t part,
                  float scale) {
  const FloatTag d;
  const size_t lanes = hn::Lanes(d), head_dim = item.kv->head_dim;
  const AttentionRow& row = item.RowOf(query);
  const auto prefix = static_cast<size_t>(row.prefix), end = static_cast<size_t>(row.length());
  ValueSums<kPairs> sums = LoadSums<kPairs>(item, query, dim);
  for (size_t p = begin; p < end; ++p) {
    const size_t slot = p < prefix ? p : static_cast<size_t>(row.tail_slots[p - prefix]);
    const BFloat16* v = item.kv->v + item.BlockOffset(slot) + slot % kKvBlock * head_dim + dim;
    AddWeighted(item.Scores(query)[p], LoadValues<kPairs>(v, part), sums);
  }
  float* out = item.Out(query) + dim;
  const FloatVec factor = hn::Set(d, scale);
#pragma GCC unroll 8
  for (size_t i = 0; i < kPairs; ++i) {
    const FloatVec even = hn::Mul(sums.even[i], factor), odd = hn::Mul(sums.odd[i], factor);
    if (part > 0) {
      alignas(64) float whole[32];
      hn::StoreInterleaved2(even, odd, d, whole);
      std::memcpy(out, whole, part * sizeof(float));
    } else {
      hn::StoreInterleaved2(even, odd, d, out + i * 2 * lanes);
    }
  }
}

// Calls fn<kPairs>(dim, part) for all dimensions of a head, most at a time.
template <class Fn>
HWY_INLINE void ForDimensions(size_t head_dim, const Fn& fn) {
  constexpr size_t kPairs = kVecs / 2;
  const size_t lanes = hn::Lanes(FloatTag());
  size_t dim = 0;
  for (; dim + kPairs * 2 * lanes <= head_dim; dim += kPairs * 2 * lanes)
    fn(std::integral_constant<size_t, kPairs>(), dim, size_t{0});
  for (; dim + 2 * lanes <= head_dim; dim += 2 * lanes)
    fn(std::integral_constant<size_t, 1>(), dim, size_t{0});
  if (dim < head_dim) fn(std::integral_constant<size_t, 1>(), dim, head_dim - dim);
}

// Calls fn<count>(query) for all queries, in as few and as even parts of up to kQueries as
// possible.
template <size_t kN = kQueries, class Fn>
HWY_INLINE void CallFor(size_t count, const Fn& fn) {
  if constexpr (kN > 1) {
    if (count < kN) return CallFor<kN - 1>(count, fn);
  }
  fn(std::integral_constant<size_t, kN>());
}

template <class Fn>
HWY_INLINE void ForQueries(size_t queries, const Fn& fn) {
  size_t passes = (queries + kQueries - 1) / kQueries;
  for (size_t query = 0; query < queries; --passes) {
    const size_t count = (queries - query + passes - 1) / passes;
    CallFor(count, [&](auto n) HWY_ATTR { fn(n, query); });
    query += count;
  }
}

// Scores, softmax and values of the item's queries: a block of K or V is read once for all of them.
void AttendItem(const AttentionItem& item) {
  const size_t queries = item.queries(), head_dim = item.kv->head_dim;
  size_t common = SIZE_MAX;  // positions below it lie in the slots of the same number
  for (const AttentionRow& row : item.rows)
    common = HWY_MIN(common, static_cast<size_t>(row.prefix));
  const float scale = 1.0f / std::sqrt(static_cast<float>(head_dim));
  for (size_t slot = 0; slot < item.end; slot += kVecs * hn::Lanes(FloatTag())) {
    ForQueries(queries,
               [&](auto n, size_t query) HWY_ATTR { Scores<n()>(item, query, slot, scale); });
  }
  float inverse_sums[kMaxQueries];
  for (size_t query = 0; query < queries; ++query) {
    const AttentionRow& row = item.RowOf(query);
    KeepVisible(row, item.Scores(query));
    inverse_sums[query] = Softmax(item.Scores(query), static_cast<size_t>(row.length()));
  }
  std::fill_n(item.sums, queries * SumFloats(head_dim), 0.0f);
  for (size_t block = 0; block < common; block += kKvBlock) {
    const size_t end = HWY_MIN(common, block + kKvBlock);
    ForQueries(queries, [&](auto n, size_t query) HWY_ATTR {
      ForDimensions(head_dim, [&](auto pairs, size_t dim, size_t part) HWY_ATTR {
        WeighBlock<n(), pairs()>(item, query, block, end, dim, part);
      });
    });
  }
  for (size_t query = 0; query < queries; ++query) {
    ForDimensions(head_dim, [&](auto pairs, size_t dim, size_t part) HWY_ATTR {
      FinishValues<pairs()>(item, query, common, dim, part, inverse_sums[query]);
    });
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

}  // namespace

size_t AttentionScratchFloats(size_t threads, size_t head_dim, size_t max_slots) {
  return threads * kMaxQueries * (ScoreStride(max_slots) + SumFloats(head_dim));
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
  const size_t scratch_floats = kMaxQueries * (stride + SumFloats(kv.head_dim));
  TERN_CHECK(scratch.size() >= threads * scratch_floats)
      << "attention: scratch of " << scratch.size() << " floats for " << threads
      << " threads, slots below " << max_slots;

  const auto attend = HWY_DYNAMIC_DISPATCH(AttendItem);
  // A unit of work is a query head of some rows. Those of a KV head and its rows follow each other
  // and share an item, unless they fall to two threads.
  const size_t shared = std::max<size_t>(1, kMaxQueries / group);
  const size_t chunks = (rows.size() + shared - 1) / shared;
  const size_t unit_products = 2 * total_length / chunks * kv.head_dim;
  std::atomic<size_t> ranges_started{0};  // gives each range a scratch of its own
  ParallelFor(
      kv.kv_heads * chunks * group, ProductGrain(unit_products), [&](size_t begin, size_t end) {
        float* const scores = scratch.data() + ranges_started.fetch_add(1) * scratch_floats;
        for (size_t unit = begin; unit < end;) {
          const size_t head = unit % group, item = unit / group, g = item / chunks;
          const size_t count = std::min({group - head, end - unit, kMaxQueries});
          const size_t column = (g * group + head) * kv.head_dim, width = count * kv.head_dim;
          size_t row = BalancedItem(item % chunks, chunks) * shared;
          const size_t rows_end = std::min(rows.size(), row + shared);
          while (row < rows_end) {
            size_t same = row + 1;  // rows from `row` on that share a block table
            size_t slots_end = SlotsEnd(rows[row]);
            while (same < rows_end && rows[same].block_table == rows[row].block_table)
              slots_end = std::max(slots_end, SlotsEnd(rows[same++]));
            const size_t n = same - row;
            attend({&kv,
                    g,
                    rows.subspan(row, n),
                    {q.Row(row) + column, n, width, q.stride},
                    {out.Row(row) + column, n, width, out.stride},
                    count,
                    scores,
                    stride,
                    scores + kMaxQueries * stride,
                    slots_end});
            row = same;
          }
          unit += count;
        }
      });
}

}  // namespace tern
#endif  // HWY_ONCE
