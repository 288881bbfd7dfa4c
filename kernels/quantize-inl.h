// Per-target steps of activation quantisation, shared by QuantizeRows and RmsNormQuantize.
#if defined(TERN_KERNELS_QUANTIZE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TERN_KERNELS_QUANTIZE_INL_H_
#undef TERN_KERNELS_QUANTIZE_INL_H_
#else
#define TERN_KERNELS_QUANTIZE_INL_H_
#endif

#include <bit>
#include <cstdint>

#include "kernels/quantize.h"
#include "kernels/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tern {
namespace HWY_NAMESPACE {

// Quantises one row. load(i, count) returns elements i .. i + count of the row (zeros after them),
// for i a multiple of the vector length; it is called twice per element.
template <class LoadFn>
HWY_INLINE void QuantizeRow(size_t k, const LoadFn& load, int8_t* codes, float* scale,
                            int32_t* row_sum) {
  const FloatTag d;
  const IntTag di;
  const hn::Rebind<int8_t, IntTag> d8;
  const size_t lanes = hn::Lanes(d);

  // Magnitudes compare like their bit patterns, and there NaN is above infinity: a NaN in the row
  // shows in its scale, instead of vanishing in a floating-point max.
  const auto magnitude_bits = hn::Set(di, 0x7FFFFFFF);
  auto max_bits = hn::Zero(di);
  for (size_t i = 0; i < k; i += lanes) {
    const FloatVec x = load(i, HWY_MIN(lanes, k - i));
    max_bits = hn::Max(max_bits, hn::And(hn::BitCast(di, x), magnitude_bits));
  }
  const int32_t row_bits = hn::GetLane(hn::MaxOfLanes(di, max_bits));
  const float absmax = std::bit_cast<float>(HWY_MAX(row_bits, std::bit_cast<int32_t>(1e-5f)));
  *scale = absmax / 127.0f;

  const FloatVec inverse = hn::Set(d, 127.0f / absmax);
  const auto low = hn::Set(di, -127), high = hn::Set(di, 127);
  auto sums = hn::Zero(di);
  for (size_t i = 0; i < k; i += lanes) {
    const FloatVec x = load(i, HWY_MIN(lanes, k - i));
    // The clamp matters for NaN and infinity only: |x * s| rounds to at most 127.
    const auto q = hn::Min(hn::Max(hn::NearestInt(hn::Mul(x, inverse)), low), high);
    sums = hn::Add(sums, q);
    hn::StoreU(hn::DemoteTo(d8, q), d8, codes + i);
  }
  // Vectors have at most kTernaryKAlign lanes, so the stores above ended inside the padding.
  const size_t written = (k + lanes - 1) / lanes * lanes;
  for (size_t i = written; i < PadK(k); ++i) codes[i] = 0;
  // Zero padding under a NaN or infinite row also turns into codes: x * s is NaN there.
  if (!(absmax < std::bit_cast<float>(0x7F800000))) {
    for (size_t i = k; i < written; ++i) codes[i] = 0;
    int32_t total = 0;
    for (size_t i = 0; i < k; ++i) total += codes[i];
    *row_sum = total;
    return;
  }
  *row_sum = hn::GetLane(hn::SumOfLanes(di, sums));
}

}  // namespace HWY_NAMESPACE
}  // namespace tern
HWY_AFTER_NAMESPACE();

#endif
