// Where the model that ships with tern lies.
#ifndef TERN_TOOLS_MODEL_PATH_H_
#define TERN_TOOLS_MODEL_PATH_H_

#include <string>

namespace tern {

// `model` itself where it is not empty. Otherwise the default model: <program>/../share/tern/model
// (installed), else tools/model of the source tree that the program was built from. Throws
// kNotFound naming the places looked at.
std::string ResolveModel(const std::string& model);

}  // namespace tern

#endif  // TERN_TOOLS_MODEL_PATH_H_
