#include "engine/ternary_floats.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "kernels/aligned_buffer.h"

namespace tern {
namespace {

// The magnitude that all of `weights` but zeros have, 0 where all are zero; false where two differ.
bool OneMagnitude(std::span<const float> weights, float* magnitude) {
  *magnitude = 0;
  for (const float w : weights) {
    if (w == 0) continue;
    if (*magnitude == 0) *magnitude = std::fabs(w);
    if (std::fabs(w) != *magnitude) return false;
  }
  return true;
}

// Scales [rows, ceil(cols / group)] of ternary values; false where a group has several magnitudes
// (*bad_row: where).
bool ReadScales(MatView<const float> weights, size_t group, std::vector<float>* scales,
                size_t* bad_row) {
  scales->clear();
  for (size_t r = 0; r < weights.rows; ++r) {
    for (size_t c = 0; c < weights.cols; c += group) {
      const size_t count = std::min(group, weights.cols - c);
      scales->push_back(0);
      if (OneMagnitude(weights.RowSpan(r).subspan(c, count), &scales->back())) continue;
      *bad_row = r;
      return false;
    }
  }
  return true;
}

}  // namespace

TernaryMatrix PackMasters(MatView<const float> weights) {
  AlignedBuffer<int8_t> codes(weights.rows * weights.cols);
  const MatView<int8_t> view = codes.View(weights.rows, weights.cols);
  const float scale = TernarizeAbsMean(weights, view);
  return PackTernary(view, scale);
}

std::optional<TernaryMatrix> PackUnpacked(MatView<const float> weights, size_t* bad_row) {
  std::vector<float> scales;
  size_t group = weights.cols;
  if (!ReadScales(weights, group, &scales, bad_row)) {
    group = std::min(kUnpackedGroup, weights.cols);
    if (!ReadScales(weights, group, &scales, bad_row)) return std::nullopt;
  }
  AlignedBuffer<int8_t> codes(weights.rows * weights.cols);
  const MatView<int8_t> view = codes.View(weights.rows, weights.cols);
  for (size_t r = 0; r < weights.rows; ++r) {
    for (size_t c = 0; c < weights.cols; ++c) {
      const float w = weights.Row(r)[c];
      view.Row(r)[c] = static_cast<int8_t>((w > 0) - (w < 0));
    }
  }
  return PackTernaryGroups(view, {scales.data(), weights.rows, scales.size() / weights.rows},
                           group);
}

}  // namespace tern
