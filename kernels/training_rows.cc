#include "kernels/training_rows.h"

#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/training_rows.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "hwy/contrib/math/math-inl.h"
#include "kernels/element_io-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tern {
namespace HWY_NAMESPACE {

template <class E>
void ScaleToImpl(const float* x, float scale, size_t n, E* out) {
  const FloatTag d;
  const FloatVec factor = hn::Set(d, scale);
  for (size_t i = 0; i < n; i += hn::Lanes(d)) {
    StoreLanes(d, hn::Mul(LoadLanes(d, x + i, n - i), factor), out + i, n - i);
  }
}

template <class E>
void RoundToImpl(const float* x, size_t n, E* out) {
  const FloatTag d;
  for (size_t i = 0; i < n; i += hn::Lanes(d)) {
    StoreLanes(d, RoundToBFloat16Lanes(d, LoadLanes(d, x + i, n - i)), out + i, n - i);
  }
}

template <class E>
void WidenCodesImpl(const int8_t* codes, size_t n, E* out) {
  const FloatTag d;
  const hn::Rebind<int8_t, FloatTag> d8;
  const hn::Rebind<int32_t, FloatTag> d32;
  const size_t lanes = hn::Lanes(d);
  HWY_ALIGN int8_t tail[hn::MaxLanes(d)] = {};
  for (size_t i = 0; i < n; i += lanes) {
    const int8_t* from = codes + i;
    if (HWY_UNLIKELY(n - i < lanes)) {
      std::copy(from, codes + n, tail);
      from = tail;
    }
    StoreLanes(d, hn::ConvertTo(d, hn::PromoteTo(d32, hn::LoadU(d8, from))), out + i, n - i);
  }
}

void AddScaledImpl(const float* x, const float* y, float scale, size_t n, float* out) {
  const FloatTag d;
  const FloatVec factor = hn::Set(d, scale);
  for (size_t i = 0; i < n; i += hn::Lanes(d)) {
    // Not fused: the engine rounds the product before it adds.
    const FloatVec product = hn::Mul(LoadLanes(d, y + i, n - i), factor);
    StoreLanes(d, hn::Add(LoadLanes(d, x + i, n - i), product), out + i, n - i);
  }
}

void RotateHeadImpl(const float* cos, const float* sin, float sign, size_t n, float* x) {
  const FloatTag d;
  const FloatVec turn = hn::Set(d, sign);
  const size_t half = n / 2;
  for (size_t i = 0; i < half; i += hn::Lanes(d)) {
    const size_t left = half - i;
    const FloatVec a = LoadLanes(d, x + i, left), b = LoadLanes(d, x + half + i, left);
    const FloatVec c = LoadLanes(d, cos + i, left), s = hn::Mul(LoadLanes(d, sin + i, left), turn);
    StoreLanes(d, hn::Sub(hn::Mul(a, c), hn::Mul(b, s)), x + i, left);
    StoreLanes(d, hn::Add(hn::Mul(b, c), hn::Mul(a, s)), x + half + i, left);
  }
}

template <class E>
void ReluSquaredGateGradImpl(const float* gate, const float* up, const float* dout,
                             float gate_scale, float up_scale, size_t n, E* dgate, E* dup) {
  const FloatTag d;
  const FloatVec gs = hn::Set(d, 2.0f * gate_scale), us = hn::Set(d, up_scale);
  for (size_t i = 0; i < n; i += hn::Lanes(d)) {
    const FloatVec g = hn::Max(LoadLanes(d, gate + i, n - i), hn::Zero(d));
    const FloatVec dg = hn::Mul(LoadLanes(d, dout + i, n - i), g);
    StoreLanes(d, hn::Mul(hn::Mul(dg, LoadLanes(d, up + i, n - i)), gs), dgate + i, n - i);
    StoreLanes(d, hn::Mul(hn::Mul(dg, g), us), dup + i, n - i);
  }
}

float SumOfSquares(const float* x, size_t n) {
  const FloatTag d;
  FloatVec sum = hn::Zero(d);
  for (size_t i = 0; i < n; i += hn::Lanes(d)) {
    const FloatVec v = LoadLanes(d, x + i, n - i);
    sum = hn::MulAdd(v, v, sum);
  }
  return hn::GetLane(hn::SumOfLanes(d, sum));
}

void RmsNormGradImpl(const float* x, const float* gain, float eps, const float* dy, float dy_scale,
                     size_t n, bool accumulate, float* dx, float* dgain) {
  const FloatTag d;
  const float r = 1.0f / std::sqrt(SumOfSquares(x, n) / static_cast<float>(n) + eps);
  const FloatVec rv = hn::Set(d, r), scale = hn::Set(d, dy_scale);
  FloatVec dot = hn::Zero(d);  // of dy * gain and x
  for (size_t i = 0; i < n; i += hn::Lanes(d)) {
    const size_t left = n - i;
    const FloatVec v = LoadLanes(d, x + i, left), g = hn::Mul(LoadLanes(d, dy + i, left), scale);
    StoreLanes(d, hn::MulAdd(hn::Mul(g, rv), v, LoadLanes(d, dgain + i, left)), dgain + i, left);
    dot = hn::MulAdd(hn::Mul(g, LoadLanes(d, gain + i, left)), v, dot);
  }
  const float mean = hn::GetLane(hn::SumOfLanes(d, dot)) / static_cast<float>(n);
  const FloatVec pull = hn::Set(d, r * r * r * mean);
  for (size_t i = 0; i < n; i += hn::Lanes(d)) {
    const size_t left = n - i;
    const FloatVec g = hn::Mul(LoadLanes(d, dy + i, left), scale);
    const FloatVec direct = hn::Mul(hn::Mul(g, LoadLanes(d, gain + i, left)), rv);
    FloatVec result = hn::NegMulAdd(pull, LoadLanes(d, x + i, left), direct);
    if (accumulate) result = hn::Add(result, LoadLanes(d, dx + i, left));
    StoreLanes(d, result, dx + i, left);
  }
}

// Adds exp(x * scale - shift) of whole vectors and of a tail.
float SumExp(const float* x, float scale, float shift, size_t n) {
  const FloatTag d;
  const FloatVec s = hn::Set(d, scale), m = hn::Set(d, shift);
  FloatVec sum = hn::Zero(d);
  for (size_t i = 0; i < n; i += hn::Lanes(d)) {
    const FloatVec e = hn::Exp(d, hn::Sub(hn::Mul(LoadLanes(d, x + i, n - i), s), m));
    sum = hn::Add(sum, hn::IfThenElseZero(hn::FirstN(d, std::min(n - i, hn::Lanes(d))), e));
  }
  return hn::GetLane(hn::SumOfLanes(d, sum));
}

template <class E>
float SoftmaxRowImpl(const float* scores, float scale, size_t valid, size_t n, E* p) {
  const FloatTag d;
  const float top = MaxOf(scores, valid) * scale;
  const float log_sum = top + std::log(SumExp(scores, scale, top, valid));
  const FloatVec s = hn::Set(d, scale), shift = hn::Set(d, log_sum);
  for (size_t i = 0; i < n; i += hn::Lanes(d)) {
    FloatVec e = hn::Zero(d);
    if (i < valid) {
      e = hn::Exp(d, hn::Sub(hn::Mul(LoadLanes(d, scores + i, n - i), s), shift));
      e = hn::IfThenElseZero(hn::FirstN(d, std::min(valid - i, hn::Lanes(d))), e);
    }
    StoreLanes(d, e, p + i, n - i);
  }
  return log_sum;
}

template <class E>
void SoftmaxGradRowImpl(const float* scores, const float* dp, float scale, float log_sum, float dot,
                        size_t valid, size_t n, E* p, E* dscores) {
  const FloatTag d;
  const FloatVec s = hn::Set(d, scale), shift = hn::Set(d, log_sum), mean = hn::Set(d, dot);
  for (size_t i = 0; i < n; i += hn::Lanes(d)) {
    FloatVec e = hn::Zero(d), g = hn::Zero(d);
    if (i < valid) {
      const auto seen = hn::FirstN(d, std::min(valid - i, hn::Lanes(d)));
      e = hn::Exp(d, hn::Sub(hn::Mul(LoadLanes(d, scores + i, n - i), s), shift));
      e = hn::IfThenElseZero(seen, e);
      g = hn::Mul(hn::Mul(e, s), hn::Sub(LoadLanes(d, dp + i, n - i), mean));
      g = hn::IfThenElseZero(seen, g);
    }
    StoreLanes(d, e, p + i, n - i);
    StoreLanes(d, g, dscores + i, n - i);
  }
}

template <class E>
float CrossEntropyRowImpl(const float* logits, size_t n, int32_t target, float grad_scale,
                          E* dlogits) {
  const FloatTag d;
  const float top = MaxOf(logits, n);
  const float log_sum = top + std::log(SumExp(logits, 1.0f, top, n));
  const FloatVec shift = hn::Set(d, log_sum), scale = hn::Set(d, grad_scale);
  for (size_t i = 0; i < n; i += hn::Lanes(d)) {
    const FloatVec e = hn::Exp(d, hn::Sub(LoadLanes(d, logits + i, n - i), shift));
    StoreLanes(d, hn::Mul(e, scale), dlogits + i, n - i);
  }
  const auto t = static_cast<size_t>(target);
  const float hit = (std::exp(logits[t] - log_sum) - 1.0f) * grad_scale;
  if constexpr (sizeof(E) == 2) {
    dlogits[t] = BFloat16::FromFloat(hit);
  } else {
    dlogits[t] = hit;
  }
  return log_sum - logits[t];
}

HWY_INLINE FloatVec Sigmoid(FloatTag d, FloatVec x) {
  const FloatVec one = hn::Set(d, 1.0f);
  const FloatVec most = hn::Set(d, 88.0f);  // of exp in fp32
  return hn::Div(one, hn::Add(one, hn::Exp(d, hn::Min(hn::Neg(x), most))));
}

template <class E>
void ResidualSiluRowImpl(const E* x, const float* z, const float* bias, size_t n, E* out) {
  const FloatTag d;
  for (size_t i = 0; i < n; i += hn::Lanes(d)) {
    const FloatVec s = hn::Add(LoadLanes(d, z + i, n - i), LoadLanes(d, bias + i, n - i));
    const FloatVec silu = hn::Mul(s, Sigmoid(d, s));
    StoreLanes(d, hn::Add(LoadLanes(d, x + i, n - i), silu), out + i, n - i);
  }
}

// SiLU'(s) = g + s g (1 - g), g = sigmoid(s).
template <class E>
void SiluGradRowImpl(const float* z, const float* bias, const float* dh, size_t n, E* dz) {
  const FloatTag d;
  const FloatVec one = hn::Set(d, 1.0f);
  for (size_t i = 0; i < n; i += hn::Lanes(d)) {
    const FloatVec s = hn::Add(LoadLanes(d, z + i, n - i), LoadLanes(d, bias + i, n - i));
    const FloatVec g = Sigmoid(d, s);
    const FloatVec slope = hn::MulAdd(hn::Mul(s, g), hn::Sub(one, g), g);
    StoreLanes(d, hn::Mul(LoadLanes(d, dh + i, n - i), slope), dz + i, n - i);
  }
}

float DotRowImpl(const float* a, const float* b, size_t n) {
  const FloatTag d;
  FloatVec sum = hn::Zero(d);
  for (size_t i = 0; i < n; i += hn::Lanes(d)) {
    sum = hn::MulAdd(LoadLanes(d, a + i, n - i), LoadLanes(d, b + i, n - i), sum);
  }
  return hn::GetLane(hn::SumOfLanes(d, sum));
}

ErrorSums QuantisationErrorImpl(const float* x, const int8_t* codes, float scale, size_t n) {
  ErrorSums sums;
  for (size_t i = 0; i < n; ++i) {
    const float difference = x[i] - static_cast<float>(codes[i]) * scale;
    sums.error += difference * difference;
    sums.power += x[i] * x[i];
  }
  return sums;
}

// Highway exports plain functions: one name per element type.
#define TERN_FOR_EACH_ELEMENT(X) X(float, Float) X(BFloat16, BFloat16)
#define TERN_DEFINE(E, Name)                                                                      \
  void ScaleTo##Name(const float* x, float scale, size_t n, E* out) {                             \
    ScaleToImpl(x, scale, n, out);                                                                \
  }                                                                                               \
  void RoundTo##Name(const float* x, size_t n, E* out) { RoundToImpl(x, n, out); }                \
  void WidenCodes##Name(const int8_t* codes, size_t n, E* out) { WidenCodesImpl(codes, n, out); } \
  void GateGrad##Name(const float* gate, const float* up, const float* dout, float gate_scale,    \
                      float up_scale, size_t n, E* dgate, E* dup) {                               \
    ReluSquaredGateGradImpl(gate, up, dout, gate_scale, up_scale, n, dgate, dup);                 \
  }                                                                                               \
  float Softmax##Name(const float* scores, float scale, size_t valid, size_t n, E* p) {           \
    return SoftmaxRowImpl(scores, scale, valid, n, p);                                            \
  }                                                                                               \
  void SoftmaxGrad##Name(const float* scores, const float* dp, float scale, float log_sum,        \
                         float dot, size_t valid, size_t n, E* p, E* dscores) {                   \
    SoftmaxGradRowImpl(scores, dp, scale, log_sum, dot, valid, n, p, dscores);                    \
  }                                                                                               \
  float CrossEntropy##Name(const float* logits, size_t n, int32_t target, float grad_scale,       \
                           E* dlogits) {                                                          \
    return CrossEntropyRowImpl(logits, n, target, grad_scale, dlogits);                           \
  }                                                                                               \
  void ResidualSilu##Name(const E* x, const float* z, const float* bias, size_t n, E* out) {      \
    ResidualSiluRowImpl(x, z, bias, n, out);                                                      \
  }                                                                                               \
  void SiluGrad##Name(const float* z, const float* bias, const float* dh, size_t n, E* dz) {      \
    SiluGradRowImpl(z, bias, dh, n, dz);                                                          \
  }
TERN_FOR_EACH_ELEMENT(TERN_DEFINE)
#undef TERN_DEFINE

}  // namespace HWY_NAMESPACE
}  // namespace tern
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tern {

HWY_EXPORT(AddScaledImpl);
HWY_EXPORT(RotateHeadImpl);
HWY_EXPORT(RmsNormGradImpl);
HWY_EXPORT(DotRowImpl);
HWY_EXPORT(QuantisationErrorImpl);

#define TERN_PUBLISH(E, Name)                                                                      \
  HWY_EXPORT(ScaleTo##Name);                                                                       \
  HWY_EXPORT(RoundTo##Name);                                                                       \
  HWY_EXPORT(WidenCodes##Name);                                                                    \
  HWY_EXPORT(GateGrad##Name);                                                                      \
  HWY_EXPORT(Softmax##Name);                                                                       \
  HWY_EXPORT(SoftmaxGrad##Name);                                                                   \
  HWY_EXPORT(CrossEntropy##Name);                                                                  \
  HWY_EXPORT(ResidualSilu##Name);                                                                  \
  HWY_EXPORT(SiluGrad##Name);                                                                      \
  void ScaleTo(const float* x, float scale, size_t n, E* out) {                                    \
    HWY_DYNAMIC_DISPATCH(ScaleTo##Name)(x, scale, n, out);                                         \
  }                                                                                                \
  void RoundTo(const float* x, size_t n, E* out) {                                                 \
    HWY_DYNAMIC_DISPATCH(RoundTo##Name)(x, n, out);                                                \
  }                                                                                                \
  void WidenCodes(const int8_t* codes, size_t n, E* out) {                                         \
    HWY_DYNAMIC_DISPATCH(WidenCodes##Name)(codes, n, out);                                         \
  }                                                                                                \
  void ReluSquaredGateGrad(const float* gate, const float* up, const float* dout,                  \
                           float gate_scale, float up_scale, size_t n, E* dgate, E* dup) {         \
    HWY_DYNAMIC_DISPATCH(GateGrad##Name)(gate, up, dout, gate_scale, up_scale, n, dgate, dup);     \
  }                                                                                                \
  float SoftmaxRow(const float* scores, float scale, size_t valid, size_t n, E* p) {               \
    return HWY_DYNAMIC_DISPATCH(Softmax##Name)(scores, scale, valid, n, p);                        \
  }                                                                                                \
  void SoftmaxGradRow(const float* scores, const float* dp, float scale, float log_sum, float dot, \
                      size_t valid, size_t n, E* p, E* dscores) {                                  \
    HWY_DYNAMIC_DISPATCH(SoftmaxGrad##Name)                                                        \
    (scores, dp, scale, log_sum, dot, valid, n, p, dscores);                                       \
  }                                                                                                \
  float CrossEntropyRow(const float* logits, size_t n, int32_t target, float grad_scale,           \
                        E* dlogits) {                                                              \
    return HWY_DYNAMIC_DISPATCH(CrossEntropy##Name)(logits, n, target, grad_scale, dlogits);       \
  }                                                                                                \
  void ResidualSiluRow(const E* x, const float* z, const float* bias, size_t n, E* out) {          \
    HWY_DYNAMIC_DISPATCH(ResidualSilu##Name)(x, z, bias, n, out);                                  \
  }                                                                                                \
  void SiluGradRow(const float* z, const float* bias, const float* dh, size_t n, E* dz) {          \
    HWY_DYNAMIC_DISPATCH(SiluGrad##Name)(z, bias, dh, n, dz);                                      \
  }
TERN_FOR_EACH_ELEMENT(TERN_PUBLISH)
#undef TERN_PUBLISH
#undef TERN_FOR_EACH_ELEMENT

void AddScaled(const float* x, const float* y, float scale, size_t n, float* out) {
  HWY_DYNAMIC_DISPATCH(AddScaledImpl)(x, y, scale, n, out);
}

void RotateHead(const float* cos, const float* sin, float sign, size_t n, float* x) {
  HWY_DYNAMIC_DISPATCH(RotateHeadImpl)(cos, sin, sign, n, x);
}

void RmsNormGrad(const float* x, const float* gain, float eps, const float* dy, float dy_scale,
                 size_t n, bool accumulate, float* dx, float* dgain) {
  HWY_DYNAMIC_DISPATCH(RmsNormGradImpl)(x, gain, eps, dy, dy_scale, n, accumulate, dx, dgain);
}

float DotRow(const float* a, const float* b, size_t n) {
  return HWY_DYNAMIC_DISPATCH(DotRowImpl)(a, b, n);
}

ErrorSums QuantisationError(const float* x, const int8_t* codes, float scale, size_t n) {
  return HWY_DYNAMIC_DISPATCH(QuantisationErrorImpl)(x, codes, scale, n);
}

}  // namespace tern
#endif  // HWY_ONCE
