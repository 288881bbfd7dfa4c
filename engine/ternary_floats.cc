#include "engine/ternary_floats.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <span>
#include <vector>

#include "kernels/aligned_buffer.h"
#include "kernels/parallel.h"

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
  const size_t groups = (weights.cols + group - 1) / group;
  scales->resize(weights.rows * groups);
  std::atomic<size_t> bad = weights.rows;  // the first bad row
  ParallelFor(weights.rows, RowGrain(weights.cols), [&](size_t begin, size_t end) {
    for (size_t r = begin; r < end && r < bad; ++r) {
      for (size_t g = 0; g < groups; ++g) {
        const size_t count = std::min(group, weights.cols - g * group);
        float* scale = scales->data() + r * groups + g;
        if (OneMagnitude(weights.RowSpan(r).subspan(g * group, count), scale)) continue;
        for (size_t seen = bad; r < seen && !bad.compare_exchange_weak(seen, r);) {
        }
        return;
      }
    }
  });
  *bad_row = bad;
  return bad == weights.rows;
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
  ParallelFor(weights.rows, RowGrain(weights.cols), [&](size_t begin, size_t end) {
    for (size_t r = begin; r < end; ++r) {
      std::transform(weights.Row(r), weights.Row(r) + weights.cols, view.Row(r),
                     [](float w) { return static_cast<int8_t>((w > 0) - (w < 0)); });
    }
  });
  return PackTernaryGroups(view, {scales.data(), weights.rows, scales.size() / weights.rows},
                           group);
}

}  // namespace tern
