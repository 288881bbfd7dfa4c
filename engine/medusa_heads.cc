#include "engine/medusa_heads.h"

#include "kernels/activation.h"
#include "kernels/vocab_projection.h"

namespace tern {

MedusaHeads ZeroMedusaHeads(int32_t count, int32_t hidden_size) {
  TERN_CHECK(count >= 1 && count <= kMaxMedusaHeads && hidden_size >= 1)
      << count << " heads of " << hidden_size;
  const size_t outputs = static_cast<size_t>(count) * static_cast<size_t>(hidden_size);
  MedusaHeads heads;
  heads.count = count;
  heads.hidden_size = hidden_size;
  heads.weights = AlignedBuffer<BFloat16>::Zeroed(outputs * static_cast<size_t>(hidden_size));
  heads.biases = AlignedBuffer<float>::Zeroed(outputs);
  return heads;
}

void ApplyHeads(const MedusaHeads& heads, std::span<const float> hidden, MatView<float> out) {
  const size_t k = static_cast<size_t>(heads.count), d = static_cast<size_t>(heads.hidden_size);
  TERN_CHECK(hidden.size() == d && out.rows == k && out.cols == d && out.stride == d)
      << k << " heads of " << d << ": hidden [" << hidden.size() << "], out [" << out.rows << ", "
      << out.cols << "]";
  // The heads stacked are one matrix [K*d, d], read once: the same product as a vocabulary's.
  VocabProjection({hidden.data(), 1, d}, heads.weights.View(k * d, d), {out.data, 1, k * d});
  ResidualSilu(hidden, heads.biases.View(k, d), out);
}

}  // namespace tern
