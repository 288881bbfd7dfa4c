// Loads and stores of fp32 lanes from rows of fp32 or bf16, whole vectors and tails. Included once
// per Highway target (style: "Kernels and per-ISA dispatch").
#include <hwy/highway.h>

#include <cstddef>
#include <cstring>

#include "kernels/bfloat16.h"
#include "kernels/simd-inl.h"

#if defined(TERN_KERNELS_ELEMENT_IO_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TERN_KERNELS_ELEMENT_IO_INL_H_
#undef TERN_KERNELS_ELEMENT_IO_INL_H_
#else
#define TERN_KERNELS_ELEMENT_IO_INL_H_
#endif

HWY_BEFORE_NAMESPACE();
namespace tern {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Reads min(Lanes, left) values; the other lanes are 0.
HWY_INLINE FloatVec LoadLanes(FloatTag d, const float* p, size_t left) {
  return HWY_LIKELY(left >= hn::Lanes(d)) ? hn::LoadU(d, p) : LoadPart(d, p, left);
}

HWY_INLINE void StoreLanes(FloatTag d, FloatVec v, float* p, size_t left) {
  if (HWY_LIKELY(left >= hn::Lanes(d))) {
    hn::StoreU(v, d, p);
  } else {
    StorePart(v, d, p, left);
  }
}

// fp32 -> bf16 bits in the low half of each lane, to nearest even. NaN is not preserved: a NaN in
// training is found in the loss, which stays fp32.
HWY_INLINE hn::Vec<hn::Rebind<uint32_t, FloatTag>> RoundBits(FloatVec v) {
  const hn::Rebind<uint32_t, FloatTag> du;
  const auto bits = hn::BitCast(du, v);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 1));
  return hn::ShiftRight<16>(hn::Add(bits, hn::Add(odd, hn::Set(du, 0x7FFF))));
}

HWY_INLINE FloatVec RoundToBFloat16Lanes(FloatTag d, FloatVec v) {
  return hn::BitCast(d, hn::ShiftLeft<16>(RoundBits(v)));
}

HWY_INLINE void StoreLanes(FloatTag d, FloatVec v, BFloat16* p, size_t left) {
  const hn::Rebind<uint16_t, FloatTag> du16;
  const hn::Rebind<int32_t, FloatTag> di;
  // The values fit 16 bits, so the saturating conversion is exact.
  const auto half = hn::DemoteTo(du16, hn::BitCast(di, RoundBits(v)));
  if (HWY_LIKELY(left >= hn::Lanes(d))) {
    hn::StoreU(half, du16, &p->bits);
    return;
  }
  HWY_ALIGN uint16_t lanes[hn::MaxLanes(d)];
  hn::Store(half, du16, lanes);
  std::memcpy(static_cast<void*>(p), lanes, left * sizeof(uint16_t));
}

HWY_INLINE FloatVec LoadLanes(FloatTag d, const BFloat16* p, size_t left) {
  const hn::Rebind<uint16_t, FloatTag> du16;
  const hn::Rebind<uint32_t, FloatTag> du;
  HWY_ALIGN uint16_t lanes[hn::MaxLanes(d)] = {};
  const uint16_t* from = &p->bits;
  if (HWY_UNLIKELY(left < hn::Lanes(d))) {
    std::memcpy(lanes, from, left * sizeof(uint16_t));
    from = lanes;
  }
  return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(du, hn::LoadU(du16, from))));
}

}  // namespace HWY_NAMESPACE
}  // namespace tern
HWY_AFTER_NAMESPACE();
#endif  // include guard per target
