// Element-wise activations of gated feed-forward blocks.
#ifndef TERN_KERNELS_ACTIVATION_H_
#define TERN_KERNELS_ACTIVATION_H_

#include <span>

#include "kernels/mat_view.h"

namespace tern {

// out = relu(gate)^2 * up (BitNet 2B-4T). All [n, f]; out may be gate or up.
void ReluSquaredGate(MatView<const float> gate, MatView<const float> up, MatView<float> out);

// out = silu(gate) * up, silu(v) = v / (1 + exp(-v)) (Llama). All [n, f]; out may be gate or up.
// Bits depend on the target.
void SiluGate(MatView<const float> gate, MatView<const float> up, MatView<float> out);

// z[r] = x + silu(z[r] + bias[r]): residual blocks that share their
// input. x [d], bias and z [n, d]. Bits depend on the target.
void ResidualSilu(std::span<const float> x, MatView<const float> bias, MatView<float> z);

// x += y, both [n, d]: the residual stream.
void AddInPlace(MatView<float> x, MatView<const float> y);

}  // namespace tern

#endif  // TERN_KERNELS_ACTIVATION_H_
