#include "engine/synthetic_heads.h"

namespace tern {

MedusaHeads MakeSyntheticHeads(int32_t count, int32_t hidden_size, float scale, uint64_t seed) {
  UniformMaker uniform(scale, seed);
  MedusaHeads heads = ZeroMedusaHeads(count, hidden_size);
  for (BFloat16& w : heads.blocks[0].weights.span()) w = BFloat16::FromFloat(uniform());
  for (float& b : heads.blocks[0].biases.span()) b = RoundToBFloat16(uniform());
  const size_t outputs = heads.blocks[0].biases.size();
  heads.root_weights = AlignedBuffer<BFloat16>(outputs * static_cast<size_t>(hidden_size));
  for (BFloat16& w : heads.root_weights.span()) w = BFloat16::FromFloat(uniform());
  return heads;
}

}  // namespace tern
