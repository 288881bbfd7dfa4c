#include "kernels/quantize.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/quantize.cc"
#include <hwy/foreach_target.h>
// After foreach_target.
#include "kernels/parallel.h"
#include "kernels/quantize-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tern {
namespace HWY_NAMESPACE {

void QuantizeRange(const MatView<const float>& x, const QuantizedRows& out, size_t begin,
                   size_t end) {
  const FloatTag d;
  const size_t lanes = hn::Lanes(d);
  for (size_t r = begin; r < end; ++r) {
    const float* row = x.Row(r);
    const auto load = [&](size_t i, size_t count) HWY_ATTR {
      return count == lanes ? hn::LoadU(d, row + i) : LoadPart(d, row + i, count);
    };
    QuantizeRow(x.cols, load, out.codes.Row(r), &out.scales[r], &out.sums[r]);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace tern
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tern {
HWY_EXPORT(QuantizeRange);

void QuantizeRows(MatView<const float> x, const QuantizedRows& out) noexcept {
  TERN_CHECK(out.n() == x.rows && out.codes.cols == PadK(x.cols) && out.scales.size() == x.rows &&
             out.sums.size() == x.rows)
      << "quantize: x [" << x.rows << ", " << x.cols << "], codes [" << out.codes.rows << ", "
      << out.codes.cols << "], " << out.scales.size() << " scales, " << out.sums.size() << " sums";
  if (x.cols == 0) return;
  const auto range = HWY_DYNAMIC_DISPATCH(QuantizeRange);
  ParallelFor(x.rows, RowGrain(x.cols),
              [&](size_t begin, size_t end) { range(x, out, begin, end); });
}

}  // namespace tern
#endif  // HWY_ONCE
