#include "kernels/activation.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/activation.cc"
#include <hwy/foreach_target.h>
// After foreach_target.
#include "kernels/exp-inl.h"
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
    const FloatVec relu = hn::IfThenZeroElse(hn::Lt(g, zero), g);  // unlike Max, lets NaN through
    return hn::Mul(hn::Mul(relu, relu), u);
  };
  for (size_t r = begin; r < end; ++r) MapRow(gate.Row(r), up.Row(r), out.Row(r), out.cols, fn);
}

// exp only of -|v|, which cannot overflow.
HWY_INLINE FloatVec Silu(FloatTag d, FloatVec v) {
  const FloatVec e = ExpNonPositive(d, hn::Neg(hn::Abs(v)));
  const FloatVec one = hn::Set(d, 1.0f);
  const FloatVec numerator = hn::IfThenElse(hn::Lt(v, hn::Zero(d)), e, one);
  return hn::Mul(v, hn::Div(numerator, hn::Add(one, e)));
}

void SiluGateRange(const MatView<const float>& gate, const MatView<const float>& up,
                   const MatView<float>& out, size_t begin, size_t end) {
  const auto fn = [](FloatVec g, FloatVec u) HWY_ATTR { return hn::Mul(Silu(FloatTag(), g), u); };
  for (size_t r = begin; r < end; ++r) MapRow(gate.Row(r), up.Row(r), out.Row(r), out.cols, fn);
}

void ResidualSiluRange(const float* x, const MatView<const float>& bias, const MatView<float>& z,
                       size_t begin, size_t end) {
  const FloatTag d;
  const size_t lanes = hn::Lanes(d), n = z.cols;
  for (size_t r = begin; r < end; ++r) {
    const float* b = bias.Row(r);
    float* out = z.Row(r);
    size_t i = 0;
    for (; i + lanes <= n; i += lanes) {
      const FloatVec v = hn::Add(hn::LoadU(d, out + i), hn::LoadU(d, b + i));
      hn::StoreU(hn::Add(hn::LoadU(d, x + i), Silu(d, v)), d, out + i);
    }
    if (i < n) {
      const FloatVec v = hn::Add(LoadPart(d, out + i, n - i), LoadPart(d, b + i, n - i));
      StorePart(hn::Add(LoadPart(d, x + i, n - i), Silu(d, v)), d, out + i, n - i);
    }
  }
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
HWY_EXPORT(SiluGateRange);
HWY_EXPORT(AddRange);
HWY_EXPORT(ResidualSiluRange);

namespace {

void CheckGate(MatView<const float> gate, MatView<const float> up, MatView<float> out) {
  TERN_CHECK(gate.rows == out.rows && gate.cols == out.cols && up.rows == out.rows &&
             up.cols == out.cols)
      << "gate [" << gate.rows << ", " << gate.cols << "], up [" << up.rows << ", " << up.cols
      << "], out [" << out.rows << ", " << out.cols << "]";
}

}  // namespace

void ReluSquaredGate(MatView<const float> gate, MatView<const float> up, MatView<float> out) {
  CheckGate(gate, up, out);
  const auto range = HWY_DYNAMIC_DISPATCH(ReluSquaredRange);
  ParallelFor(out.rows, RowGrain(out.cols),
              [&](size_t begin, size_t end) { range(gate, up, out, begin, end); });
}

void SiluGate(MatView<const float> gate, MatView<const float> up, MatView<float> out) {
  CheckGate(gate, up, out);
  const auto range = HWY_DYNAMIC_DISPATCH(SiluGateRange);
  ParallelFor(out.rows, RowGrain(out.cols),
              [&](size_t begin, size_t end) { range(gate, up, out, begin, end); });
}

void ResidualSilu(std::span<const float> x, MatView<const float> bias, MatView<float> z) {
  TERN_CHECK(x.size() == z.cols && bias.rows == z.rows && bias.cols == z.cols)
      << "residual silu: x [" << x.size() << "], bias [" << bias.rows << ", " << bias.cols
      << "], z [" << z.rows << ", " << z.cols << "]";
  const auto range = HWY_DYNAMIC_DISPATCH(ResidualSiluRange);
  ParallelFor(z.rows, RowGrain(z.cols),
              [&](size_t begin, size_t end) { range(x.data(), bias, z, begin, end); });
}

void AddInPlace(MatView<float> x, MatView<const float> y) {
  TERN_CHECK(x.rows == y.rows && x.cols == y.cols)
      << "add: x [" << x.rows << ", " << x.cols << "], y [" << y.rows << ", " << y.cols << "]";
  const auto range = HWY_DYNAMIC_DISPATCH(AddRange);
  ParallelFor(x.rows, RowGrain(x.cols), [&](size_t begin, size_t end) { range(x, y, begin, end); });
}

}  // namespace tern
#endif  // HWY_ONCE
