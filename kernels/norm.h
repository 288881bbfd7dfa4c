// RMSNorm: y = gain * (x * rsqrt(mean(x^2) + eps)), per row, in fp32 with one fixed summation
// order.
#ifndef TERN_KERNELS_NORM_H_
#define TERN_KERNELS_NORM_H_

#include <span>

#include "kernels/mat_view.h"
#include "kernels/quantize.h"

namespace tern {

// x, y [n, d] (may be the same memory), gain [d].
void RmsNorm(MatView<const float> x, std::span<const float> gain, float eps, MatView<float> y);

// RmsNorm followed by QuantizeRows, without the fp32 rows in between; bit-identical to the two
// calls.
void RmsNormQuantize(MatView<const float> x, std::span<const float> gain, float eps,
                     const QuantizedRows& out);

}  // namespace tern

#endif  // TERN_KERNELS_NORM_H_
