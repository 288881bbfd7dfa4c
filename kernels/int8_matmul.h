// int8 activations x int8 weights, exact in int32: for products whose result only guides, such as
// draft logits.
#ifndef TERN_KERNELS_INT8_MATMUL_H_
#define TERN_KERNELS_INT8_MATMUL_H_

#include "kernels/int8_pack.h"
#include "kernels/mat_view.h"
#include "kernels/quantize.h"

namespace tern {

// Columns of a product that is exact: 255 * 127 * K < 2^31.
inline constexpr size_t kMaxInt8Width = 65536;

// y[i][r] = float(dot(codes_i, w_r)) * (x.scales[i] * w.scales[r]), for x [n, K] and w [rows, K]:
// y [n, rows]. The integer part is exact, so y does not depend on n, on other rows, on threads or
// on the target. Reads every weight from memory once per call for any n; runs on all threads.
// Allocates nothing. K <= kMaxInt8Width (CHECKed).
void Int8Matmul(const Int8Matrix& w, const QuantizedRows& x, MatView<float> y);

}  // namespace tern

#endif  // TERN_KERNELS_INT8_MATMUL_H_
