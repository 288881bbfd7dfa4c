// Helpers shared by the vectorised kernels; compiled once per target. Not to be included elsewhere.
#if defined(TERN_KERNELS_SIMD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TERN_KERNELS_SIMD_INL_H_
#undef TERN_KERNELS_SIMD_INL_H_
#else
#define TERN_KERNELS_SIMD_INL_H_
#endif

#include <hwy/highway.h>

#include <cstddef>
#include <cstring>

HWY_BEFORE_NAMESPACE();
namespace tern {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// At most 16 lanes, so that a block of 16 elements is a whole number of vectors on every target.
using FloatTag = hn::CappedTag<float, 16>;
using FloatVec = hn::Vec<FloatTag>;
using IntTag = hn::RebindToSigned<FloatTag>;
using IntVec = hn::Vec<IntTag>;

// The `count` < Lanes(d) elements at p, then zeros; reads nothing beyond them.
HWY_INLINE FloatVec LoadPart(FloatTag d, const float* p, size_t count) {
  alignas(64) float lanes[16] = {};
  std::memcpy(lanes, p, count * sizeof(float));
  return hn::Load(d, lanes);
}

// The first `count` lanes of v to p; writes nothing beyond them.
HWY_INLINE void StorePart(FloatVec v, FloatTag d, float* p, size_t count) {
  alignas(64) float lanes[16];
  hn::Store(v, d, lanes);
  std::memcpy(p, lanes, count * sizeof(float));
}

// The largest of n >= 1 elements.
HWY_INLINE float MaxOf(const float* x, size_t n) {
  const FloatTag d;
  const size_t lanes = hn::Lanes(d);
  float largest = x[0];
  size_t i = 0;
  if (n >= lanes) {
    FloatVec maxima = hn::LoadU(d, x);
    for (i = lanes; i + lanes <= n; i += lanes) maxima = hn::Max(maxima, hn::LoadU(d, x + i));
    largest = hn::GetLane(hn::MaxOfLanes(d, maxima));
  }
  for (; i < n; ++i) largest = HWY_MAX(largest, x[i]);
  return largest;
}

}  // namespace HWY_NAMESPACE
}  // namespace tern
HWY_AFTER_NAMESPACE();

#endif
