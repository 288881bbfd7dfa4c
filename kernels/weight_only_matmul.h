// fp32 activations x ternary weights, for models trained without int8 activations.
#ifndef TERN_KERNELS_WEIGHT_ONLY_MATMUL_H_
#define TERN_KERNELS_WEIGHT_ONLY_MATMUL_H_

#include "kernels/mat_view.h"
#include "kernels/ternary_pack.h"

namespace tern {

// y[i][r] = sum over groups g, ascending, of scale(r, g) * (sum of w[r][c] * x[i][c] over the
// columns of g, ascending), for x [n, K], finite, and w [rows, K] with any scales: y [n, rows]. One
// accumulator an output and group, of at most 128 columns (longer groups are cut); a product with
// -1, 0 or 1 is exact. So y depends on nothing but x's row and w: not on n, threads or tile; nor,
// in fact, on the target, since no step fuses a product that rounds. Error: at most (groups + 130)
// * 2^-24 * sum |scale w x|. Runs on all threads and reads every packed weight from memory once per
// call.
void WeightOnlyMatmul(const TernaryView& w, MatView<const float> x, MatView<float> y);

}  // namespace tern

#endif  // TERN_KERNELS_WEIGHT_ONLY_MATMUL_H_
