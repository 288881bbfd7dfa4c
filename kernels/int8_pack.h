// int8 matrices with one scale per row (output), in the order Int8Matmul reads.
//
// Rows go in groups of 64, columns (K) in blocks of 4. A 256-byte line holds one group x block:
// byte 4 * r + j is column j of the block in row r of the group, as code + 128. Lines of a group
// are consecutive in K, which is padded as activations are (quantize.h). Padding holds code 0.
#ifndef TERN_KERNELS_INT8_PACK_H_
#define TERN_KERNELS_INT8_PACK_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/aligned_buffer.h"
#include "kernels/bfloat16.h"
#include "kernels/mat_view.h"

namespace tern {

inline constexpr size_t kInt8RowGroup = 64;

struct Int8Matrix {
  AlignedBuffer<uint8_t> data;
  AlignedBuffer<float> scales;  // [rows to a multiple of 64], absmax of the row / 127
  size_t rows = 0, cols = 0;
};

// Row r is row `picked[r]` of `weights`, rounded half to even to codes in [-127, 127] of its own
// scale. A row with an infinity or a NaN has codes 0 and the scale NaN.
Int8Matrix PackInt8(MatView<const BFloat16> weights, std::span<const int32_t> picked);
// All rows in order.
Int8Matrix PackInt8(MatView<const BFloat16> weights);

}  // namespace tern

#endif  // TERN_KERNELS_INT8_PACK_H_
