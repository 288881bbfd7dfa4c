#include "kernels/ternary_matmul.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/ternary_matmul.cc"
#include "kernels/foreach_int_target-inl.h"
// After foreach_target.
#include <array>
#include <utility>

#include "kernels/parallel.h"
#include "kernels/ternary_matmul-inl.h"

TERN_BEFORE_INT_DOT();
namespace tern {
namespace HWY_NAMESPACE {

// One tile: rows first .. first + kRows of x against kStrips strips from `strip` on.
template <size_t kRows, size_t kStrips>
HWY_NOINLINE void Tile(const TernaryView& w, const QuantizedRows& x, size_t first, size_t strip,
                       const MatView<float>& y) {
  const size_t blocks = x.codes.cols / kTernaryKAlign;
  const uint8_t* strips[kStrips];
  for (size_t s = 0; s < kStrips; ++s)
    strips[s] = StripAt<kTernaryRowGroup>(w.data, strip + s, blocks);
  DotVec dots[kRows][kStrips];
  DotStrips<kRows, kStrips>(strips, blocks, x.codes.Row(first), x.codes.stride, dots);
#pragma GCC unroll 8
  for (size_t r = 0; r < kRows; ++r) {
    const float scale = x.scales[first + r] * w.scale;
#pragma GCC unroll 8
    for (size_t s = 0; s < kStrips; ++s) {
      const size_t output = (strip + s) * kStripRows;
      if (output >= w.rows) continue;  // the last strips of a group may be padding
      StoreTernary(dots[r][s], x.sums[first + r], scale, y.Row(first + r) + output,
                   w.rows - output);
    }
  }
}

using TileFn = void (*)(const TernaryView&, const QuantizedRows&, size_t, size_t,
                        const MatView<float>&);

// The tiles of kStrips strips and 1, 2, ... rows.
template <size_t kStrips, size_t... kRowsLessOne>
constexpr std::array<TileFn, sizeof...(kRowsLessOne)> Tiles(std::index_sequence<kRowsLessOne...>) {
  return {Tile<kRowsLessOne + 1, kStrips>...};
}

// All rows, in tiles of at most kMaxRows, against strips strip .. end, kStrips at a time; returns
// the first strip left over. Row tiles run inside the strips, whose weights so come from memory
// once and from the cache after that.
template <size_t kMaxRows, size_t kStrips>
size_t MatmulStrips(const TernaryView& w, const QuantizedRows& x, const MatView<float>& y,
                    size_t strip, size_t end) {
  static constexpr auto kTiles = Tiles<kStrips>(std::make_index_sequence<kMaxRows>());
  const size_t n = x.n(), tiles = (n + kMaxRows - 1) / kMaxRows;
  for (; strip + kStrips <= end; strip += kStrips) {
    for (size_t t = 0; t < tiles; ++t) {
      // Even: 9 rows are 4 + 5.
      const size_t first = n * t / tiles, rows = n * (t + 1) / tiles - first;
      kTiles[rows - 1](w, x, first, strip, y);
    }
  }
  return strip;
}

// Groups begin .. end.
void MatmulGroups(const TernaryView& w, const QuantizedRows& x, const MatView<float>& y,
                  size_t begin, size_t end) {
  constexpr size_t kStripsPerGroup = kTernaryRowGroup / kStripRows;
  size_t strip = begin * kStripsPerGroup;
  const size_t last = end * kStripsPerGroup;
  if constexpr (kMaxWideRows > 0) {
    if (x.n() <= kMaxWideRows)
      strip = MatmulStrips<kMaxWideRows, 2 * kTileStrips>(w, x, y, strip, last);
  }
  strip = MatmulStrips<kMaxTileRows, kTileStrips>(w, x, y, strip, last);
  if constexpr (kTileStrips > 1) MatmulStrips<kMaxTileRows, 1>(w, x, y, strip, last);
}

}  // namespace HWY_NAMESPACE
}  // namespace tern
TERN_AFTER_INT_DOT();

#if HWY_ONCE
namespace tern {
HWY_EXPORT(MatmulGroups);

namespace {
// Products of 5 to 10 microseconds on one core, with and without VNNI: some times the price of
// waking another.
constexpr size_t kMinProductsPerThread = size_t{1} << 20;
constexpr size_t kMaxExactK = (size_t{1} << 24) / 127;
}  // namespace

void TernaryMatmul(const TernaryView& w, const QuantizedRows& x, MatView<float> y) {
  TERN_CHECK(x.codes.cols == PadK(w.cols) && x.scales.size() == x.n() && x.sums.size() == x.n() &&
             y.rows == x.n() && y.cols == w.rows)
      << "ternary matmul: w [" << w.rows << ", " << w.cols << "], codes [" << x.n() << ", "
      << x.codes.cols << "], y [" << y.rows << ", " << y.cols << "]";
  TERN_CHECK(w.cols <= kMaxExactK)
      << "ternary matmul: K = " << w.cols << ", exact up to " << kMaxExactK;
  const size_t groups = (w.rows + kTernaryRowGroup - 1) / kTernaryRowGroup;
  const size_t group_products = kTernaryRowGroup * x.codes.cols * x.n();
  const size_t grain = LeastPiece(kMinProductsPerThread) / (group_products + 1) + 1;
  const auto range = TERN_INT_DISPATCH(MatmulGroups);
  ParallelFor(groups, grain, [&](size_t begin, size_t end) { range(w, x, y, begin, end); });
}

}  // namespace tern
#endif  // HWY_ONCE
