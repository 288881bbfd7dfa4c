// exp of a vector. The same polynomial in every lane; bits depend on the target (fused or not),
// unlike vector_math.h's Exp.
#if defined(TERN_KERNELS_EXP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TERN_KERNELS_EXP_INL_H_
#undef TERN_KERNELS_EXP_INL_H_
#else
#define TERN_KERNELS_EXP_INL_H_
#endif

#include "kernels/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tern {
namespace HWY_NAMESPACE {

// exp(x) for x <= 0, relative error < 2^-21; 0 below -87; NaN for NaN.
// x = n ln 2 + r, |r| <= 0.3466; Taylor polynomial of degree 7 (remainder below 6e-9).
HWY_INLINE FloatVec ExpNonPositive(FloatTag d, FloatVec x) {
  const IntTag di;
  const IntVec n = hn::NearestInt(hn::Mul(x, hn::Set(d, 0x1.715476p+0f)));
  const FloatVec nf = hn::ConvertTo(d, n);
  // ln 2 in two parts; the first has 9 bits, so that its products with |n| <= 126 are exact.
  FloatVec r = hn::NegMulAdd(nf, hn::Set(d, 0.693359375f), x);
  r = hn::NegMulAdd(nf, hn::Set(d, -2.12194440e-4f), r);
  FloatVec p = hn::Set(d, 1.0f / 5040);
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f / 720));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f / 120));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f / 24));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f / 6));
  p = hn::MulAdd(p, r, hn::Set(d, 0.5f));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f));
  const FloatVec power = hn::BitCast(d, hn::ShiftLeft<23>(hn::Add(n, hn::Set(di, 127))));
  return hn::IfThenZeroElse(hn::Lt(x, hn::Set(d, -87.0f)), hn::Mul(p, power));
}

}  // namespace HWY_NAMESPACE
}  // namespace tern
HWY_AFTER_NAMESPACE();

#endif
