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
// score over ascending dimensions, so a score has the same bits in any company. Asks for the block
// at `next` meanwhile.
template <class Kv, size_t kN>
HWY_NOINLINE void Scores(const AttentionPart& part, size_t query, size_t slot, float scale,
                         const std::byte* next) {
  const AttentionItem& item = part.item;
  const FloatTag d;
  const size_t lanes = hn::Lanes(d), head_dim = item.kv->head_dim, in_block = slot % kKvBlock;
  const float* q[kN];
  for (size_t n = 0; n < kN; ++n) q[n] = item.Q(query + n);
  const std::byte* block = item.kv->k + item.BlockOffset(slot);
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
                 part.Scores(query + n) + slot - part.begin + i * lanes);
    }
  }
}

// Scores by slot to scores by position.
HWY_INLINE void KeepVisible(const AttentionPart& part, const AttentionRow& row, float* scores) {
  const size_t end = part.begin + part.Seen(row);
  for (size_t p = HWY_MAX(part.begin, static_cast<size_t>(row.prefix)); p < end; ++p)
    scores[p - part.begin] = scores[SlotOf(row, p) - part.begin];
}

// Scores to exp(score - max), in place, max and their sum into the query's partial. Lane = position
// mod lanes: the order depends on absolute positions only.
HWY_INLINE void Softmax(float* scores, size_t length, size_t head_dim, float* partial) {
  const FloatTag d;
  const size_t lanes = hn::Lanes(d);
  const float largest = length > 0 ? MaxOf(scores, length) : 0.0f;
  const FloatVec top = hn::Set(d, largest);
  FloatVec sums = hn::Zero(d);
  size_t p = 0;
  for (; p + lanes <= length; p += lanes) {
    const FloatVec e = ExpNonPositive(d, hn::Sub(hn::LoadU(d, scores + p), top));
    hn::StoreU(e, d, scores + p);
    sums = hn::Add(sums, e);
  }
  if (p < length) {
    StorePart(ExpNonPositive(d, hn::Sub(LoadPart(d, scores + p, length - p), top)), d, scores + p,
              length - p);
    sums = hn::Add(sums, LoadPart(d, scores + p, length - p));
  }
  PartialMax(partial, head_dim) = largest;
  PartialSum(partial, head_dim) = hn::GetLane(hn::SumOfLanes(d, sums));
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

// The sums of a partial over kPairs pairs of vectors, where they wait between blocks.
template <class Kv, size_t kPairs>
HWY_INLINE Dimensions<Kv, kPairs> LoadSums(const float* from) {
  const FloatTag d;
  const size_t lanes = hn::Lanes(d);
  Dimensions<Kv, kPairs> sums;
#pragma GCC unroll 8
  for (size_t i = 0; i < kPairs; ++i, from += 2 * lanes)
    sums.pairs[i] = {hn::LoadU(d, from), hn::LoadU(d, from + lanes)};
  return sums;
}

template <class Kv, size_t kPairs>
HWY_INLINE void StoreSums(const Dimensions<Kv, kPairs>& sums, float* to) {
  const FloatTag d;
  const size_t lanes = hn::Lanes(d);
#pragma GCC unroll 8
  for (size_t i = 0; i < kPairs; ++i, to += 2 * lanes) {
    hn::StoreU(sums.pairs[i].first, d, to);
    hn::StoreU(sums.pairs[i].second, d, to + lanes);
  }
}

// sums[query][dim ..] += weight * V over the positions begin .. end, ascending, for kN queries.
// They lie in the slots of the same number, in one block. Asks for the block at `next` meanwhile.
template <class Kv, size_t kN, size_t kPairs>
HWY_NOINLINE void WeighBlock(const AttentionPart& part, size_t query, size_t begin, size_t end,
                             size_t dim, size_t dims_left, const std::byte* next) {
  const AttentionItem& item = part.item;
  const size_t head_dim = item.kv->head_dim, stride = head_dim * Kv::kBytes;
  Dimensions<Kv, kPairs> sums[kN];
#pragma GCC unroll 8
  for (size_t n = 0; n < kN; ++n) sums[n] = LoadSums<Kv, kPairs>(part.Partial(query + n) + dim);
  const std::byte* block = item.kv->v + item.BlockOffset(begin);
  const std::byte* v = block + begin % kKvBlock * stride + dim * Kv::kBytes;
  next += dim * Kv::kBytes;
  for (size_t p = begin; p < end; ++p, v += stride, next += stride) {
    const auto values = LoadValues<Kv, kPairs>(v, dims_left);
    for (size_t i = 0; i < kPairs; ++i)
      PrefetchToL2(next + i * 2 * hn::Lanes(FloatTag()) * Kv::kBytes);
#pragma GCC unroll 8
    for (size_t n = 0; n < kN; ++n) {
      const float weight = part.Scores(query + n)[p - part.begin];
      AddWeighted(Kv::Weight(weight, block, head_dim, p % kKvBlock), values, sums[n]);
    }
  }
#pragma GCC unroll 8
  for (size_t n = 0; n < kN; ++n) StoreSums(sums[n], part.Partial(query + n) + dim);
}

// sums[query][dim ..] += weight * V over the positions begin .. end, ascending, wherever they lie.
template <class Kv, size_t kPairs>
void WeighSingly(const AttentionPart& part, size_t query, size_t begin, size_t end, size_t dim,
                 size_t dims_left) {
  const AttentionItem& item = part.item;
  const size_t head_dim = item.kv->head_dim;
  float* const waiting = part.Partial(query) + dim;
  auto sums = LoadSums<Kv, kPairs>(waiting);
  for (size_t p = begin; p < end; ++p) {
    const size_t slot = SlotOf(item.RowOf(query), p), in_block = slot % kKvBlock;
    const std::byte* block = item.kv->v + item.BlockOffset(slot);
    const auto values =
        LoadValues<Kv, kPairs>(block + (in_block * head_dim + dim) * Kv::kBytes, dims_left);
    const float weight = part.Scores(query)[p - part.begin];
    AddWeighted(Kv::Weight(weight, block, head_dim, in_block), values, sums);
  }
  StoreSums(sums, waiting);
}

// Calls fn<kPairs>(dim, dims_left) for all dimensions of a head, most at a time.
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

// Slots of the part's positions are all below this; its first one where no row sees any.
HWY_INLINE size_t SlotsEnd(const AttentionPart& part) {
  size_t end = part.begin;
  for (const AttentionRow& row : part.item.rows) {
    const size_t seen = part.Seen(row);
    if (seen > 0) end = HWY_MAX(end, SlotOf(row, part.begin + seen - 1) + 1);
  }
  return end;
}

template <class Kv>
void ScorePart(const AttentionPart& part) {
  const AttentionItem& item = part.item;
  const float scale = 1.0f / std::sqrt(static_cast<float>(item.kv->head_dim));
  const size_t end = SlotsEnd(part);
  const std::byte* const values = item.kv->v + item.BlockOffset(part.begin);
  for (size_t slot = part.begin; slot < end; slot += kVecs * hn::Lanes(FloatTag())) {
    const size_t after = (slot / kKvBlock + 1) * kKvBlock;
    const std::byte* next = after < end ? item.kv->k + item.BlockOffset(after) : values;
    ForQueries(item.queries(), [&](auto n, size_t query)
                                   HWY_ATTR { Scores<Kv, n()>(part, query, slot, scale, next); });
  }
}

template <class Kv>
void WeighPart(const AttentionPart& part) {
  const AttentionItem& item = part.item;
  const size_t head_dim = item.kv->head_dim;
  size_t common = part.end(), longest = 0;  // positions below `common` lie in equal slots
  for (const AttentionRow& row : item.rows) {
    common = HWY_MIN(common, static_cast<size_t>(row.prefix));
    longest = HWY_MAX(longest, static_cast<size_t>(row.length()));
  }
  common = HWY_MAX(common, part.begin);
  for (size_t block = part.begin; block < common; block += kKvBlock) {
    const size_t end = HWY_MIN(common, block + kKvBlock), after = block + kKvBlock;
    // Behind the segment's last values, the next segment's first keys.
    const std::byte* next = after < part.end() ? item.kv->v : item.kv->k;
    next += item.BlockOffset(after < longest ? after : block);
    ForQueries(item.queries(), [&](auto n, size_t query) HWY_ATTR {
      ForDimensions(head_dim, [&](auto pairs, size_t dim, size_t dims_left) HWY_ATTR {
        WeighBlock<Kv, n(), pairs()>(part, query, block, end, dim, dims_left, next);
      });
    });
  }
  for (size_t query = 0; query < item.queries(); ++query) {
    const size_t end = part.begin + part.Seen(item.RowOf(query));
    if (common >= end) continue;
    ForDimensions(head_dim, [&](auto pairs, size_t dim, size_t dims_left) HWY_ATTR {
      WeighSingly<Kv, pairs()>(part, query, common, end, dim, dims_left);
    });
  }
}

// Scores, softmax and values of a segment: a block of K or V is read once for all queries.
template <class Kv>
void Attend(const AttentionPart& part) {
  const AttentionItem& item = part.item;
  ScorePart<Kv>(part);
  for (size_t query = 0; query < item.queries(); ++query) {
    const AttentionRow& row = item.RowOf(query);
    KeepVisible(part, row, part.Scores(query));
    std::fill_n(part.Partial(query), PartialFloats(item.kv->head_dim), 0.0f);
    Softmax(part.Scores(query), part.Seen(row), item.kv->head_dim, part.Partial(query));
  }
  WeighPart<Kv>(part);
}

// out = sums / sum of the item's partials.
template <class Kv>
void WriteOut(const AttentionItem& item, float* partials) {
  const FloatTag d;
  const size_t lanes = hn::Lanes(d), head_dim = item.kv->head_dim;
  for (size_t query = 0; query < item.queries(); ++query) {
    float* const partial = partials + query * PartialFloats(head_dim);
    const FloatVec factor = hn::Set(d, 1.0f / PartialSum(partial, head_dim));
    for (size_t dim = 0; dim < head_dim; dim += 2 * lanes) {
      const auto sums = LoadSums<Kv, 1>(partial + dim);
      const typename Kv::Pair scaled = {hn::Mul(sums.pairs[0].first, factor),
                                        hn::Mul(sums.pairs[0].second, factor)};
      if (dim + 2 * lanes <= head_dim) {
        Kv::StoreInOrder(scaled, item.Out(query) + dim);
      } else {
        alignas(64) float whole[32];
        Kv::StoreInOrder(scaled, whole);
        std::memcpy(item.Out(query) + dim, whole, (head_dim - dim) * sizeof(float));
      }
    }
  }
}

// Adds the partials of the next segment to those of all before it.
HWY_INLINE void FoldPartial(size_t head_dim, float* partial, float* total) {
  const FloatTag d;
  if (PartialSum(partial, head_dim) == 0.0f) return;  // sees nothing of the segment
  const float before = PartialMax(total, head_dim), next = PartialMax(partial, head_dim);
  const float top = HWY_MAX(before, next);
  const FloatVec old_share = ExpNonPositive(d, hn::Set(d, before - top));
  const FloatVec new_share = ExpNonPositive(d, hn::Set(d, next - top));
  // The sums, and the sum of weights, which stands behind the maximum.
  for (size_t i = 0; i < PartialFloats(head_dim); i += hn::Lanes(d)) {
    const FloatVec grown = hn::Mul(hn::LoadU(d, total + i), old_share);
    hn::StoreU(hn::MulAdd(hn::LoadU(d, partial + i), new_share, grown), d, total + i);
  }
  PartialMax(total, head_dim) = top;
}

}  // namespace HWY_NAMESPACE
}  // namespace tern
HWY_AFTER_NAMESPACE();

#endif
