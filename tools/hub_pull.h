// Brings a model from the hub into the local cache, laid out as Hugging Face's tools do.
#ifndef TERN_TOOLS_HUB_PULL_H_
#define TERN_TOOLS_HUB_PULL_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "tools/hub_client.h"

namespace tern {

struct PulledModel {
  std::string path;  // of the folder with its files
  std::string commit;
  size_t files = 0;
  uint64_t downloaded_bytes = 0;
};

// Before a file's download begins: what receives its progress.
using HubReporter = std::function<HubProgress(const HubFile& file, uint64_t already_there)>;

// Takes the files that tern reads: safetensors, or the only .gguf file where there are none; draft
// heads; configuration, tokenizer, chat template. `wanted` names files in place of the weights. A
// file that is there is not fetched again. The name finds the model once all is there. Throws as
// HubClient does, kNotFound for a wanted file that is not there, kInvalidArgument where one of
// several .gguf files must be wanted, kUnsupported where tern can read none of the files.
PulledModel PullModel(const HubOptions& options, const HubName& name, const std::string& cache,
                      const std::vector<std::string>& wanted, const HubReporter& report);

}  // namespace tern

#endif  // TERN_TOOLS_HUB_PULL_H_
