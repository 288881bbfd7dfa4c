#include "kernels/norm.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/norm.cc"
#include <hwy/foreach_target.h>
// After foreach_target.
#include <cmath>

#include "kernels/parallel.h"
#include "kernels/quantize-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tern {
namespace HWY_NAMESPACE {

// Four accumulators, vector v into number v % 4: hides the latency and fixes the order.
HWY_INLINE float SumOfSquares(const float* x, size_t k) {
  const FloatTag d;
  const size_t lanes = hn::Lanes(d);
  FloatVec sum0 = hn::Zero(d), sum1 = hn::Zero(d), sum2 = hn::Zero(d), sum3 = hn::Zero(d);
  size_t i = 0;
  for (; i + 4 * lanes <= k; i += 4 * lanes) {
    const FloatVec x0 = hn::LoadU(d, x + i), x1 = hn::LoadU(d, x + i + lanes);
    const FloatVec x2 = hn::LoadU(d, x + i + 2 * lanes), x3 = hn::LoadU(d, x + i + 3 * lanes);
    sum0 = hn::MulAdd(x0, x0, sum0);
    sum1 = hn::MulAdd(x1, x1, sum1);
    sum2 = hn::MulAdd(x2, x2, sum2);
    sum3 = hn::MulAdd(x3, x3, sum3);
  }
  for (; i < k; i += lanes) {
    const FloatVec v = i + lanes <= k ? hn::LoadU(d, x + i) : LoadPart(d, x + i, k - i);
    sum0 = hn::MulAdd(v, v, sum0);
  }
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(sum0, sum1), hn::Add(sum2, sum3))));
}

HWY_INLINE float InverseRms(const float* x, size_t k, float eps) {
  return 1.0f / std::sqrt(SumOfSquares(x, k) / static_cast<float>(k) + eps);
}

// Elements i .. i + count of the normalised row; the one place that says how an element is rounded.
HWY_INLINE FloatVec NormPart(const float* x, const float* gain, FloatVec inverse_rms, size_t i,
                             size_t count) {
  const FloatTag d;
  if (count == hn::Lanes(d)) {
    return hn::Mul(hn::LoadU(d, gain + i), hn::Mul(hn::LoadU(d, x + i), inverse_rms));
  }
  return hn::Mul(LoadPart(d, gain + i, count), hn::Mul(LoadPart(d, x + i, count), inverse_rms));
}

void NormRange(const MatView<const float>& x, const float* gain, float eps, const MatView<float>& y,
               size_t begin, size_t end) {
  const FloatTag d;
  const size_t lanes = hn::Lanes(d), k = x.cols;
  for (size_t r = begin; r < end; ++r) {
    const float* row = x.Row(r);
    float* out = y.Row(r);
    const FloatVec inverse = hn::Set(d, InverseRms(row, k, eps));
    size_t i = 0;
    for (; i + lanes <= k; i += lanes)
      hn::StoreU(NormPart(row, gain, inverse, i, lanes), d, out + i);
    if (i < k) StorePart(NormPart(row, gain, inverse, i, k - i), d, out + i, k - i);
  }
}

void NormQuantizeRange(const MatView<const float>& x, const float* gain, float eps,
                       const QuantizedRows& out, size_t begin, size_t end) {
  const FloatTag d;
  for (size_t r = begin; r < end; ++r) {
    const float* row = x.Row(r);
    const FloatVec inverse = hn::Set(d, InverseRms(row, x.cols, eps));
    const auto load = [&](size_t i, size_t count)
                          HWY_ATTR { return NormPart(row, gain, inverse, i, count); };
    QuantizeRow(x.cols, load, out.codes.Row(r), &out.scales[r], &out.sums[r]);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace tern
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tern {
HWY_EXPORT(NormRange);
HWY_EXPORT(NormQuantizeRange);

void RmsNorm(MatView<const float> x, std::span<const float> gain, float eps, MatView<float> y) {
  TERN_CHECK(y.rows == x.rows && y.cols == x.cols && gain.size() == x.cols)
      << "rms norm: x [" << x.rows << ", " << x.cols << "], y [" << y.rows << ", " << y.cols
      << "], gain " << gain.size();
  const auto range = HWY_DYNAMIC_DISPATCH(NormRange);
  ParallelFor(x.rows, RowGrain(x.cols),
              [&](size_t begin, size_t end) { range(x, gain.data(), eps, y, begin, end); });
}

void RmsNormQuantize(MatView<const float> x, std::span<const float> gain, float eps,
                     const QuantizedRows& out) {
  TERN_CHECK(out.n() == x.rows && out.codes.cols == PadK(x.cols) && out.scales.size() == x.rows &&
             out.sums.size() == x.rows && gain.size() == x.cols)
      << "rms norm and quantize: x [" << x.rows << ", " << x.cols << "], codes [" << out.codes.rows
      << ", " << out.codes.cols << "], gain " << gain.size();
  const auto range = HWY_DYNAMIC_DISPATCH(NormQuantizeRange);
  ParallelFor(x.rows, RowGrain(x.cols),
              [&](size_t begin, size_t end) { range(x, gain.data(), eps, out, begin, end); });
}

}  // namespace tern
#endif  // HWY_ONCE
