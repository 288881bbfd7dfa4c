// Sampling as a pure function of (logits row, options, seed, position, the row's own tokens).
#ifndef TERN_ENGINE_SAMPLER_H_
#define TERN_ENGINE_SAMPLER_H_

#include <cstdint>
#include <span>

#include "engine/batch.h"

namespace tern {

struct SamplingOptions {
  float temperature = 0.0f;         // 0 = greedy; otherwise > 0
  int32_t top_k = 0;                // keep the k largest logits; 0 = all
  float top_p = 1.0f;               // keep the smallest set with this probability; (0, 1], 1 = all
  float min_p = 0.0f;               // keep p >= min_p * max p; [0, 1), 0 = all
  float repetition_penalty = 1.0f;  // > 0; CTRL's: positive logits divided, negative multiplied; 1 = off
  float frequency_penalty = 0.0f;   // [-2, 2], times the number of occurrences
  float presence_penalty = 0.0f;    // [-2, 2], once per token that occurred
  uint64_t seed = 0;
  uint32_t stream = 0;              // choice index (n > 1) or prompt index
  // Throws Error(kInvalidArgument) naming field, value and range.
  void Validate() const;
  bool Penalises() const {
    return repetition_penalty != 1.0f || frequency_penalty != 0.0f || presence_penalty != 0.0f;
  }
};

}  // namespace tern

#endif  // TERN_ENGINE_SAMPLER_H_
