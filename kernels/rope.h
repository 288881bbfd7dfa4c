// Rotary position embedding, half-split ("rotate_half"): pairs (i, i + hd/2) turn by
// position * theta^(-2i/hd), where a model stretches its context divided by a number per pair.
#ifndef TERN_KERNELS_ROPE_H_
#define TERN_KERNELS_ROPE_H_

#include <cstdint>
#include <span>

#include "kernels/aligned_buffer.h"
#include "kernels/mat_view.h"

namespace tern {

// Cosines and sines for positions 0..max_positions-1, computed once in double and rounded to fp32,
// so that they do not depend on the dispatch target.
class RopeTable {
 public:
  // divisors [head_dim / 2] divide the angles; empty: all 1. Rotated vectors are multiplied by
  // magnitude.
  RopeTable(size_t max_positions, size_t head_dim, double theta,
            std::span<const double> divisors = {}, double magnitude = 1.0);
  size_t max_positions() const { return max_positions_; }
  size_t head_dim() const { return head_dim_; }
  const float* Cos(size_t position) const { return cos_.data() + position * (head_dim_ / 2); }
  const float* Sin(size_t position) const { return sin_.data() + position * (head_dim_ / 2); }

 private:
  size_t max_positions_, head_dim_;
  AlignedBuffer<float> cos_, sin_;  // [max_positions, head_dim / 2]
};

// Rotates in place every head of x [n, heads * head_dim]; row i by positions[i].
void ApplyRope(const RopeTable& table, std::span<const int32_t> positions, MatView<float> x);

}  // namespace tern

#endif  // TERN_KERNELS_ROPE_H_
