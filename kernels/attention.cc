#include "kernels/attention.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/attention.cc"
#include <hwy/foreach_target.h>
// After foreach_target.
#include <atomic>
#include <cmath>

#include "kernels/bfloat16-inl.h"
#include "kernels/exp-inl.h"
#include "kernels/parallel.h"

#ifndef TERN_KERNELS_ATTENTION_ITEM_
#define TERN_KERNELS_ATTENTION_ITEM_
namespace tern {

// One row and one KV head: the query heads of the group, and where their results go.
struct AttentionItem {
  const KvLayerView* kv;
  const AttentionRow* row;
  size_t kv_head;
  const float* q;  // [heads, head_dim]
  float* out;      // [heads, head_dim]
  size_t heads;    // query heads that share the KV head
  float* scores;   // [heads, score_stride]
  size_t score_stride;
};

// Offset of position p's K and V row of head_dim elements.
inline size_t KvOffset(const AttentionItem& item, size_t p) {
  const AttentionRow& row = *item.row;
  const auto prefix = static_cast<size_t>(row.prefix);
  const size_t slot = p < prefix ? p : static_cast<size_t>(row.tail_slots[p - prefix]);
  const auto block = static_cast<size_t>(row.block_table[slot / kKvBlock]);
  return ((block * item.kv->kv_heads + item.kv_head) * kKvBlock + slot % kKvBlock) *
         item.kv->head_dim;
}

}  // namespace tern
#endif  // TERN_KERNELS_ATTENTION_ITEM_

HWY_BEFORE_NAMESPACE();
namespace tern {
namespace HWY_NAMESPACE {

// Scores of query heads head .. head + kHeads, for positions ascending. One accumulator per score
// over ascending dimensions, then one lane reduction.
template <size_t kHeads>
HWY_NOINLINE void Scores(const AttentionItem& item, size_t head, float scale) {
  const FloatTag d;
  const size_t lanes = hn::Lanes(d), head_dim = item.kv->head_dim;
  const float* q = item.q + head * head_dim;
  float* scores = item.scores + head * item.score_stride;
  const auto length = static_cast<size_t>(item.row->length());
  for (size_t p = 0; p < length; ++p) {
    const BFloat16* k = item.kv->k + KvOffset(item, p);
    FloatVec sums[kHeads];
#pragma GCC unroll 8
    for (size_t h = 0; h < kHeads; ++h) sums[h] = hn::Zero(d);
    size_t i = 0;
    for (; i + lanes <= head_dim; i += lanes) {
      const FloatVec key = LoadBFloat16(d, k + i);
#pragma GCC unroll 8
      for (size_t h = 0; h < kHeads; ++h) {
        sums[h] = hn::MulAdd(hn::LoadU(d, q + h * head_dim + i), key, sums[h]);
      }
    }
    if (i < head_dim) {
      const FloatVec key = LoadBFloat16Part(d, k + i, head_dim - i);
      for (size_t h = 0; h < kHeads; ++h) {
        sums[h] = hn::MulAdd(LoadPart(d, q + h * head_dim + i, head_dim - i), key, sums[h]);
      }
    }
#pragma GCC unroll 8
    for (size_t h = 0; h < kHeads; ++h) {
      scores[h * item.score_stride + p] = hn::GetLane(hn::SumOfLanes(d, sums[h])) * scale;
    }
  }
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

// out[h][dim ..] = sum over ascending positions of weight * V, for kHeads heads and kVecs vectors
// of dimensions (or the last `part` dimensions, where part > 0).
template <size_t kHeads, size_t kVecs>
HWY_NOINLINE void WeighValues(const AttentionItem& item, size_t head, size_t dim, size_t part,
                              const float* inverse_sums) {
  const FloatTag d;
  const size_t lanes = hn::Lanes(d), head_dim = item.kv->head_dim;
  const float* weights = item.scores + head * item.score_stride;
  const auto length = static_cast<size_t>(item.row->length());
  FloatVec sums[kHeads][kVecs];
#pragma GCC unroll 8
  for (size_t h = 0; h < kHeads; ++h) {
#pragma GCC unroll 8
    for (size_t i = 0; i < kVecs; ++i) sums[h][i] = hn::Zero(d);
  }
  for (size_t p = 0; p < length; ++p) {
    const BFloat16* v = item.kv->v + KvOffset(item, p) + dim;
    FloatVec values[kVecs];
#pragma GCC unroll 8
    for (size_t i = 0; i < kVecs; ++i) {
      values[i] = part > 0 ? LoadBFloat16Part(d, v, part) : LoadBFloat16(d, v + i * lanes);
    }
#pragma GCC unroll 8
    for (size_t h = 0; h < kHeads; ++h) {
      const FloatVec weight = hn::Set(d, weights[h * item.score_stride + p]);
#pragma GCC unroll 8
      for (size_t i = 0; i < kVecs; ++i) sums[h][i] = hn::MulAdd(weight, values[i], sums[h][i]);
    }
  }
#pragma GCC unroll 8
  for (size_t h = 0; h < kHeads; ++h) {
    float* out = item.out + (head + h) * head_dim + dim;
#pragma GCC unroll 8
    for (size_t i = 0; i < kVecs; ++i) {
      const FloatVec scaled = hn::Mul(sums[h][i], hn::Set(d, inverse_sums[h]));
      if (part > 0) {
        StorePart(scaled, d, out, part);
      } else {
        hn::StoreU(scaled, d, out + i * lanes);
      }
    }
  }
}

// Scores, softmax and values of kHeads heads of the group: each K and V row is read once for all of
// them.
template <size_t kHeads>
void AttendHeads(const AttentionItem& item, size_t head, float scale) {
  const size_t lanes = hn::Lanes(FloatTag()), head_dim = item.kv->head_dim;
  Scores<kHeads>(item, head, scale);
  float inverse_sums[kHeads];
  for (size_t h = 0; h < kHeads; ++h) {
    inverse_sums[h] = Softmax(item.scores + (head + h) * item.score_stride,
                              static_cast<size_t>(item.row->length()));
  }
  // Accumulators per pass over V: kHeads x kVecs of the 32 or 16 registers.
  constexpr size_t kVecs = HWY_MAX_BYTES >= 64 ? 4 : 2;
  size_t dim = 0;
  for (; dim + kVecs * lanes <= head_dim; dim += kVecs * lanes) {
    WeighValues<kHeads, kVecs>(item, head, dim, 0, inverse_sums);
  }
  for (; dim + lanes <= head_dim; dim += lanes)
    WeighValues<kHeads, 1>(item, head, dim, 0, inverse_sums);
  if (dim < head_dim) WeighValues<kHeads, 1>(item, head, dim, head_dim - dim, inverse_sums);
}

void AttendItem(const AttentionItem& item) {
  const float scale = 1.0f / std::sqrt(static_cast<float>(item.kv->head_dim));
  size_t head = 0;
  for (; head + 4 <= item.heads; head += 4) AttendHeads<4>(item, head, scale);
  for (; head + 2 <= item.heads; head += 2) AttendHeads<2>(item, head, scale);
  if (head < item.heads) AttendHeads<1>(item, head, scale);
}

}  // namespace HWY_NAMESPACE
}  // namespace tern
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tern {
HWY_EXPORT(AttendItem);

namespace {

size_t ScoreStride(size_t max_length) { return (max_length + kKvBlock - 1) / kKvBlock * kKvBlock; }

// Rows alternate between the two ends: with causal rows, whose cost rises, every contiguous range
// of items then costs about the same.
size_t BalancedRow(size_t i, size_t n) { return i % 2 == 0 ? i / 2 : n - 1 - i / 2; }

}  // namespace

size_t AttentionScratchFloats(size_t threads, size_t heads, size_t kv_heads, size_t max_length) {
  return threads * (heads / kv_heads) * ScoreStride(max_length);
}

void Attention(MatView<const float> q, const KvLayerView& kv, std::span<const AttentionRow> rows,
               size_t heads, std::span<float> scratch, MatView<float> out) {
  TERN_CHECK(kv.kv_heads > 0 && heads % kv.kv_heads == 0 && q.cols == heads * kv.head_dim &&
             out.cols == q.cols && q.rows == rows.size() && out.rows == rows.size())
      << "attention: q [" << q.rows << ", " << q.cols << "], out [" << out.rows << ", " << out.cols
      << "], " << rows.size() << " rows, " << heads << " heads, " << kv.kv_heads << " KV heads of "
      << kv.head_dim;
  if (rows.empty()) return;
  size_t max_length = 0, total_length = 0;
  for (const AttentionRow& row : rows) {
    TERN_CHECK(row.prefix >= 0 && row.tail >= 1)
        << "attention: prefix " << row.prefix << ", tail " << row.tail;
    max_length = std::max(max_length, static_cast<size_t>(row.length()));
    total_length += static_cast<size_t>(row.length());
  }
  const auto threads = static_cast<size_t>(ThreadCount());
  const size_t group = heads / kv.kv_heads, stride = ScoreStride(max_length);
  TERN_CHECK(scratch.size() >= AttentionScratchFloats(threads, heads, kv.kv_heads, max_length))
      << "attention: scratch of " << scratch.size() << " floats for " << threads
      << " threads, rows of " << max_length;

  const auto attend = HWY_DYNAMIC_DISPATCH(AttendItem);
  const size_t items = rows.size() * kv.kv_heads;
  const size_t item_products = 2 * total_length / rows.size() * group * kv.head_dim;
  std::atomic<size_t> ranges_started{0};  // gives each range a scratch of its own
  ParallelFor(items, ProductGrain(item_products), [&](size_t begin, size_t end) {
    float* scores = scratch.data() + ranges_started.fetch_add(1) * group * stride;
    for (size_t i = begin; i < end; ++i) {
      const size_t r = BalancedRow(i / kv.kv_heads, rows.size()), g = i % kv.kv_heads;
      const size_t first = g * group * kv.head_dim;
      attend({&kv, &rows[r], g, q.Row(r) + first, out.Row(r) + first, group, scores, stride});
    }
  });
}

}  // namespace tern
#endif  // HWY_ONCE
