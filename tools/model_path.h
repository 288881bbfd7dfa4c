// Where models lie: paths, names, and the one that ships with tern.
#ifndef TERN_TOOLS_MODEL_PATH_H_
#define TERN_TOOLS_MODEL_PATH_H_

#include <string>

namespace tern {

// `model` itself where it is there; the local Hugging Face cache's where it is org/name
// (hub_cache.h). Where it is empty, the default model: <program>/../share/tern/model
// (installed), else tools/model of the source tree that the program was built from. Throws
// kNotFound naming the places looked at.
std::string ResolveModel(const std::string& model);

}  // namespace tern

#endif  // TERN_TOOLS_MODEL_PATH_H_
