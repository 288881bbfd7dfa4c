#include "kernels/int8_pack.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "kernels/check.h"
#include "kernels/parallel.h"
#include "kernels/quantize.h"

namespace tern {

namespace {

// Half to even, |x| < 2^22: adding 1.5 * 2^23 leaves no bit for the fraction. Unlike nearbyint it
// is two instructions on every CPU.
float Round(float x) { return (x + 0x1.8p23f) - 0x1.8p23f; }

// Packs `row` into the places of its group, whose first byte for it is `out`; returns its scale.
float PackRow(std::span<const BFloat16> row, uint8_t* out) {
  float absmax = 0.0f;
  bool finite = true;
  for (const BFloat16 w : row) {
    absmax = std::max(absmax, std::abs(w.ToFloat()));
    finite &= std::isfinite(w.ToFloat());
  }
  if (!finite) return std::numeric_limits<float>::quiet_NaN();
  if (absmax == 0.0f) return 0.0f;
  for (size_t c = 0; c < row.size(); ++c) {
    const float code = Round(row[c].ToFloat() / absmax * 127.0f);
    out[c / 4 * (4 * kInt8RowGroup) + c % 4] =
        static_cast<uint8_t>(static_cast<int32_t>(code) + 128);
  }
  return absmax / 127.0f;
}

}  // namespace

Int8Matrix PackInt8(MatView<const BFloat16> weights, std::span<const int32_t> picked) {
  const size_t groups = (picked.size() + kInt8RowGroup - 1) / kInt8RowGroup;
  const size_t group_bytes = kInt8RowGroup * PadK(weights.cols);
  Int8Matrix out;
  out.rows = picked.size();
  out.cols = weights.cols;
  out.data = AlignedBuffer<uint8_t>(groups * group_bytes);
  out.scales = AlignedBuffer<float>::Zeroed(groups * kInt8RowGroup);
  ParallelFor(groups, RowGrain(group_bytes), [&](size_t begin, size_t end) {
    uint8_t* const data = out.data.data();
    std::fill(data + begin * group_bytes, data + end * group_bytes, uint8_t{128});
    const size_t last = std::min(end * kInt8RowGroup, picked.size());
    for (size_t r = begin * kInt8RowGroup; r < last; ++r) {
      TERN_CHECK(picked[r] >= 0 && static_cast<size_t>(picked[r]) < weights.rows)
          << "row " << picked[r] << " of " << weights.rows;
      out.scales[r] = PackRow(weights.RowSpan(static_cast<size_t>(picked[r])),
                              data + r / kInt8RowGroup * group_bytes + r % kInt8RowGroup * 4);
    }
  });
  return out;
}

Int8Matrix PackInt8(MatView<const BFloat16> weights) {
  std::vector<int32_t> all(weights.rows);
  std::iota(all.begin(), all.end(), 0);
  return PackInt8(weights, all);
}

}  // namespace tern
