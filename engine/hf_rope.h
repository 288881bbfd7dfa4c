// Rotary embedding in a Hugging Face config.json: rope_theta and the ways to stretch a context.
#ifndef TERN_ENGINE_HF_ROPE_H_
#define TERN_ENGINE_HF_ROPE_H_

#include "engine/config.h"
#include "engine/hf_fields.h"

namespace tern {

// Fills the rope fields of *c from `rope_parameters`, or `rope_theta` and `rope_scaling`: types
// default, linear, llama3 and yarn; throws kUnsupported for others. Needs c->head_dim and
// c->max_position_embeddings. missing_theta: what holds where none is given; 0: it must be.
void ReadHfRope(const HfFields& fields, double missing_theta, ModelConfig* c);

// The reverse: a `rope_scaling` that gives the divisors of `c` (as floats, which is what GGUF
// keeps), null where there is nothing to say. Finds linear and llama3 with its usual
// low_freq_factor 1 and high_freq_factor 4; throws kUnsupported for others.
nlohmann::json HfRopeScaling(const ModelConfig& c);

}  // namespace tern

#endif  // TERN_ENGINE_HF_ROPE_H_
