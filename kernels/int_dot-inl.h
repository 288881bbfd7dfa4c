// What the integer products share: a strip is what one vector holds of a packed line, kStripRows
// consecutive outputs x 4 bytes; a group of kGroup outputs has kGroup / kStripRows strips, at
// multiples of the vector size in each line of 4 * kGroup bytes. Compiled once per target; for the
// kernels' sources only.
#if defined(TERN_KERNELS_INT_DOT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TERN_KERNELS_INT_DOT_INL_H_
#undef TERN_KERNELS_INT_DOT_INL_H_
#else
#define TERN_KERNELS_INT_DOT_INL_H_
#endif

#include <cstdint>
#include <cstring>

#include "kernels/simd-inl.h"

#if HWY_ARCH_X86
#include <immintrin.h>
#elif HWY_ARCH_ARM_A64
#include <arm_neon.h>
#endif

// Open and close the attributes of a target's integer products. Highway's attributes for AVX3_DL
// leave out the 512-bit dot product, although its CPU check includes it. The intrinsics of arm64's
// ask for Armv8.2.
#undef TERN_BEFORE_INT_DOT
#if HWY_TARGET == HWY_AVX3_DL
#define TERN_BEFORE_INT_DOT() HWY_PUSH_ATTRIBUTES(HWY_TARGET_STR ",avx512vnni")
#elif TERN_NEON_DOT
#define TERN_BEFORE_INT_DOT() HWY_PUSH_ATTRIBUTES("arch=armv8.2-a+dotprod")
#else
#define TERN_BEFORE_INT_DOT() HWY_BEFORE_NAMESPACE()
#endif
#undef TERN_AFTER_INT_DOT
#if TERN_NEON_DOT
#define TERN_AFTER_INT_DOT() HWY_POP_ATTRIBUTES
#else
#define TERN_AFTER_INT_DOT() HWY_AFTER_NAMESPACE()
#endif

// Targets with vectors of integers; the others compute 16 outputs as one strip.
#undef TERN_INT_DOT_VECTORS
#if HWY_TARGET == HWY_AVX3_DL || HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX2 || \
    HWY_TARGET == HWY_SSE4 || HWY_ARCH_ARM_A64
#define TERN_INT_DOT_VECTORS 1
#else
#define TERN_INT_DOT_VECTORS 0
#endif

TERN_BEFORE_INT_DOT();
namespace tern {
namespace HWY_NAMESPACE {

#if TERN_INT_DOT_VECTORS

using DotInt = hn::ScalableTag<int32_t>;
using DotVec = hn::Vec<DotInt>;
inline constexpr size_t kStripRows = HWY_LANES(int32_t);

// Four consecutive codes of one activation row, in every lane.
HWY_INLINE DotVec BroadcastCodes(const int8_t* codes) {
  int32_t four;
  std::memcpy(&four, codes, sizeof(four));
  return hn::Set(DotInt(), four);
}

template <size_t kGroup>
HWY_INLINE DotVec LoadLine(const uint8_t* strip, size_t block) {
  return hn::Load(DotInt(), reinterpret_cast<const int32_t*>(strip + block * (4 * kGroup)));
}

template <size_t kRows, size_t kStrips>
HWY_INLINE void SetZero(DotVec (&dots)[kRows][kStrips]) {
#pragma GCC unroll 8
  for (size_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (size_t s = 0; s < kStrips; ++s) dots[r][s] = hn::Zero(DotInt());
  }
}

#if HWY_TARGET == HWY_AVX3_DL
// acc + the 4-way products of unsigned bytes and signed bytes, in int32.
HWY_INLINE DotVec DotStep(DotVec acc, DotVec weights, DotVec codes) {
  return DotVec{_mm512_dpbusd_epi32(acc.raw, weights.raw, codes.raw)};
}
#elif TERN_NEON_DOT
// acc + the 4-way products of signed bytes, in int32.
HWY_INLINE DotVec DotStep(DotVec acc, DotVec weights, DotVec codes) {
  return DotVec{
      vdotq_s32(acc.raw, vreinterpretq_s8_s32(weights.raw), vreinterpretq_s8_s32(codes.raw))};
}
#else
// Neighbouring int16 products added, in int32.
HWY_INLINE DotVec PairDot(DotVec a, DotVec b) {
#if HWY_ARCH_ARM_A64
  const int16x8_t a16 = vreinterpretq_s16_s32(a.raw), b16 = vreinterpretq_s16_s32(b.raw);
  const int32x4_t low = vmull_s16(vget_low_s16(a16), vget_low_s16(b16));
  return DotVec{vpaddq_s32(low, vmull_high_s16(a16, b16))};
#elif HWY_TARGET == HWY_AVX3
  return DotVec{_mm512_madd_epi16(a.raw, b.raw)};
#elif HWY_TARGET == HWY_AVX2
  return DotVec{_mm256_madd_epi16(a.raw, b.raw)};
#else
  return DotVec{_mm_madd_epi16(a.raw, b.raw)};
#endif
}
#endif

// (dots - offset) * scale -> y: lanes of one strip, of which the first `count` are outputs. `scale`
// is a vector of as many floats.
template <class Scale>
HWY_INLINE void StoreStrip(DotVec dots, int32_t offset, Scale scale, float* y, size_t count) {
  const DotInt di;
  const hn::RebindToFloat<DotInt> df;
  const auto value = hn::Mul(hn::ConvertTo(df, hn::Sub(dots, hn::Set(di, offset))), scale);
  if (count >= kStripRows) {
    hn::StoreU(value, df, y);
    return;
  }
  HWY_ALIGN float lanes[kStripRows];
  hn::Store(value, df, lanes);
  std::memcpy(y, lanes, count * sizeof(float));
}

#else

inline constexpr size_t kStripRows = 16;

struct DotVec {
  int32_t lanes[kStripRows];
};

#endif

// Where strip `strip` of a packed matrix begins that has `blocks` lines a group.
template <size_t kGroup>
HWY_INLINE const uint8_t* StripAt(const uint8_t* data, size_t strip, size_t blocks) {
  constexpr size_t kStripsPerGroup = kGroup / kStripRows;
  return data + strip / kStripsPerGroup * blocks * (4 * kGroup) +
         strip % kStripsPerGroup * (4 * kStripRows);
}

}  // namespace HWY_NAMESPACE
}  // namespace tern
TERN_AFTER_INT_DOT();

#endif
