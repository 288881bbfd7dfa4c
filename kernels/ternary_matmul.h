// int8 activations x ternary weights, exact in int32.
#ifndef TERN_KERNELS_TERNARY_MATMUL_H_
#define TERN_KERNELS_TERNARY_MATMUL_H_

#include "kernels/mat_view.h"
#include "kernels/quantize.h"
#include "kernels/ternary_pack.h"

namespace tern {

// y[i][r] = float(dot(codes_i, w_r)) * (x.scales[i] * w.scale), for x [n, K] and w [rows, K]: y [n,
// rows]. The integer part is exact, so y does not depend on n, on other rows, on threads or on the
// target. Reads every packed weight from memory once per call for any n; runs on all threads.
// Exactness bound: |dot| <= K * 127 < 2^24, so the conversion to float is exact: K <= 132,104
// (CHECKed).
void TernaryMatmul(const TernaryView& w, const QuantizedRows& x, MatView<float> y);

}  // namespace tern

#endif  // TERN_KERNELS_TERNARY_MATMUL_H_
