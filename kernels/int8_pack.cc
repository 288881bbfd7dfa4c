#include "kernels/int8_pack.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "kernels/check.h"
#include "kernels/quantize.h"

namespace tern {

Int8Matrix PackInt8(MatView<const BFloat16> weights, std::span<const int32_t> picked) {
  const size_t groups = (picked.size() + kInt8RowGroup - 1) / kInt8RowGroup;
  const size_t cols = PadK(weights.cols);
  Int8Matrix out;
  out.rows = picked.size();
  out.cols = weights.cols;
  out.data = AlignedBuffer<uint8_t>(groups * kInt8RowGroup * cols);
  std::fill(out.data.span().begin(), out.data.span().end(), uint8_t{128});
  out.scales = AlignedBuffer<float>::Zeroed(groups * kInt8RowGroup);
  for (size_t r = 0; r < picked.size(); ++r) {
    TERN_CHECK(picked[r] >= 0 && static_cast<size_t>(picked[r]) < weights.rows)
        << "row " << picked[r] << " of " << weights.rows;
    const std::span<const BFloat16> row = weights.RowSpan(static_cast<size_t>(picked[r]));
    float absmax = 0.0f;
    bool finite = true;
    for (const BFloat16 w : row) {
      absmax = std::max(absmax, std::abs(w.ToFloat()));
      finite &= std::isfinite(w.ToFloat());
    }
    out.scales[r] = finite ? absmax / 127.0f : std::numeric_limits<float>::quiet_NaN();
    if (absmax == 0.0f || !finite) continue;
    uint8_t* group = out.data.data() + r / kInt8RowGroup * kInt8RowGroup * cols;
    for (size_t c = 0; c < row.size(); ++c) {
      const float code = std::nearbyint(row[c].ToFloat() / absmax * 127.0f);
      const size_t line = c / 4 * (4 * kInt8RowGroup);
      group[line + r % kInt8RowGroup * 4 + c % 4] =
          static_cast<uint8_t>(static_cast<int32_t>(code) + 128);
    }
  }
  return out;
}

Int8Matrix PackInt8(MatView<const BFloat16> weights) {
  std::vector<int32_t> all(weights.rows);
  std::iota(all.begin(), all.end(), 0);
  return PackInt8(weights, all);
}

}  // namespace tern
