// The normaliser of a softmax, at the speed of reading the row: for estimates such as draft scores.
// Log-probabilities that users see come from vector_math.h's LogSumExp.
#ifndef TERN_KERNELS_SUM_EXP_H_
#define TERN_KERNELS_SUM_EXP_H_

#include <limits>
#include <span>

namespace tern {

// sum(exp((x - shift) * scale)) over the elements that are at least `least`. REQUIRES shift >=
// every element of x, scale > 0. Bits depend on the target; runs on the calling thread.
float SumExpMinus(std::span<const float> x, float shift, float scale = 1.0f,
                  float least = -std::numeric_limits<float>::infinity());

}  // namespace tern

#endif  // TERN_KERNELS_SUM_EXP_H_
