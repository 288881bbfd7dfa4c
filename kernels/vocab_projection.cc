#include "kernels/vocab_projection.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/vocab_projection.cc"
#include <hwy/foreach_target.h>
// After foreach_target.
#include <hwy/cache_control.h>

#include <cstring>

#include "kernels/bfloat16-inl.h"
#include "kernels/parallel.h"

HWY_BEFORE_NAMESPACE();
namespace tern {
namespace HWY_NAMESPACE {

// Accumulators of a tile: 16 of 32 registers, or 8 of 16.
inline constexpr size_t kSums = HWY_MAX_BYTES >= 64 ? 16 : 8;
inline constexpr size_t kMaxTileRows = HWY_MAX_BYTES >= 64 ? 4 : 2;
inline constexpr size_t kLanes = HWY_MIN(HWY_MAX_BYTES / sizeof(float), 16);

// Lane l of the result = sum of the lanes of v[l]. In every lane the same tree.
HWY_INLINE FloatVec SumEach(const FloatVec* v) {
  const FloatTag d;
  const hn::Repartition<uint64_t, FloatTag> d64;
  const auto halve = [&](FloatVec a,
                         FloatVec b) HWY_ATTR {  // a, b in turns, from lanes i and i + 2
    return hn::Add(hn::InterleaveLower(d, a, b), hn::InterleaveUpper(d, a, b));
  };
  FloatVec quads[kLanes / 4];  // in each 128-bit block: its sums in v[4 i] .. v[4 i + 3]
#pragma GCC unroll 4
  for (size_t i = 0; i < kLanes / 4; ++i) {
    const FloatVec low = halve(v[4 * i], v[4 * i + 1]), high = halve(v[4 * i + 2], v[4 * i + 3]);
    const auto low64 = hn::BitCast(d64, low), high64 = hn::BitCast(d64, high);
    quads[i] = hn::Add(hn::BitCast(d, hn::InterleaveLower(d64, low64, high64)),
                       hn::BitCast(d, hn::InterleaveUpper(d64, low64, high64)));
  }
  if constexpr (kLanes == 4) {
    return quads[0];
  } else {
    const auto fold = [&](FloatVec a, FloatVec b) HWY_ATTR {
      return hn::Add(hn::ConcatLowerLower(d, b, a), hn::ConcatUpperUpper(d, b, a));
    };
    if constexpr (kLanes == 8) {
      return fold(quads[0], quads[1]);
    } else {
      const FloatVec a = fold(quads[0], quads[2]), b = fold(quads[1], quads[3]);
      return hn::Add(hn::OddEvenBlocks(b, a), hn::SwapAdjacentBlocks(hn::OddEvenBlocks(a, b)));
    }
  }
}

// Hidden rows up to this width are put into the order of BFloat16Pairs once for many tiles, on the
// stack; wider ones in every tile.
inline constexpr size_t kMaxSplit = 1024;
// Embedding rows that stay in the cache while all hidden rows meet them.
inline constexpr size_t kPanel = 128;

// 2 * Lanes consecutive elements, in the order of BFloat16Pairs.
HWY_INLINE BFloat16Pairs LoadPairs(const float* x) {
  const FloatTag d;
  const FloatVec low = hn::LoadU(d, x), high = hn::LoadU(d, x + kLanes);
  return {hn::ConcatEven(d, high, low), hn::ConcatOdd(d, high, low)};
}

HWY_INLINE BFloat16Pairs LoadPairsPart(const float* x, size_t count) {
  float elements[32] = {};
  std::memcpy(elements, x, count * sizeof(float));
  return LoadPairs(elements);
}

// x in pieces of 2 * Lanes elements, the even ones and then the odd ones, with zeros after the
// last.
void Split(const float* x, size_t k, float* out) {
  const FloatTag d;
  for (size_t j = 0; j < k; j += 2 * kLanes) {
    const BFloat16Pairs pairs =
        j + 2 * kLanes <= k ? LoadPairs(x + j) : LoadPairsPart(x + j, k - j);
    hn::StoreU(pairs.even, d, out + j);
    hn::StoreU(pairs.odd, d, out + j + kLanes);
  }
}

// Hidden rows as a tile reads them.
struct HiddenRows {
  const float* data;
  size_t stride;
  size_t cols;
};

template <bool kSplit>
HWY_INLINE BFloat16Pairs LoadHidden(const float* h) {
  if constexpr (kSplit) return {hn::LoadU(FloatTag(), h), hn::LoadU(FloatTag(), h + kLanes)};
  return LoadPairs(h);
}

// Embedding rows of a tile: some that follow each other, of which the next tile reads the next, or
// any.
struct NextRows {
  static constexpr bool kHasNext = true;
  const BFloat16* first;
  size_t stride;
  HWY_INLINE const BFloat16* operator()(size_t v) const { return first + v * stride; }
};
struct PickedRows {
  static constexpr bool kHasNext = false;
  const BFloat16* const* rows;
  HWY_INLINE const BFloat16* operator()(size_t v) const { return rows[v]; }
};

// sums[r][v] += the products of hidden row r and embedding row first + v, lane by lane: over
// ascending pieces of 2 * Lanes elements, the even ones before the odd ones.
template <bool kSplit, size_t kRows, size_t kVocab, class Rows>
HWY_INLINE void Accumulate(const HiddenRows& hidden, const Rows& rows, size_t first,
                           FloatVec* out) {
  const FloatTag d;
  const size_t k = hidden.cols;
  FloatVec sums[kRows][kVocab];
#pragma GCC unroll 8
  for (size_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (size_t v = 0; v < kVocab; ++v) sums[r][v] = hn::Zero(d);
  }
  BFloat16Pairs x[kRows];
  size_t j = 0;
  for (; j + 2 * kLanes <= k; j += 2 * kLanes) {
#pragma GCC unroll 8
    for (size_t r = 0; r < kRows; ++r)
      x[r] = LoadHidden<kSplit>(hidden.data + r * hidden.stride + j);
#pragma GCC unroll 8
    for (size_t v = 0; v < kVocab; ++v) {
      const BFloat16* from = rows(first + v) + j;
      // One row alone waits for memory: ask for what the next tile reads.
      if constexpr (kRows == 1 && Rows::kHasNext) hwy::Prefetch(rows(first + v + kSums) + j);
      const BFloat16Pairs weights = LoadBFloat16Pairs(d, from);
#pragma GCC unroll 8
      for (size_t r = 0; r < kRows; ++r) {
        sums[r][v] = hn::MulAdd(x[r].even, weights.even, sums[r][v]);
        sums[r][v] = hn::MulAdd(x[r].odd, weights.odd, sums[r][v]);
      }
    }
  }
  if (j < k) {
#pragma GCC unroll 8
    for (size_t r = 0; r < kRows; ++r) {
      const float* h = hidden.data + r * hidden.stride + j;
      x[r] = kSplit ? LoadHidden<true>(h) : LoadPairsPart(h, k - j);
    }
#pragma GCC unroll 8
    for (size_t v = 0; v < kVocab; ++v) {
      const BFloat16Pairs weights = LoadBFloat16PairsPart(d, rows(first + v) + j, k - j);
#pragma GCC unroll 8
      for (size_t r = 0; r < kRows; ++r) {
        sums[r][v] = hn::MulAdd(x[r].even, weights.even, sums[r][v]);
        sums[r][v] = hn::MulAdd(x[r].odd, weights.odd, sums[r][v]);
      }
    }
  }
#pragma GCC unroll 8
  for (size_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (size_t v = 0; v < kVocab; ++v) out[r * kVocab + v] = sums[r][v];
  }
}

// kRows hidden rows x kSums / kRows embedding rows. One order for every pair, in every shape of
// tile. Writes the first `count` logits of each row.
template <bool kSplit, size_t kRows, class Rows>
HWY_NOINLINE void Tile(const HiddenRows& hidden, const Rows& rows, size_t count, float* logits,
                       size_t logits_stride) {
  constexpr size_t kVocab = kSums / kRows;
  constexpr size_t kStep = HWY_MIN(kVocab, 8);  // as many row addresses as registers hold
  FloatVec sums[kSums];                         // [kRows, kVocab]
#pragma GCC unroll 2
  for (size_t v = 0; v < kVocab; v += kStep) {
    Accumulate<kSplit, kRows, kStep>(hidden, rows, v, sums + v);
  }
  alignas(64) float results[kSums];
#pragma GCC unroll 4
  for (size_t i = 0; i < kSums; i += kLanes) hn::Store(SumEach(sums + i), FloatTag(), results + i);
  for (size_t r = 0; r < kRows; ++r) {
    std::memcpy(logits + r * logits_stride, results + r * kVocab, count * sizeof(float));
  }
}

template <bool kSplit, size_t kRows>
void Tiles(const HiddenRows& hidden, const MatView<const BFloat16>& embedding, size_t begin,
           size_t end, float* logits, size_t logits_stride) {
  constexpr size_t kVocab = kSums / kRows;
  const auto tile = [&](size_t vocab, size_t e_stride, size_t count) {
    Tile<kSplit, kRows>(hidden, NextRows{embedding.data + vocab * embedding.stride, e_stride},
                        count, logits + vocab, logits_stride);
  };
  if (end - begin < kVocab) {  // one embedding row at a time, in all places of the tile
    for (size_t vocab = begin; vocab < end; ++vocab) tile(vocab, 0, 1);
    return;
  }
  size_t vocab = begin;
  for (; vocab + kVocab <= end; vocab += kVocab) tile(vocab, embedding.stride, kVocab);
  if (vocab < end) tile(end - kVocab, embedding.stride, kVocab);  // some for a second time
}

template <size_t kRows>
void Panel(const MatView<const float>& hidden, size_t row, const MatView<const BFloat16>& embedding,
           size_t begin, size_t end, const MatView<float>& logits) {
  const size_t k = hidden.cols;
  if (k > kMaxSplit) {
    Tiles<false, kRows>({hidden.Row(row), hidden.stride, k}, embedding, begin, end, logits.Row(row),
                        logits.stride);
    return;
  }
  const size_t stride = (k + 2 * kLanes - 1) / (2 * kLanes) * (2 * kLanes);
  alignas(64) float split[kRows * kMaxSplit];
  for (size_t r = 0; r < kRows; ++r) Split(hidden.Row(row + r), k, split + r * stride);
  Tiles<true, kRows>({split, stride, k}, embedding, begin, end, logits.Row(row), logits.stride);
}

void ProjectRange(const MatView<const float>& hidden, const MatView<const BFloat16>& embedding,
                  const MatView<float>& logits, size_t begin, size_t end) {
  for (size_t panel = begin, next; panel < end; panel = next) {
    next = end - panel < 2 * kPanel ? end : panel + kPanel;  // none shorter than a tile
    size_t row = 0;
    if constexpr (kMaxTileRows == 4) {
      for (; row + 4 <= hidden.rows; row += 4) {
        Panel<4>(hidden, row, embedding, panel, next, logits);
      }
    }
    for (; row + 2 <= hidden.rows; row += 2) {
      Panel<2>(hidden, row, embedding, panel, next, logits);
    }
    if (row < hidden.rows) Panel<1>(hidden, row, embedding, panel, next, logits);
  }
}

// Logits of one hidden row with picked embedding rows.
void ProjectPicked(const MatView<const float>& hidden, const MatView<const BFloat16>& embedding,
                   std::span<const int32_t> picked, float* logits) {
  const BFloat16* rows[kSums];
  for (size_t i = 0; i < picked.size(); i += kSums) {
    const size_t count = HWY_MIN(kSums, picked.size() - i);
    for (size_t v = 0; v < kSums; ++v) {  // the last one again where there are no more
      rows[v] = embedding.Row(static_cast<size_t>(picked[i + HWY_MIN(v, count - 1)]));
    }
    Tile<false, 1>({hidden.data, hidden.stride, hidden.cols}, PickedRows{rows}, count, logits + i,
                   count);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace tern
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tern {
HWY_EXPORT(ProjectRange);
HWY_EXPORT(ProjectPicked);

void VocabProjection(MatView<const float> hidden, MatView<const BFloat16> embedding,
                     MatView<float> logits) {
  TERN_CHECK(hidden.cols == embedding.cols && logits.rows == hidden.rows &&
             logits.cols == embedding.rows)
      << "vocabulary projection: hidden [" << hidden.rows << ", " << hidden.cols << "], embedding ["
      << embedding.rows << ", " << embedding.cols << "], logits [" << logits.rows << ", "
      << logits.cols << "]";
  if (hidden.rows == 0) return;
  const size_t grain = (ProductGrain(hidden.cols * hidden.rows) + 15) / 16 * 16;  // whole tiles
  const auto range = HWY_DYNAMIC_DISPATCH(ProjectRange);
  ParallelFor(embedding.rows, grain,
              [&](size_t begin, size_t end) { range(hidden, embedding, logits, begin, end); });
}

void VocabProjectionOf(std::span<const float> hidden, MatView<const BFloat16> embedding,
                       std::span<const int32_t> picked, std::span<float> logits) {
  TERN_CHECK(hidden.size() == embedding.cols && logits.size() == picked.size())
      << "vocabulary projection: hidden [" << hidden.size() << "], embedding [" << embedding.rows
      << ", " << embedding.cols << "], " << picked.size() << " picked, " << logits.size()
      << " logits";
  HWY_DYNAMIC_DISPATCH(ProjectPicked)
  ({hidden.data(), 1, hidden.size()}, embedding, picked, logits.data());
}

}  // namespace tern
#endif  // HWY_ONCE
