// Vector loads of bf16, widened exactly to fp32.
#if defined(TERN_KERNELS_BFLOAT16_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TERN_KERNELS_BFLOAT16_INL_H_
#undef TERN_KERNELS_BFLOAT16_INL_H_
#else
#define TERN_KERNELS_BFLOAT16_INL_H_
#endif

#include <cstdint>
#include <cstring>

#include "kernels/bfloat16.h"
#include "kernels/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tern {
namespace HWY_NAMESPACE {

HWY_INLINE FloatVec LoadBFloat16(FloatTag d, const BFloat16* p) {
  const hn::RebindToUnsigned<FloatTag> du;
  const hn::Rebind<uint16_t, FloatTag> d16;
  const auto bits = hn::LoadU(d16, reinterpret_cast<const uint16_t*>(p));
  return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(du, bits)));
}

// The `count` < Lanes(d) elements at p, then zeros; reads nothing beyond them.
HWY_INLINE FloatVec LoadBFloat16Part(FloatTag d, const BFloat16* p, size_t count) {
  BFloat16 lanes[16] = {};
  std::memcpy(lanes, p, count * sizeof(BFloat16));
  return LoadBFloat16(d, lanes);
}

// 2 * Lanes(d) consecutive elements, those of even and of odd index apart: cheaper than widening
// them in order.
struct BFloat16Pairs {
  FloatVec even, odd;
};

HWY_INLINE BFloat16Pairs LoadBFloat16Pairs(FloatTag d, const BFloat16* p) {
  const hn::RebindToUnsigned<FloatTag> du;
  const auto bits = hn::BitCast(
      du, hn::LoadU(hn::Repartition<uint16_t, FloatTag>(), reinterpret_cast<const uint16_t*>(p)));
  return {hn::BitCast(d, hn::ShiftLeft<16>(bits)),
          hn::BitCast(d, hn::And(bits, hn::Set(du, 0xFFFF0000u)))};
}

// The `count` < 2 * Lanes(d) elements at p, then zeros; reads nothing beyond them.
HWY_INLINE BFloat16Pairs LoadBFloat16PairsPart(FloatTag d, const BFloat16* p, size_t count) {
  BFloat16 elements[32] = {};
  std::memcpy(elements, p, count * sizeof(BFloat16));
  return LoadBFloat16Pairs(d, elements);
}

}  // namespace HWY_NAMESPACE
}  // namespace tern
HWY_AFTER_NAMESPACE();

#endif
