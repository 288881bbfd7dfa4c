#include "kernels/int8_matmul.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/int8_matmul.cc"
#include "kernels/foreach_int_target-inl.h"
// After foreach_target.
#include <array>
#include <utility>

#include "kernels/int8_matmul-inl.h"
#include "kernels/parallel.h"

TERN_BEFORE_INT_DOT();
namespace tern {
namespace HWY_NAMESPACE {

// One tile: rows first .. first + kRows of x against kStrips strips from `strip` on.
template <size_t kRows, size_t kStrips>
HWY_NOINLINE void Int8Tile(const Int8Matrix& w, const QuantizedRows& x, size_t first, size_t strip,
                           const MatView<float>& y) {
  const size_t blocks = x.codes.cols / 4;
  const uint8_t* strips[kStrips];
  for (size_t s = 0; s < kStrips; ++s)
    strips[s] = StripAt<kInt8RowGroup>(w.data.data(), strip + s, blocks);
  DotVec dots[kRows][kStrips];
  constexpr size_t kStripsPerGroup = kInt8RowGroup / kStripRows;
  DotInt8Strips<kRows, kStrips>(strips, blocks, strip % kStripsPerGroup == 0, x.codes.Row(first),
                                x.codes.stride, dots);
#pragma GCC unroll 8
  for (size_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (size_t s = 0; s < kStrips; ++s) {
      const size_t output = (strip + s) * kStripRows;
      if (output >= w.rows) continue;  // the last strips of a group may be padding
      StoreInt8(dots[r][s], kInt8Offset * x.sums[first + r], x.scales[first + r],
                w.scales.data() + output, y.Row(first + r) + output, w.rows - output);
    }
  }
}

// All strips of strip .. end that come in whole tiles of kStrips, for rows first .. first + kRows;
// returns the first strip left over.
template <size_t kRows, size_t kStrips>
HWY_INLINE size_t Int8Tiles(const Int8Matrix& w, const QuantizedRows& x, size_t first, size_t strip,
                            size_t end, const MatView<float>& y) {
  for (; strip + kStrips <= end; strip += kStrips) Int8Tile<kRows, kStrips>(w, x, first, strip, y);
  return strip;
}

template <size_t kRows>
void Int8Rows(const Int8Matrix& w, const QuantizedRows& x, size_t first, size_t strip, size_t end,
              const MatView<float>& y) {
  constexpr size_t kStrips = Int8TileStrips(kRows);
  strip = Int8Tiles<kRows, kStrips>(w, x, first, strip, end, y);
  if constexpr (kStrips > 1) Int8Tiles<kRows, 1>(w, x, first, strip, end, y);
}

using Int8RowsFn = void (*)(const Int8Matrix&, const QuantizedRows&, size_t, size_t, size_t,
                            const MatView<float>&);

template <size_t... kRowsLessOne>
constexpr std::array<Int8RowsFn, sizeof...(kRowsLessOne)> AllInt8Rows(
    std::index_sequence<kRowsLessOne...>) {
  return {Int8Rows<kRowsLessOne + 1>...};
}

// Groups begin .. end. Row tiles run inside pieces of the matrix that stay in the
// first-level cache, so that weights come from memory once.
void Int8MatmulGroups(const Int8Matrix& w, const QuantizedRows& x, const MatView<float>& y,
                      size_t begin, size_t end) {
  static constexpr auto kRows = AllInt8Rows(std::make_index_sequence<kInt8MaxTileRows>());
  constexpr size_t kStripsPerGroup = kInt8RowGroup / kStripRows;
  constexpr size_t kPieceGroups = 2;
  const size_t n = x.n(), tiles = (n + kInt8MaxTileRows - 1) / kInt8MaxTileRows;
  const size_t piece = tiles == 1 ? end - begin : kPieceGroups;
  for (size_t group = begin; group < end; group += piece) {
    const size_t last = HWY_MIN(group + piece, end);
    for (size_t t = 0; t < tiles; ++t) {
      // Even: 9 rows are 4 + 5.
      const size_t first = n * t / tiles, rows = n * (t + 1) / tiles - first;
      kRows[rows - 1](w, x, first, group * kStripsPerGroup, last * kStripsPerGroup, y);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace tern
TERN_AFTER_INT_DOT();

#if HWY_ONCE
namespace tern {
HWY_EXPORT(Int8MatmulGroups);

namespace {
// 5 to 10 microseconds on one core with VNNI, as for ternary products.
constexpr size_t kMinProductsPerThread = size_t{1} << 20;
}  // namespace

void Int8Matmul(const Int8Matrix& w, const QuantizedRows& x, MatView<float> y) {
  TERN_CHECK(x.codes.cols == PadK(w.cols) && x.scales.size() == x.n() && x.sums.size() == x.n() &&
             y.rows == x.n() && y.cols == w.rows)
      << "int8 matmul: w [" << w.rows << ", " << w.cols << "], codes [" << x.n() << ", "
      << x.codes.cols << "], y [" << y.rows << ", " << y.cols << "]";
  TERN_CHECK(w.cols <= kMaxInt8Width)
      << "int8 matmul: K = " << w.cols << ", exact up to " << kMaxInt8Width;
  if (x.n() == 0) return;
  const size_t groups = (w.rows + kInt8RowGroup - 1) / kInt8RowGroup;
  const size_t group_products = kInt8RowGroup * x.codes.cols * x.n();
  const size_t grain = LeastPiece(kMinProductsPerThread) / (group_products + 1) + 1;
  const auto range = TERN_INT_DISPATCH(Int8MatmulGroups);
  ParallelFor(groups, grain, [&](size_t begin, size_t end) { range(w, x, y, begin, end); });
}

}  // namespace tern
#endif  // HWY_ONCE
