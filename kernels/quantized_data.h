// Owner of quantised rows, for tests and self-tests.
#ifndef TERN_KERNELS_QUANTIZED_DATA_H_
#define TERN_KERNELS_QUANTIZED_DATA_H_

#include "kernels/aligned_buffer.h"
#include "kernels/quantize.h"
#include "kernels/random_data.h"

namespace tern {

struct QuantizedData {
  QuantizedData(size_t n, size_t k_in)
      : k(k_in), codes(AlignedBuffer<int8_t>::Zeroed(n * PadK(k_in))), scales(n), sums(n) {}

  QuantizedRows Rows() { return {codes.View(sums.size(), PadK(k)), scales.span(), sums.span()}; }
  // Rows begin .. begin + count alone.
  QuantizedRows Rows(size_t begin, size_t count) {
    return {Rows().codes.Rows(begin, count), scales.span().subspan(begin, count),
            sums.span().subspan(begin, count)};
  }
  // Fills row r with fn(column), its sum, and the scale.
  template <class Fn>
  void SetRow(size_t r, float scale, const Fn& fn) {
    scales[r] = scale;
    sums[r] = 0;
    for (size_t c = 0; c < k; ++c) {
      const auto code = static_cast<int8_t>(fn(c));
      codes[r * PadK(k) + c] = code;
      sums[r] += code;
    }
  }

  size_t k;
  AlignedBuffer<int8_t> codes;
  AlignedBuffer<float> scales;
  AlignedBuffer<int32_t> sums;
};

inline QuantizedData RandomQuantized(size_t n, size_t k, RandomData& random) {
  QuantizedData data(n, k);
  for (size_t r = 0; r < n; ++r) {
    data.SetRow(r, random.Uniform(0.001f, 0.1f), [&](size_t) { return random.Code(); });
  }
  return data;
}

}  // namespace tern

#endif  // TERN_KERNELS_QUANTIZED_DATA_H_
