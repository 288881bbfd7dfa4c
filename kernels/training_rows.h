// Row operations of training that are not matrix products: scaling GEMM results, rounding GEMM
// inputs, and the gradients of norm, gate, softmax and loss. Each works on one row on the calling
// thread; the caller splits rows over threads. E is float or BFloat16, the element type of GEMM
// inputs; sums are fp32 in one fixed order.
#ifndef TERN_KERNELS_TRAINING_ROWS_H_
#define TERN_KERNELS_TRAINING_ROWS_H_

#include <cstddef>
#include <cstdint>

#include "kernels/bfloat16.h"

namespace tern {

// out = x * scale, rounded to E. For E = float nothing is rounded.
void ScaleTo(const float* x, float scale, size_t n, float* out);
void ScaleTo(const float* x, float scale, size_t n, BFloat16* out);

// out = the bf16 value nearest x, kept as E.
void RoundTo(const float* x, size_t n, float* out);
void RoundTo(const float* x, size_t n, BFloat16* out);

// out = the integers as E: exact.
void WidenCodes(const int8_t* codes, size_t n, float* out);
void WidenCodes(const int8_t* codes, size_t n, BFloat16* out);

// out = x + y * scale: a GEMM's result joins the residual stream. out may be x.
void AddScaled(const float* x, const float* y, float scale, size_t n, float* out);

// Rotates one head of `n` dimensions (half-split) by the angles; sign -1 turns back (the gradient).
void RotateHead(const float* cos, const float* sin, float sign, size_t n, float* x);

// Gradients of relu(gate)^2 * up with respect to gate and up, each times its scale.
void ReluSquaredGateGrad(const float* gate, const float* up, const float* dout, float gate_scale,
                         float up_scale, size_t n, float* dgate, float* dup);
void ReluSquaredGateGrad(const float* gate, const float* up, const float* dout, float gate_scale,
                         float up_scale, size_t n, BFloat16* dgate, BFloat16* dup);

// Gradient of y = gain * (x * r), r = rsqrt(mean(x^2) + eps), at dy * dy_scale:
// dx = (accumulate ? dx : 0) + ..., dgain += ....
void RmsNormGrad(const float* x, const float* gain, float eps, const float* dy, float dy_scale,
                 size_t n, bool accumulate, float* dx, float* dgain);

// p = softmax(scores * scale) over the first `valid` of n scores, 0 beyond. Returns
// log(sum(exp(scores * scale))).
float SoftmaxRow(const float* scores, float scale, size_t valid, size_t n, float* p);
float SoftmaxRow(const float* scores, float scale, size_t valid, size_t n, BFloat16* p);
// Its gradient from the scores and that logarithm: p again, and dscores = p * (dp - dot(dp, p)) *
// scale, where the dot product is given.
void SoftmaxGradRow(const float* scores, const float* dp, float scale, float log_sum, float dot,
                    size_t valid, size_t n, float* p, float* dscores);
void SoftmaxGradRow(const float* scores, const float* dp, float scale, float log_sum, float dot,
                    size_t valid, size_t n, BFloat16* p, BFloat16* dscores);

// Cross-entropy of softmax(logits) against `target`, in nats; dlogits = (softmax - onehot) *
// grad_scale.
float CrossEntropyRow(const float* logits, size_t n, int32_t target, float grad_scale,
                      float* dlogits);
float CrossEntropyRow(const float* logits, size_t n, int32_t target, float grad_scale,
                      BFloat16* dlogits);

// out = x + SiLU(z + bias): the residual block of a draft head.
void ResidualSiluRow(const float* x, const float* z, const float* bias, size_t n, float* out);
void ResidualSiluRow(const BFloat16* x, const float* z, const float* bias, size_t n, BFloat16* out);
// dz = dh * SiLU'(z + bias).
void SiluGradRow(const float* z, const float* bias, const float* dh, size_t n, float* dz);
void SiluGradRow(const float* z, const float* bias, const float* dh, size_t n, BFloat16* dz);

float DotRow(const float* a, const float* b, size_t n);
// sum of (a - b * scale)^2 and of a^2: the error of quantised rows.
struct ErrorSums {
  double error = 0, power = 0;
};
ErrorSums QuantisationError(const float* x, const int8_t* codes, float scale, size_t n);

}  // namespace tern

#endif  // TERN_KERNELS_TRAINING_ROWS_H_
