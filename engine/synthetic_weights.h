// Models of random weights in the shape of known ones: to measure speed and memory without the
// model's files. What they generate has no meaning.
#ifndef TERN_ENGINE_SYNTHETIC_WEIGHTS_H_
#define TERN_ENGINE_SYNTHETIC_WEIGHTS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/weight_source.h"

namespace tern {

struct SyntheticOptions {
  uint64_t seed = 0;
  // The share of gates that are negative, so that relu makes them zero: 0.5 comes by itself from
  // independent weights; up to 0.95. (Trained models have more: about 0.8 is reported for BitNet
  // 2B-4T.)
  double zero_gates = 0.5;
};

// The names of the shapes, "bitnet-2b-4t" first.
std::vector<std::string> SyntheticShapes();

// Weights -1, 0 and 1 equally often, embeddings of a normal distribution, scales for which the
// residual stream neither grows nor vanishes; the same for the same shape and options on every
// machine and number of threads. Throws kInvalidArgument for an unknown shape, naming those there
// are, and for zero_gates out of range.
std::unique_ptr<WeightSource> MakeSyntheticWeights(std::string_view shape,
                                                   const SyntheticOptions& options);

}  // namespace tern

#endif  // TERN_ENGINE_SYNTHETIC_WEIGHTS_H_
