#include "kernels/top_k.h"

#include <cmath>

#include "kernels/check.h"

namespace tern {
namespace {

// Whether a ranks strictly above b. NaN is above nothing.
bool Above(float a, float b) { return a > b || (std::isnan(b) && !std::isnan(a)); }

}  // namespace

void TopK(std::span<const float> values, std::span<ScoredIndex> out) {
  TERN_CHECK(out.size() <= values.size()) << "top " << out.size() << " of " << values.size();
  if (out.empty()) return;
  size_t held = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    const float value = values[i];
    if (held == out.size()) {
      if (!Above(value, out[held - 1].value)) continue;
    } else {
      ++held;
    }
    // Indices ascend, so a later equal value stops below the earlier one.
    size_t slot = held - 1;
    for (; slot > 0 && Above(value, out[slot - 1].value); --slot) out[slot] = out[slot - 1];
    out[slot] = {static_cast<int32_t>(i), value};
  }
}

int32_t ArgMax(std::span<const float> values) {
  TERN_CHECK(!values.empty()) << "argmax of nothing";
  size_t best = 0;
  for (size_t i = 1; i < values.size(); ++i) {
    if (Above(values[i], values[best])) best = i;
  }
  return static_cast<int32_t>(best);
}

}  // namespace tern
