// The packed form of a ternary matrix that the kernels run on, 2 bits a weight.
//
// Rows (outputs) go in groups of 16, columns (K) in blocks of 16. A 64-byte line holds one group x
// block; byte 4 * r + j (r = row in the group, j = 0..3) holds four codes (weight + 1, so 0, 1 or
// 2):
//
//     bits 0-1  column j        bits 2-3  column j + 4
//     bits 4-5  column j + 8    bits 6-7  column j + 12
//
// so that (line >> 2f) & 3 is, for f = 0..3, a vector of 16 rows x 4 consecutive columns: the
// operand of a 4-way int8 dot product, against the same 4 activations broadcast to all rows. Lines
// of a group are consecutive in K: a thread that owns a range of groups reads one sequential,
// aligned stream. Padding (rows to 16, K to 16) holds code 1, weight 0.
#ifndef TERN_KERNELS_TERNARY_PACK_H_
#define TERN_KERNELS_TERNARY_PACK_H_

#include <cstddef>
#include <cstdint>

#include "kernels/aligned_buffer.h"
#include "kernels/mat_view.h"

namespace tern {

inline constexpr size_t kTernaryRowGroup = 16;

// A packed matrix somebody owns. y = x W^T * scale.
struct TernaryView {
  const uint8_t* data = nullptr;  // 64-byte aligned, PackedTernaryBytes(rows, cols) long
  size_t rows = 0;                // outputs
  size_t cols = 0;                // inputs, K
  float scale = 1.0f;             // value of a weight of 1
};

// Owner of a packed matrix.
struct TernaryMatrix {
  AlignedBuffer<uint8_t> data;
  size_t rows = 0, cols = 0;
  float scale = 1.0f;
  TernaryView View() const { return {data.data(), rows, cols, scale}; }
};

size_t PackedTernaryBytes(size_t rows, size_t cols);

// Packs weights [rows, cols], each -1, 0 or 1 (REQUIRED; validate files before).
TernaryMatrix PackTernary(MatView<const int8_t> weights, float scale);
// The reverse: out [rows, cols].
void UnpackTernary(const TernaryView& packed, MatView<int8_t> out);

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
