// Causal attention of one sequence and one KV head with its query heads, forward and backward, for
// training. Works in blocks of query rows, so no [T, T] matrix exists; backward recomputes the
// probabilities.
#ifndef TERN_KERNELS_TRAINING_ATTENTION_H_
#define TERN_KERNELS_TRAINING_ATTENTION_H_

#include <cstddef>
#include <span>

#include "kernels/aligned_buffer.h"
#include "kernels/bfloat16.h"
#include "kernels/mat_view.h"

namespace tern {

// E is float or BFloat16, the element type of GEMM inputs. T tokens, `heads` query heads side by
// side.
template <class E>
struct AttentionInputs {
  MatView<const E> q;  // [T, heads * head_dim], rotated
  MatView<const E> k;  // [T, head_dim], rotated
  MatView<const E> v;  // [T, head_dim]
  size_t heads = 1;
};

// Scratch of one thread, grown on first use.
template <class E>
struct AttentionTrainingScratch {
  AlignedBuffer<float> scores, dp;  // [block, T]
  AlignedBuffer<E> p, dscores;      // [block, T]
  void Reserve(size_t tokens);
};

// out [T, heads * head_dim]; log_sums [heads * T] is kept for backward.
template <class E>
void TrainingAttention(const AttentionInputs<E>& in, AttentionTrainingScratch<E>& scratch,
                       std::span<float> log_sums, MatView<float> out);

// Gradients from dout, given in fp32 and as GEMM input, and the forward's out. dq [T, heads *
// head_dim], dk and dv [T, head_dim] are overwritten.
template <class E>
struct AttentionGradients {
  MatView<const float> out, dout;  // [T, heads * head_dim]
  MatView<const E> dout_rounded;   // [T, heads * head_dim]
  MatView<float> dq, dk, dv;
};
template <class E>
void TrainingAttentionGrad(const AttentionInputs<E>& in, std::span<const float> log_sums,
                           AttentionTrainingScratch<E>& scratch,
                           const AttentionGradients<E>& grads);

}  // namespace tern

#endif  // TERN_KERNELS_TRAINING_ATTENTION_H_
