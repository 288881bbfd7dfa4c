// Medusa heads made in code.
#ifndef TERN_TESTS_SUPPORT_RANDOM_HEADS_H_
#define TERN_TESTS_SUPPORT_RANDOM_HEADS_H_

#include <cstdint>

#include "engine/medusa_heads.h"
#include "engine/synthetic_heads.h"

namespace tern {

inline MedusaHeads RandomHeads(int32_t count, int32_t hidden_size, float scale, uint64_t seed) {
  MedusaHeads heads = MakeSyntheticHeads(count, hidden_size, scale, seed);
  heads.root_weights = {};
  return heads;
}

// `heads` that see the root, with weights uniform in [-scale, scale).
inline MedusaHeads WithRootWeights(MedusaHeads heads, float scale, uint64_t seed) {
  const auto d = static_cast<size_t>(heads.hidden_size);
  heads.root_weights = UniformMaker(scale, seed).Matrix(static_cast<size_t>(heads.count) * d * d);
  return heads;
}

// `heads` with random vocabularies of their own, uniform in [-1, 1).
inline MedusaHeads WithVocabularies(MedusaHeads heads, int32_t vocab_size, uint64_t seed) {
  heads.vocabularies =
      UniformMaker(1.0f, seed)
          .Matrix(static_cast<size_t>(heads.count) * static_cast<size_t>(vocab_size) *
                  static_cast<size_t>(heads.hidden_size));
  return heads;
}

// `blocks` blocks of two matrices each, uniform in [-scale, scale).
inline MedusaHeads RandomTwoMatrixHeads(int32_t count, int32_t blocks, int32_t hidden_size,
                                        float scale, uint64_t seed) {
  UniformMaker uniform(scale, seed);
  MedusaHeads heads = ZeroMedusaHeads(count, hidden_size);
  const size_t outputs = heads.blocks[0].biases.size();
  heads.blocks.clear();
  for (int32_t l = 0; l < blocks; ++l) {
    MedusaBlock& block = heads.blocks.emplace_back();
    block.weights = uniform.Matrix(outputs * static_cast<size_t>(hidden_size));
    block.biases = AlignedBuffer<float>::Zeroed(outputs);
    block.outputs = uniform.Matrix(outputs * static_cast<size_t>(hidden_size));
  }
  return heads;
}

}  // namespace tern

#endif  // TERN_TESTS_SUPPORT_RANDOM_HEADS_H_
