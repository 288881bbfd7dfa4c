// What Hugging Face checkpoints call the tensors of a model.
#ifndef TERN_ENGINE_HF_NAMES_H_
#define TERN_ENGINE_HF_NAMES_H_

#include <cstdint>
#include <string>

#include "engine/weight_source.h"

namespace tern {

std::string HfTableName(Table table);
// `old_names`: sub-norms as 1bitLLM names them.
std::string HfGainName(Gain gain, int32_t layer, bool old_names = false);
std::string HfLinearName(Linear linear, int32_t layer);

}  // namespace tern

#endif  // TERN_ENGINE_HF_NAMES_H_
