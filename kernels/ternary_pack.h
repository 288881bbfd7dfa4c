// The packed form of a ternary matrix that the kernels run on, 2 bits a weight.
//
// Rows (outputs) go in groups of 32, columns (K) in blocks of 16. A 128-byte line holds one group x
// block; byte 4 * r + j (r = row in the group, j = 0..3) holds four codes (weight + 1, so 0, 1 or
// 2):
//
//     bits 0-1  column j        bits 2-3  column j + 4
//     bits 4-5  column j + 8    bits 6-7  column j + 12
//
// so that (line >> 2f) & 3 is, for f = 0..3, a vector of 32 rows x 4 consecutive columns: the
// operand of a 4-way int8 dot product, against the same 4 activations broadcast to all rows. Lines
// of a group are consecutive in K: a thread that owns a range of groups, and multiplies a group at
// a time, reads one sequential, aligned stream. (Two streams, from groups of 16, cost a third of
// the bandwidth.) Padding (rows to 32, K to 16) holds code 1, weight 0.
#ifndef TERN_KERNELS_TERNARY_PACK_H_
#define TERN_KERNELS_TERNARY_PACK_H_

#include <cstddef>
#include <cstdint>

#include "kernels/aligned_buffer.h"
#include "kernels/mat_view.h"

namespace tern {

inline constexpr size_t kTernaryRowGroup = 32;

// A packed matrix somebody owns. y = x W^T, where the value of a weight is its scale times -1, 0 or
// 1. The scale is `scale` everywhere, or one per row and group of `group_cols` columns.
struct TernaryView {
  const uint8_t* data = nullptr;  // 64-byte aligned, PackedTernaryBytes(rows, cols) long
  size_t rows = 0;                // outputs
  size_t cols = 0;                // inputs, K
  float scale = 1.0f;             // of the whole matrix, where group_scales is null
  // [groups, PadRows(rows)]: that of (row, column) is group_scales[column / group_cols *
  // PadRows(rows) + row], so that a vector of rows finds its scales side by side. 64-byte aligned.
  const float* group_scales = nullptr;
  size_t group_cols = 0;  // ValidGroup(group_cols, cols)

  bool has_one_scale() const { return group_scales == nullptr; }
};

// Owner of a packed matrix.
struct TernaryMatrix {
  AlignedBuffer<uint8_t> data;
  size_t rows = 0, cols = 0;
  float scale = 1.0f;
  AlignedBuffer<float> group_scales;  // empty: one scale
  size_t group_cols = 0;
  TernaryView View() const {
    return {data.data(), rows, cols, scale, group_scales.size() > 0 ? group_scales.data() : nullptr,
            group_cols};
  }
};

inline constexpr size_t PadRows(size_t rows) {
  return (rows + kTernaryRowGroup - 1) / kTernaryRowGroup * kTernaryRowGroup;
}

// Columns that may share a scale: all of a row, or a power of two from 16 on.
inline constexpr bool ValidGroup(size_t group_cols, size_t cols) {
  return group_cols == cols || (group_cols >= 16 && (group_cols & (group_cols - 1)) == 0);
}

size_t PackedTernaryBytes(size_t rows, size_t cols);

// Packs weights [rows, cols], each -1, 0 or 1 (REQUIRED; validate files before).
TernaryMatrix PackTernary(MatView<const int8_t> weights, float scale);
// The same with scales [rows, ceil(cols / group_cols)], finite and not negative; 0 only where all
// weights of the group are 0. Where all others agree, over the matrix or along every row, the
// result has one scale, or one a row. REQUIRES ValidGroup.
TernaryMatrix PackTernaryGroups(MatView<const int8_t> weights, MatView<const float> scales,
                                size_t group_cols);
// The reverse: out [rows, cols].
void UnpackTernary(const TernaryView& packed, MatView<int8_t> out);

// The packed codes in an order that stays when the layout above changes, for fingerprints: tiles of
// 16 rows x 16 columns, 64 bytes each, a row of tiles after the other. Padded as is the matrix, but
// rows to 16.
AlignedBuffer<uint8_t> CanonicalTernary(const TernaryView& packed);

// Repacks the Hugging Face layout of facts 1.7: uint8 [rows / 4, cols], byte (r, c) = codes of rows
// r, r + rows/4, r + rows/2, r + 3*rows/4, low bits first. REQUIRES rows % 4 == 0. Returns false
// where a byte holds the invalid code 3 (*bad_index = its index), true otherwise.
bool PackFromHuggingFace(const uint8_t* src, size_t rows, size_t cols, float scale,
                         TernaryMatrix* out, size_t* bad_index);
// Writes that layout: dst [rows / 4 * cols] bytes. REQUIRES rows % 4 == 0.
void PackToHuggingFace(MatView<const int8_t> weights, uint8_t* dst);

// Ternarises master weights (BitNet b1.58): mean = max(mean|W|, 1e-5); T = clamp(round_half_even(W
// / mean), -1, 1). Returns mean, summed in double in row order. out [rows, cols].
float TernarizeAbsMean(MatView<const float> weights, MatView<int8_t> out);

}  // namespace tern

#endif  // TERN_KERNELS_TERNARY_PACK_H_
