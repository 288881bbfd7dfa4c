#include "engine/medusa_heads.h"

#include <algorithm>
#include <utility>

#include "kernels/activation.h"
#include "kernels/vocab_projection.h"

namespace tern {
namespace {

// The blocks of head `index` on x [1, d], in place. `biases` [1, d] are the first block's. z [1, d]
// and zeros [d] are scratch and zero.
void ApplyBlocks(const MedusaHeads& heads, size_t index, MatView<const float> biases,
                 std::span<const float> zeros, MatView<float> x, MatView<float> z) {
  const size_t k = static_cast<size_t>(heads.count), d = x.cols;
  for (size_t l = 0; l < heads.blocks.size(); ++l) {
    const MedusaBlock& block = heads.blocks[l];
    if (l > 0) biases = block.biases.View(k, d).Rows(index, 1);
    const bool plain = !block.two_matrices();
    VocabProjection(x, block.weights.View(k * d, d).Rows(index * d, d), z);
    ResidualSilu(plain ? x.RowSpan(0) : zeros, biases, z);
    if (plain) {
      std::copy_n(z.data, d, x.data);
      continue;
    }
    AlignedBuffer<float> y(d);
    VocabProjection(z, block.outputs.View(k * d, d).Rows(index * d, d), y.View(1, d));
    AddInPlace(x, y.View(1, d));
  }
}

}  // namespace

MedusaHeads ZeroMedusaHeads(int32_t count, int32_t hidden_size, int32_t layers) {
  TERN_CHECK(count >= 1 && count <= kMaxMedusaHeads && hidden_size >= 1 && layers >= 1 &&
             layers <= kMaxMedusaLayers)
      << count << " heads of " << layers << " blocks of " << hidden_size;
  const size_t outputs = static_cast<size_t>(count) * static_cast<size_t>(hidden_size);
  MedusaHeads heads;
  heads.count = count;
  heads.hidden_size = hidden_size;
  for (int32_t l = 0; l < layers; ++l) {
    MedusaBlock block;
    block.weights = AlignedBuffer<BFloat16>::Zeroed(outputs * static_cast<size_t>(hidden_size));
    block.biases = AlignedBuffer<float>::Zeroed(outputs);
    heads.blocks.push_back(std::move(block));
  }
  return heads;
}

MatView<const BFloat16> VocabularyOf(const MedusaHeads& heads, const Model& model, size_t index) {
  if (heads.vocabularies.size() == 0) return model.OutputEmbedding();
  const size_t v = static_cast<size_t>(model.config.vocab_size),
               d = static_cast<size_t>(heads.hidden_size);
  return heads.vocabularies.View(static_cast<size_t>(heads.count) * v, d).Rows(index * v, v);
}

void ApplyHeads(const MedusaHeads& heads, std::span<const float> hidden,
                std::span<const float> root, MatView<float> out) {
  const size_t k = static_cast<size_t>(heads.count), d = static_cast<size_t>(heads.hidden_size);
  TERN_CHECK(hidden.size() == d && out.rows == k && out.cols == d && out.stride == d)
      << k << " heads of " << d << ": hidden [" << hidden.size() << "], out [" << out.rows << ", "
      << out.cols << "]";
  const MedusaBlock& first = heads.blocks.front();
  MatView<const float> biases = first.biases.View(k, d);
  AlignedBuffer<float> of_root;  // R e + b
  if (heads.sees_root()) {
    TERN_CHECK(root.size() == d) << root.size();
    of_root = AlignedBuffer<float>(k * d);
    VocabProjection({root.data(), 1, d}, heads.root_weights.View(k * d, d), of_root.View(1, k * d));
    AddInPlace(of_root.View(k, d), biases);
    biases = std::as_const(of_root).View(k, d);
  }
  if (heads.blocks.size() == 1 && !first.two_matrices()) {
    // The heads stacked are one matrix [K*d, d], read once: the same product as a vocabulary's.
    VocabProjection({hidden.data(), 1, d}, first.weights.View(k * d, d), {out.data, 1, k * d});
    ResidualSilu(hidden, biases, out);
    return;
  }
  const auto zeros = AlignedBuffer<float>::Zeroed(d);
  AlignedBuffer<float> scratch(d);
  for (size_t i = 0; i < k; ++i) {
    std::copy(hidden.begin(), hidden.end(), out.Row(i));
    ApplyBlocks(heads, i, biases.Rows(i, 1), zeros.span(), out.Rows(i, 1), scratch.View(1, d));
  }
}

}  // namespace tern
