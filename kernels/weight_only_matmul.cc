#include "kernels/weight_only_matmul.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/weight_only_matmul.cc"
#include <hwy/foreach_target.h>
// After foreach_target.
#include <algorithm>
#include <array>
#include <utility>

#include "kernels/parallel.h"
#include "kernels/quantize.h"
#include "kernels/simd-inl.h"

#if HWY_ARCH_X86
#include <immintrin.h>
#endif

HWY_BEFORE_NAMESPACE();
namespace tern {
namespace HWY_NAMESPACE {

constexpr size_t kBlockCols = 16, kBlockBytes = 4 * kTernaryRowGroup;  // a line of ternary_pack.h
constexpr size_t kStripRows = HWY_MIN(HWY_LANES(float), kTernaryRowGroup);
constexpr size_t kStripsPerGroup = kTernaryRowGroup / kStripRows;
constexpr size_t kMaxRun = 128;  // columns that one accumulator adds

// Four strips: as many independent sums hide the latency of an addition for a single row. Four rows
// of them are 16 accumulators, which 32 registers hold beside the weights; two rows fit 16.
constexpr size_t kTileStrips = 4;
constexpr size_t kMaxTileRows = HWY_LANES(float) >= 16 ? 4 : 2;

// Columns per scale and per accumulator.
struct Run {
  size_t group_cols;  // columns of a scale
  size_t cols;        // columns added before the scale is applied; divides group_cols
};

Run RunOf(const TernaryView& w) {
  const bool one_group = w.has_one_scale() || w.group_cols == w.cols;
  const size_t group = one_group ? PadK(w.cols) : w.group_cols;
  return {group, one_group || group > kMaxRun ? kMaxRun : group};
}

// The weights of column 4 * field + byte of a line, 16 / kStripsPerGroup rows of it: -1, 0 or 1.
template <int kShift>
HWY_INLINE FloatVec ColumnWeights(IntVec line) {
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
  // Looks up the two low bits of every lane.
  const __m512 table = _mm512_broadcast_f32x4(_mm_setr_ps(-1.0f, 0.0f, 1.0f, 0.0f));
  return FloatVec{_mm512_permutevar_ps(table, hn::ShiftRight<kShift>(line).raw)};
#elif HWY_TARGET == HWY_AVX2
  const __m256 table = _mm256_setr_ps(-1.0f, 0.0f, 1.0f, 0.0f, -1.0f, 0.0f, 1.0f, 0.0f);
  return FloatVec{_mm256_permutevar_ps(table, hn::ShiftRight<kShift>(line).raw)};
#else
  const IntTag di;
  const IntVec code = hn::And(hn::ShiftRight<kShift>(line), hn::Set(di, 3));
  return hn::ConvertTo(FloatTag(), hn::Sub(code, hn::Set(di, 1)));
#endif
}

// sums[r][s] += the weights of one column times x[r][kColumn].
template <int kColumn, size_t kRows, size_t kStrips>
HWY_INLINE void AddColumn(const IntVec (&lines)[kStrips], const float* const (&x)[kRows],
                          FloatVec (&sums)[kRows][kStrips]) {
  const FloatTag d;
  FloatVec weights[kStrips];
#pragma GCC unroll 8
  for (size_t s = 0; s < kStrips; ++s) {
    weights[s] = ColumnWeights<8 * (kColumn % 4) + 2 * (kColumn / 4)>(lines[s]);
  }
#pragma GCC unroll 8
  for (size_t r = 0; r < kRows; ++r) {
    const FloatVec value = hn::Set(d, x[r][kColumn]);
#pragma GCC unroll 8
    for (size_t s = 0; s < kStrips; ++s) sums[r][s] = hn::MulAdd(weights[s], value, sums[r][s]);
  }
}

template <size_t kRows, size_t kStrips, int... kColumns>
HWY_INLINE void AddBlock(const IntVec (&lines)[kStrips], const float* const (&x)[kRows],
                         FloatVec (&sums)[kRows][kStrips],
                         std::integer_sequence<int, kColumns...>) {
  (AddColumn<kColumns>(lines, x, sums), ...);
}

// One tile: rows first .. first + kRows of x against kStrips strips from `strip` on.
template <size_t kRows, size_t kStrips>
HWY_NOINLINE void Tile(const TernaryView& w, const Run& run, const MatView<const float>& x,
                       size_t first, size_t strip, const MatView<float>& y) {
  const FloatTag d;
  const IntTag di;
  const size_t blocks = PadK(w.cols) / kBlockCols, full_blocks = w.cols / kBlockCols;
  const size_t stride = PadRows(w.rows);
  const uint8_t* strips[kStrips];
  for (size_t s = 0; s < kStrips; ++s) {
    strips[s] = w.data + (strip + s) / kStripsPerGroup * blocks * kBlockBytes +
                (strip + s) % kStripsPerGroup * (kStripRows * 4);
  }
  float tail[kRows][kBlockCols];  // the last block of columns, where it is a part of one
  if (full_blocks < blocks) {
    for (size_t r = 0; r < kRows; ++r) {
      std::fill_n(tail[r], kBlockCols, 0.0f);
      std::copy(x.Row(first + r) + full_blocks * kBlockCols, x.Row(first + r) + w.cols, tail[r]);
    }
  }
  FloatVec totals[kRows][kStrips];
  for (size_t r = 0; r < kRows; ++r) {
    for (size_t s = 0; s < kStrips; ++s) totals[r][s] = hn::Zero(d);
  }
  for (size_t begin = 0; begin < blocks; begin += run.cols / kBlockCols) {
    const size_t end = HWY_MIN(blocks, begin + run.cols / kBlockCols);
    FloatVec sums[kRows][kStrips];
#pragma GCC unroll 8
    for (size_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
      for (size_t s = 0; s < kStrips; ++s) sums[r][s] = hn::Zero(d);
    }
    for (size_t b = begin; b < end; ++b) {
      IntVec lines[kStrips];
#pragma GCC unroll 8
      for (size_t s = 0; s < kStrips; ++s) {
        lines[s] = hn::Load(di, reinterpret_cast<const int32_t*>(strips[s] + b * kBlockBytes));
      }
      const float* at[kRows];
#pragma GCC unroll 8
      for (size_t r = 0; r < kRows; ++r)
        at[r] = b < full_blocks ? x.Row(first + r) + b * kBlockCols : tail[r];
      AddBlock(lines, at, sums, std::make_integer_sequence<int, kBlockCols>());
    }
    const size_t group = begin * kBlockCols / run.group_cols;
    for (size_t s = 0; s < kStrips; ++s) {
      const FloatVec scale =
          w.has_one_scale()
              ? hn::Set(d, w.scale)
              : hn::Load(d, w.group_scales + group * stride + (strip + s) * kStripRows);
      for (size_t r = 0; r < kRows; ++r)
        totals[r][s] = hn::Add(totals[r][s], hn::Mul(scale, sums[r][s]));
    }
  }
  for (size_t s = 0; s < kStrips; ++s) {
    const size_t output = (strip + s) * kStripRows;
    if (output >= w.rows) continue;  // the last strips of a group may be padding
    const size_t count = HWY_MIN(kStripRows, w.rows - output);
    for (size_t r = 0; r < kRows; ++r) {
      float* to = y.Row(first + r) + output;
      if (count == kStripRows) {
        hn::StoreU(totals[r][s], d, to);
      } else {
        StorePart(totals[r][s], d, to, count);
      }
    }
  }
}

using TileFn = void (*)(const TernaryView&, const Run&, const MatView<const float>&, size_t, size_t,
                        const MatView<float>&);

// The tiles of kStrips strips and 1, 2, ... rows.
template <size_t kStrips, size_t... kRowsLessOne>
constexpr std::array<TileFn, sizeof...(kRowsLessOne)> Tiles(std::index_sequence<kRowsLessOne...>) {
  return {Tile<kRowsLessOne + 1, kStrips>...};
}

// All rows against strips strip .. end, kStrips at a time; returns the first strip left over. Row
// tiles run inside the strips, whose weights so come from memory once and from the cache after
// that.
template <size_t kStrips>
size_t MatmulStrips(const TernaryView& w, const Run& run, const MatView<const float>& x,
                    const MatView<float>& y, size_t strip, size_t end) {
  static constexpr auto kTiles = Tiles<kStrips>(std::make_index_sequence<kMaxTileRows>());
  for (; strip + kStrips <= end; strip += kStrips) {
    for (size_t first = 0; first < x.rows; first += kMaxTileRows) {
      const size_t rows = HWY_MIN(kMaxTileRows, x.rows - first);
      kTiles[rows - 1](w, run, x, first, strip, y);
    }
  }
  return strip;
}

// Groups begin .. end of 16 outputs.
void WeightOnlyGroups(const TernaryView& w, const MatView<const float>& x, const MatView<float>& y,
                      size_t begin, size_t end) {
  const Run run = RunOf(w);
  const size_t last = end * kStripsPerGroup;
  const size_t strip = MatmulStrips<kTileStrips>(w, run, x, y, begin * kStripsPerGroup, last);
  MatmulStrips<1>(w, run, x, y, strip, last);
}

}  // namespace HWY_NAMESPACE
}  // namespace tern
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tern {
HWY_EXPORT(WeightOnlyGroups);

void WeightOnlyMatmul(const TernaryView& w, MatView<const float> x, MatView<float> y) {
  TERN_CHECK(x.cols == w.cols && y.rows == x.rows && y.cols == w.rows &&
             (w.has_one_scale() || ValidGroup(w.group_cols, w.cols)))
      << "weight-only matmul: w [" << w.rows << ", " << w.cols << "] in groups of " << w.group_cols
      << ", x [" << x.rows << ", " << x.cols << "], y [" << y.rows << ", " << y.cols << "]";
  if (x.rows == 0) return;
  const size_t groups = (w.rows + kTernaryRowGroup - 1) / kTernaryRowGroup;
  // Whole tiles.
  const size_t grain = (ProductGrain(kTernaryRowGroup * w.cols * x.rows) + 1) / 2 * 2;
  const auto range = HWY_DYNAMIC_DISPATCH(WeightOnlyGroups);
  ParallelFor(groups, grain, [&](size_t begin, size_t end) { range(w, x, y, begin, end); });
}

}  // namespace tern
#endif  // HWY_ONCE
