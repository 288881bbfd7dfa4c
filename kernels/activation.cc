#include "kernels/activation.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/activation.cc"
#include <hwy/foreach_target.h>
// After foreach_target.
#include "kernels/parallel.h"
#include "kernels/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tern {
namespace HWY_NAMESPACE {

// out[i] = fn(a[i], b[i]) for one row.
template <class Fn>
HWY_INLINE void MapRow(const float* a, const float* b, float* out, size_t n, const Fn& fn) {
  const FloatTag d;
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes)
    hn::StoreU(fn(hn::LoadU(d, a + i), hn::LoadU(d, b + i)), d, out + i);
  if (i < n) StorePart(fn(LoadPart(d, a + i, n - i), LoadPart(d, b + i, n - i)), d, out + i, n - i);
}

void ReluSquaredRange(const MatView<const float>& gate, const MatView<const float>& up,
                      const MatView<float>& out, size_t begin, size_t end) {
  const FloatVec zero = hn::Zero(FloatTag());
  const auto fn = [&](FloatVec g, FloatVec u) HWY_ATTR {
    const FloatVec relu = hn::Max(zero, g);  // this order lets NaN through on x86
    return hn::Mul(hn::Mul(relu, relu), u);
  };
  for (size_t r = begin; r < end; ++r) MapRow(gate.Row(r), up.Row(r), out.Row(r), out.cols, fn);
}

void AddRange(const MatView<float>& x, const MatView<const float>& y, size_t begin, size_t end) {
  const auto fn = [](FloatVec a, FloatVec b) HWY_ATTR { return hn::Add(a, b); };
  for (size_t r = begin; r < end; ++r) MapRow(x.Row(r), y.Row(r), x.Row(r), x.cols, fn);
}

}  // namespace HWY_NAMESPACE
}  // namespace tern
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tern {
HWY_EXPORT(ReluSquaredRange);
HWY_EXPORT(AddRange);

void ReluSquaredGate(MatView<const float> gate, MatView<const float> up, MatView<float> out) {
  TERN_CHECK(gate.rows == out.rows && gate.cols == out.cols && up.rows == out.rows &&
             up.cols == out.cols)
      << "relu^2 gate: gate [" << gate.rows << ", " << gate.cols << "], up [" << up.rows << ", "
      << up.cols << "], out [" << out.rows << ", " << out.cols << "]";
  const auto range = HWY_DYNAMIC_DISPATCH(ReluSquaredRange);
  ParallelFor(out.rows, RowGrain(out.cols),
              [&](size_t begin, size_t end) { range(gate, up, out, begin, end); });
}

void AddInPlace(MatView<float> x, MatView<const float> y) {
  TERN_CHECK(x.rows == y.rows && x.cols == y.cols)
      << "add: x [" << x.rows << ", " << x.cols << "], y [" << y.rows << ", " << y.cols << "]";
  const auto range = HWY_DYNAMIC_DISPATCH(AddRange);
  ParallelFor(x.rows, RowGrain(x.cols), [&](size_t begin, size_t end) { range(x, y, begin, end); });
}

}  // namespace tern
#endif  // HWY_ONCE
