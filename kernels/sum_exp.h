// The normaliser of a softmax, at the speed of reading the row: for estimates such as draft scores.
// Log-probabilities that users see come from vector_math.h's LogSumExp.
#ifndef TERN_KERNELS_SUM_EXP_H_
#define TERN_KERNELS_SUM_EXP_H_

#include <span>

namespace tern {

// sum(exp(x - shift)). REQUIRES shift >= every element of x. Bits depend on the target; runs on the
// calling thread.
float SumExpMinus(std::span<const float> x, float shift);

}  // namespace tern

#endif  // TERN_KERNELS_SUM_EXP_H_
