// Scalar twins of the training kernels (training_rows.h, training_attention.h), in double
// precision. For tests; reference.h says what a twin is.
#ifndef TERN_KERNELS_TRAINING_REFERENCE_H_
#define TERN_KERNELS_TRAINING_REFERENCE_H_

#include <cstdint>
#include <span>

#include "kernels/mat_view.h"
#include "kernels/training_rows.h"

namespace tern::reference {

void RotateHead(std::span<const float> cos, std::span<const float> sin, double sign,
                std::span<const float> x, std::span<double> y);

void ReluSquaredGateGrad(std::span<const float> gate, std::span<const float> up,
                         std::span<const float> dout, double gate_scale, double up_scale,
                         std::span<double> dgate, std::span<double> dup);

// dx and what one row adds to dgain.
void RmsNormGrad(std::span<const float> x, std::span<const float> gain, double eps,
                 std::span<const float> dy, double dy_scale, std::span<double> dx,
                 std::span<double> dgain);

// p is as long as scores; the result is the logarithm of the sum.
double SoftmaxRow(std::span<const float> scores, double scale, size_t valid, std::span<double> p);
void SoftmaxGradRow(std::span<const float> scores, std::span<const float> dp, double scale,
                    double log_sum, double dot, size_t valid, std::span<double> p,
                    std::span<double> dscores);

double CrossEntropyRow(std::span<const float> logits, int32_t target, double grad_scale,
                       std::span<double> dlogits);

double DotRow(std::span<const float> a, std::span<const float> b);

ErrorSums QuantisationError(std::span<const float> x, std::span<const int8_t> codes, double scale);

// Causal attention as training_attention.h shapes it: q [T, heads * head_dim], k, v [T, head_dim].
struct CausalAttention {
  MatView<const float> q, k, v;
  size_t heads = 1;
};
void TrainingAttention(const CausalAttention& in, MatView<double> out);
// Gradients at dout; dq, dk and dv are overwritten.
void TrainingAttentionGrad(const CausalAttention& in, MatView<const float> dout, MatView<double> dq,
                           MatView<double> dk, MatView<double> dv);

}  // namespace tern::reference

#endif  // TERN_KERNELS_TRAINING_REFERENCE_H_
