// The loops of Attention, written once for every type of K and V: `Kv` is BFloat16Kv or Int8Kv,
// which say how a block is read. Once per target.
#if defined(TERN_KERNELS_ATTENTION_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TERN_KERNELS_ATTENTION_INL_H_
#undef TERN_KERNELS_ATTENTION_INL_H_
#else
#define TERN_KERNELS_ATTENTION_INL_H_
#endif

#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "kernels/attention_item.h"
#include "kernels/exp-inl.h"
#include "kernels/prefetch.h"
#include "kernels/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tern {
namespace HWY_NAMESPACE {

// Targets with 32 registers hold 6 x 4 accumulators, the others 3 x 4.
inline constexpr size_t kQueries = HWY_MAX_BYTES >= 64 ? 6 : 3;
inline constexpr size_t kVecs = 4;

// Scores of kN queries against kVecs * lanes slots from `slot` on, by slot. One accumulator per
// score over ascending dimensions, so a score has the same bits in any company.
template <class Kv, size_t kN>
HWY_NOINLINE void Scores(const AttentionItem& item, size_t query, size_t slot, float scale) {
  const FloatTag d;
  const size_t lanes = hn::Lanes(d), head_dim = item.kv->head_dim, in_block = slot % kKvBlock;
  const float* q[kN];
  for (size_t n = 0; n < kN; ++n) q[n] = item.Q(query + n);
  const std::byte* block = item.kv->k + item.BlockOffset(slot);
  const std::byte* next = item.kv->k + item.NextBlockOffset(slot);
  FloatVec sums[kN][kVecs];
#pragma GCC unroll 8
  for (size_t n = 0; n < kN; ++n) {
#pragma GCC unroll 8
    for (size_t i = 0; i < kVecs; ++i) sums[n][i] = hn::Zero(d);
  }
  for (size_t dim = 0; dim < head_dim; dim += 2) {
    Kv::template PrefetchKeys<kVecs>(next, head_dim, in_block, dim);
#pragma GCC unroll 8
    for (size_t i = 0; i < kVecs; ++i) {
      const typename Kv::Pair keys = Kv::Keys(block, in_block + i * lanes, dim);
#pragma GCC unroll 8
      for (size_t n = 0; n < kN; ++n) {
        sums[n][i] = hn::MulAdd(hn::Set(d, q[n][dim]), keys.first, sums[n][i]);
      }
#pragma GCC unroll 8
      for (size_t n = 0; n < kN; ++n) {
        sums[n][i] = hn::MulAdd(hn::Set(d, q[n][dim + 1]), keys.second, sums[n][i]);
      }
    }
  }
#pragma GCC unroll 8
  for (size_t n = 0; n < kN; ++n) {
#pragma GCC unroll 8
    for (size_t i = 0; i < kVecs; ++i) {
      const FloatVec products = Kv::Scaled(sums[n][i], block, head_dim, in_block + i * lanes);
      hn::StoreU(hn::Mul(products, hn::Set(d, scale)), d,
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

// A value for each of kPairs * 2 * lanes dimensions, in the order that Kv keeps them in.
template <class Kv, size_t kPairs>
struct Dimensions {
  typename Kv::Pair pairs[kPairs];
};

// The values at `at`, or the last `part` of a head where part > 0.
template <class Kv, size_t kPairs>
HWY_INLINE Dimensions<Kv, kPairs> LoadValues(const std::byte* at, size_t part) {
  Dimensions<Kv, kPairs> values;
#pragma GCC unroll 8
  for (size_t i = 0; i < kPairs; ++i)
    values.pairs[i] = Kv::Values(at + i * 2 * hn::Lanes(FloatTag()) * Kv::kBytes, part);
  return values;
}

template <class Kv, size_t kPairs>
HWY_INLINE void AddWeighted(float weight, const Dimensions<Kv, kPairs>& values,
                            Dimensions<Kv, kPairs>& sums) {
  const FloatVec w = hn::Set(FloatTag(), weight);
#pragma GCC unroll 8
  for (size_t i = 0; i < kPairs; ++i) {
    sums.pairs[i].first = hn::MulAdd(w, values.pairs[i].first, sums.pairs[i].first);
    sums.pairs[i].second = hn::MulAdd(w, values.pairs[i].second, sums.pairs[i].second);
  }
}

// Where the sums of a query over kPairs pairs of vectors from dimension `dim` on wait between
// blocks.
template <class Kv, size_t kPairs>
HWY_INLINE Dimensions<Kv, kPairs> LoadSums(const AttentionItem& item, size_t query, size_t dim) {
  const FloatTag d;
  const size_t lanes = hn::Lanes(d);
  const float* from = item.sums + query * SumFloats(item.kv->head_dim) + dim;
  Dimensions<Kv, kPairs> sums;
#pragma GCC unroll 8
  for (size_t i = 0; i < kPairs; ++i, from += 2 * lanes)
    sums.pairs[i] = {hn::LoadU(d, from), hn::LoadU(d, from + lanes)};
  return sums;
}

template <class Kv, size_t kPairs>
HWY_INLINE void StoreSums(const Dimensions<Kv, kPairs>& sums, const AttentionItem& item,
                          size_t query, size_t dim) {
  const FloatTag d;
  const size_t lanes = hn::Lanes(d);
  float* to = item.sums + query * SumFloats(item.kv->head_dim) + dim;
#pragma GCC unroll 8
  for (size_t i = 0; i < kPairs; ++i, to += 2 * lanes) {
    hn::StoreU(sums.pairs[i].first, d, to);
    hn::StoreU(sums.pairs[i].second, d, to + lanes);
  }
}

// sums[query][dim ..] += weight * V over the positions begin .. end, ascending, for kN queries.
// They lie in the slots of the same number, in one block.
template <class Kv, size_t kN, size_t kPairs>
HWY_NOINLINE void WeighBlock(const AttentionItem& item, size_t query, size_t begin, size_t end,
                             size_t dim, size_t part) {
  const size_t head_dim = item.kv->head_dim, stride = head_dim * Kv::kBytes;
  Dimensions<Kv, kPairs> sums[kN];
#pragma GCC unroll 8
  for (size_t n = 0; n < kN; ++n) sums[n] = LoadSums<Kv, kPairs>(item, query + n, dim);
  const std::byte* block = item.kv->v + item.BlockOffset(begin);
  const std::byte* v = block + begin % kKvBlock * stride + dim * Kv::kBytes;
  const std::byte* next = item.kv->v + item.NextBlockOffset(begin) + dim * Kv::kBytes;
  for (size_t p = begin; p < end; ++p, v += stride, next += stride) {
    const auto values = LoadValues<Kv, kPairs>(v, part);
    for (size_t i = 0; i < kPairs; ++i)
      PrefetchToL2(next + i * 2 * hn::Lanes(FloatTag()) * Kv::kBytes);
#pragma GCC unroll 8
    for (size_t n = 0; n < kN; ++n) {
      const float weight = item.Scores(query + n)[p];
      AddWeighted(Kv::Weight(weight, block, head_dim, p % kKvBlock), values, sums[n]);
    }
  }
#pragma GCC unroll 8
  for (size_t n = 0; n < kN; ++n) StoreSums(sums[n], item, query + n, dim);
}

// out[query][dim ..] = (sums + weight * V over the positions from `begin` on) * scale.
template <class Kv, size_t kPairs>
void FinishValues(const AttentionItem& item, size_t query, size_t begin, size_t dim, size_t part,
                  float scale) {
  const FloatTag d;
  const size_t lanes = hn::Lanes(d), head_dim = item.kv->head_dim;
  const AttentionRow& row = item.RowOf(query);
  const auto prefix = static_cast<size_t>(row.prefix), end = static_cast<size_t>(row.length());
  auto sums = LoadSums<Kv, kPairs>(item, query, dim);
  for (size_t p = begin; p < end; ++p) {
    const size_t slot = p < prefix ? p : static_cast<size_t>(row.tail_slots[p - prefix]);
    const size_t in_block = slot % kKvBlock;
    const std::byte* block = item.kv->v + item.BlockOffset(slot);
    const auto values =
        LoadValues<Kv, kPairs>(block + (in_block * head_dim + dim) * Kv::kBytes, part);
    AddWeighted(Kv::Weight(item.Scores(query)[p], block, head_dim, in_block), values, sums);
  }
  float* out = item.Out(query) + dim;
  const FloatVec factor = hn::Set(d, scale);
#pragma GCC unroll 8
  for (size_t i = 0; i < kPairs; ++i) {
    const typename Kv::Pair scaled = {hn::Mul(sums.pairs[i].first, factor),
                                      hn::Mul(sums.pairs[i].second, factor)};
    if (part > 0) {
      alignas(64) float whole[32];
      Kv::StoreInOrder(scaled, whole);
      std::memcpy(out, whole, part * sizeof(float));
    } else {
      Kv::StoreInOrder(scaled, out + i * 2 * lanes);
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
template <class Kv>
void Attend(const AttentionItem& item) {
  const size_t queries = item.queries(), head_dim = item.kv->head_dim;
  size_t common = SIZE_MAX;  // positions below it lie in the slots of the same number
  for (const AttentionRow& row : item.rows)
    common = HWY_MIN(common, static_cast<size_t>(row.prefix));
  const float scale = 1.0f / std::sqrt(static_cast<float>(head_dim));
  for (size_t slot = 0; slot < item.end; slot += kVecs * hn::Lanes(FloatTag())) {
    ForQueries(queries,
               [&](auto n, size_t query) HWY_ATTR { Scores<Kv, n()>(item, query, slot, scale); });
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
        WeighBlock<Kv, n(), pairs()>(item, query, block, end, dim, part);
      });
    });
  }
  for (size_t query = 0; query < queries; ++query) {
    ForDimensions(head_dim, [&](auto pairs, size_t dim, size_t part) HWY_ATTR {
      FinishValues<Kv, pairs()>(item, query, common, dim, part, inverse_sums[query]);
    });
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace tern
HWY_AFTER_NAMESPACE();

#endif
