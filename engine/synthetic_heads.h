// Draft heads of random weights: to measure speed without trained ones. What they draft is noise.
#ifndef TERN_ENGINE_SYNTHETIC_HEADS_H_
#define TERN_ENGINE_SYNTHETIC_HEADS_H_

#include <cstdint>
#include <random>

#include "engine/medusa_heads.h"

namespace tern {

// Uniform in [-scale, scale). Same seed, same values.
class UniformMaker {
 public:
  UniformMaker(float scale, uint64_t seed) : scale_(scale), random_(seed) {}
  float operator()() { return scale_ * (static_cast<float>(random_() >> 40) * 0x1p-23f - 1.0f); }
  AlignedBuffer<BFloat16> Matrix(size_t size) {
    AlignedBuffer<BFloat16> matrix(size);
    for (BFloat16& w : matrix.span()) w = BFloat16::FromFloat((*this)());
    return matrix;
  }

 private:
  float scale_;
  std::mt19937_64 random_;
};

// `count` heads of one Medusa block over the backbone's vocabulary: weights and biases uniform in
// [-scale, scale). Same seed, same heads.
MedusaHeads MakeSyntheticHeads(int32_t count, int32_t hidden_size, float scale, uint64_t seed);

}  // namespace tern

#endif  // TERN_ENGINE_SYNTHETIC_HEADS_H_
