// What `tern info` tells, as one JSON object that its text is made of.
#ifndef TERN_TOOLS_INFO_H_
#define TERN_TOOLS_INFO_H_

#include <nlohmann/json.hpp>
#include <string>

#include "engine/ggml_types.h"

namespace tern {

using InfoJson = nlohmann::ordered_json;

// A model directory or GGUF file. What keeps tern from running it is a "problem" and not an error,
// as long as the file can be read at all.
InfoJson ModelInfo(const std::string& path, I2sOrder order);

// A folder that tern distill wrote. Throws as HiddenCache does.
bool IsDistilledData(const std::string& path);
InfoJson DistilledDataInfo(const std::string& path);

// The folder with the checkpoints of a training run: `path`, or `path`/run; "" where there are
// none.
std::string RunFolderOf(const std::string& path);
// Of such a folder, which may be in use.
InfoJson RunFolderInfo(const std::string& run);

// "tensors" or, unless `all`, "tensor_groups" of the file or folder.
void AddTensors(const std::string& path, bool all, InfoJson& info);

// `info` for people.
void PrintInfo(const InfoJson& info);

}  // namespace tern

#endif  // TERN_TOOLS_INFO_H_
