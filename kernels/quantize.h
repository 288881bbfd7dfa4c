// Activation quantisation of BitNet b1.58: int8 per row by absmax (facts: "Quantisers").
//   s = 127 / max(absmax(x), 1e-5);  q = round_half_even(x * s);  x ~ q / s
#ifndef TERN_KERNELS_QUANTIZE_H_
#define TERN_KERNELS_QUANTIZE_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/mat_view.h"

namespace tern {

// Columns of an int8 activation row, and of a packed weight row, are padded to a multiple of this.
inline constexpr size_t kTernaryKAlign = 16;
inline constexpr size_t PadK(size_t k) {
  return (k + kTernaryKAlign - 1) / kTernaryKAlign * kTernaryKAlign;
}

// n quantised rows. `codes` columns beyond the real K are zero.
struct QuantizedRows {
  MatView<int8_t> codes;    // [n, PadK(K)], values in [-127, 127]
  std::span<float> scales;  // [n], absmax / 127: the value of one unit
  std::span<int32_t> sums;  // [n], sum of the row's codes: removes the +1 offset of packed weights
  size_t n() const { return codes.rows; }
};

// Quantises x [n, K] into out. A row depends on nothing but itself.
void QuantizeRows(MatView<const float> x, const QuantizedRows& out) noexcept;

}  // namespace tern

#endif  // TERN_KERNELS_QUANTIZE_H_
