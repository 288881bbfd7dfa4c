// Named model sizes.
#ifndef TERN_TRAINER_MODEL_PRESETS_H_
#define TERN_TRAINER_MODEL_PRESETS_H_

#include <string>
#include <vector>

#include "engine/config.h"

namespace tern {

struct ModelPreset {
  std::string name;
  ModelConfig config;    // vocab_size 0: the data decides
  double learning_rate;  // peak of stage 1
};

// Ascending in size; "tiny" is for tests. 700m, 1.3b and 3b are the published b1.58 shapes.
const std::vector<ModelPreset>& ModelPresets();
// Throws kInvalidArgument listing the names.
const ModelPreset& FindPreset(const std::string& name);

// Throws kInvalidArgument naming the field where the dimensions do not fit each other or the packed
// format.
void ValidateShape(const ModelConfig& config);

// Parameters of the model, tied embedding counted once.
double CountParameters(const ModelConfig& config);

}  // namespace tern

#endif  // TERN_TRAINER_MODEL_PRESETS_H_
