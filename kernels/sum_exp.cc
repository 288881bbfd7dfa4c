#include "kernels/sum_exp.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/sum_exp.cc"
#include <hwy/foreach_target.h>
// After foreach_target.
#include "kernels/exp-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tern {
namespace HWY_NAMESPACE {

float SumExpMinusRow(const float* x, size_t n, float shift, float scale, float least) {
  const FloatTag d;
  const size_t lanes = hn::Lanes(d);
  const FloatVec s = hn::Set(d, shift), k = hn::Set(d, scale), low = hn::Set(d, least);
  const auto term = [&](FloatVec value) {
    const FloatVec e = ExpNonPositive(d, hn::Mul(hn::Sub(value, s), k));
    return hn::IfThenElseZero(hn::Ge(value, low), e);
  };
  FloatVec sum = hn::Zero(d);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    sum = hn::Add(sum, term(hn::LoadU(d, x + i)));
  }
  if (i < n) {
    const FloatVec e = term(LoadPart(d, x + i, n - i));
    sum = hn::Add(sum, hn::IfThenElseZero(hn::FirstN(d, n - i), e));
  }
  return hn::GetLane(hn::SumOfLanes(d, sum));
}

}  // namespace HWY_NAMESPACE
}  // namespace tern
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tern {
HWY_EXPORT(SumExpMinusRow);

float SumExpMinus(std::span<const float> x, float shift, float scale, float least) {
  return HWY_DYNAMIC_DISPATCH(SumExpMinusRow)(x.data(), x.size(), shift, scale, least);
}

}  // namespace tern
#endif  // HWY_ONCE
