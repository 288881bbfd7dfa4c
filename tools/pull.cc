// tern pull: a model from the Hugging Face hub into the cache that Hugging Face's tools use.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/error.h"
#include "engine/hub_cache.h"
#include "tools/commands.h"
#include "tools/hub_pull.h"
#include "tools/report.h"

namespace tern {
namespace {

struct PullOptions {
  std::string name;
  std::vector<std::string> files;
};

HubProgress Report(const HubFile& file, uint64_t already_there) {
  constexpr double kMega = 1e6;
  const auto progress =
      std::make_shared<Progress>(file.name, "MB", static_cast<double>(file.size) / kMega,
                                 static_cast<double>(already_there) / kMega);
  return [progress](uint64_t bytes) { progress->Update(static_cast<double>(bytes) / kMega); };
}

void RunPull(const PullOptions& options, const CommonOptions& common) {
  const auto name = ParseHubName(options.name);
  if (!name) {
    throw InvalidArgument("\"" + options.name + "\" is no model's name, expected org/name");
  }
  const PulledModel pulled =
      PullModel(HubOptionsFromEnvironment(), *name, HubCacheDir(), options.files, Report);
  if (common.json) {
    const nlohmann::ordered_json result = {{"path", pulled.path},
                                           {"commit", pulled.commit},
                                           {"files", pulled.files},
                                           {"downloaded_bytes", pulled.downloaded_bytes},
                                           {"peak_memory_mb", PeakMemoryMb()}};
    std::printf("%s\n", result.dump().c_str());
  } else {
    std::printf("%s\n", pulled.path.c_str());
  }
}

}  // namespace

void AddPull(CLI::App& app, const CommonOptions& common) {
  auto options = std::make_shared<PullOptions>();
  CLI::App* command = app.add_subcommand(
      "pull",
      "Downloads a model from the Hugging Face hub into the local cache, where --model "
      "finds it by name");
  command->add_option("name", options->name, "org/name, or org/name@revision")->required();
  command->add_option("--file", options->files,
                      "This file (a .gguf, say) in place of the safetensors; may be repeated");
  command->callback([options, &common] { RunPull(*options, common); });
}

}  // namespace tern
