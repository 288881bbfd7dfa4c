// Medusa heads made in code.
#ifndef TERN_TESTS_SUPPORT_RANDOM_HEADS_H_
#define TERN_TESTS_SUPPORT_RANDOM_HEADS_H_

#include <cstdint>
#include <random>

#include "engine/medusa_heads.h"

namespace tern {

// Weights and biases uniform in [-scale, scale). Same seed, same heads.
inline MedusaHeads RandomHeads(int32_t count, int32_t hidden_size, float scale, uint64_t seed) {
  std::mt19937_64 random(seed);
  const auto uniform = [&] {
    return scale * (static_cast<float>(random() >> 40) * 0x1p-23f - 1.0f);
  };
  MedusaHeads heads = ZeroMedusaHeads(count, hidden_size);
  for (BFloat16& w : heads.weights.span()) w = BFloat16::FromFloat(uniform());
  for (float& b : heads.biases.span()) b = RoundToBFloat16(uniform());
  return heads;
}

}  // namespace tern

#endif  // TERN_TESTS_SUPPORT_RANDOM_HEADS_H_
