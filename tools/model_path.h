// Where models lie: paths, names, and the one that ships with tern; and loading them by the common
// options.
#ifndef TERN_TOOLS_MODEL_PATH_H_
#define TERN_TOOLS_MODEL_PATH_H_

#include <string>

#include "engine/model.h"
#include "tools/commands.h"

namespace tern {

// `model` itself where it is there; the local Hugging Face cache's where it is org/name
// (hub_cache.h). Where it is empty, the default model: <program>/../share/tern/model
// (installed), else tools/model of the source tree that the program was built from. Throws
// kNotFound naming the places looked at.
std::string ResolveModel(const std::string& model);

// The model at `path`, for making text: as --i2s-order and --zero-skip say. Throws LoadModel's
// errors and AddZeroSkipping's.
Model LoadForDecoding(const std::string& path, const CommonOptions& common);

}  // namespace tern

#endif  // TERN_TOOLS_MODEL_PATH_H_
