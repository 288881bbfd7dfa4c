// config.json of a Hugging Face directory: what the model is, and how its linears are stored.
#ifndef TERN_ENGINE_HF_CONFIG_H_
#define TERN_ENGINE_HF_CONFIG_H_

#include <string>

#include "engine/config.h"

namespace tern {

// How the seven linears of a layer lie in the file.
enum class HfLinears {
  kPacked,    // uint8, four codes a byte, and `weight_scale`
  kMasters,   // float weights, ternarised on load by their mean magnitude
  kUnpacked,  // floats that are -scale, 0 or scale already; the scales are read off them
};

struct HfConfig {
  ModelConfig model;
  HfLinears linears = HfLinears::kMasters;
  // weight_scale multiplies (linear_class "autobitlinear") or divides (facts 1.6).
  bool weight_scale_multiplies = true;
};

// Reads and validates `dir`/config.json, and the ends of a text in generation_config.json, if
// there: model_type bitnet, llama or qwen3. Sub-norms of a llama are not in it: model.attn_sub_norm
// and model.ffn_sub_norm are false until its tensors are seen. Throws kNotFound, kBadFile (missing
// or inconsistent field, named with its value) or kUnsupported (another architecture, activation or
// rope).
HfConfig ReadHfConfig(const std::string& dir);

}  // namespace tern

#endif  // TERN_ENGINE_HF_CONFIG_H_
