#include "kernels/top_k.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/top_k.cc"
#include <hwy/foreach_target.h>
// After foreach_target.
#include "kernels/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tern {
namespace HWY_NAMESPACE {

// The first i >= from, a multiple of Lanes behind it at a time, whose vector may hold something
// above `least`: a value that is not <= it. NaN is such a value, the caller looks closer.
// Returns n where there is none.
size_t NextAbove(const float* x, size_t from, size_t n, float least) {
  const FloatTag d;
  const size_t lanes = hn::Lanes(d);
  const FloatVec bound = hn::Set(d, least);
  size_t i = from;
  for (; i + 4 * lanes <= n; i += 4 * lanes) {
    const auto a =
        hn::And(hn::Le(hn::LoadU(d, x + i), bound), hn::Le(hn::LoadU(d, x + i + lanes), bound));
    const auto b = hn::And(hn::Le(hn::LoadU(d, x + i + 2 * lanes), bound),
                           hn::Le(hn::LoadU(d, x + i + 3 * lanes), bound));
    if (!hn::AllTrue(d, hn::And(a, b))) break;
  }
  for (; i + lanes <= n; i += lanes) {
    const auto above = hn::Not(hn::Le(hn::LoadU(d, x + i), bound));
    const intptr_t first = hn::FindFirstTrue(d, above);
    if (first >= 0) return i + static_cast<size_t>(first);
  }
  for (; i < n; ++i) {
    if (!(x[i] <= least)) return i;
  }
  return n;
}

}  // namespace HWY_NAMESPACE
}  // namespace tern
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <cmath>

#include "kernels/check.h"

namespace tern {
HWY_EXPORT(NextAbove);

namespace {

// Whether a ranks strictly above b. NaN is above nothing.
bool Above(float a, float b) { return a > b || (std::isnan(b) && !std::isnan(a)); }

// Puts values[i] into its place among out[0 .. held), dropping the last of them, whose slot is
// free. Indices ascend, so a later equal value stops below the earlier one.
void Insert(float value, size_t i, size_t last, std::span<ScoredIndex> out) {
  size_t slot = last;
  for (; slot > 0 && Above(value, out[slot - 1].value); --slot) out[slot] = out[slot - 1];
  out[slot] = {static_cast<int32_t>(i), value};
}

}  // namespace

void TopK(std::span<const float> values, std::span<ScoredIndex> out) {
  TERN_CHECK(out.size() <= values.size()) << "top " << out.size() << " of " << values.size();
  if (out.empty()) return;
  const size_t last = out.size() - 1;
  for (size_t i = 0; i <= last; ++i) Insert(values[i], i, i, out);
  const auto next = HWY_DYNAMIC_DISPATCH(NextAbove);
  // Values above the last one found are few: the search for the next runs by vectors.
  for (size_t i = last + 1; i < values.size(); ++i) {
    i = next(values.data(), i, values.size(), out[last].value);
    if (i < values.size() && Above(values[i], out[last].value)) Insert(values[i], i, last, out);
  }
}

int32_t ArgMax(std::span<const float> values) {
  TERN_CHECK(!values.empty()) << "argmax of nothing";
  ScoredIndex best;
  TopK(values, {&best, 1});
  return best.index;
}

}  // namespace tern
#endif  // HWY_ONCE
