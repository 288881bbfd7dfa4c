#include "tools/model_path.h"

#include <filesystem>
#include <optional>
#include <system_error>

#include "engine/error.h"
#include "engine/hub_cache.h"
#include "engine/zero_skip.h"

namespace tern {

namespace fs = std::filesystem;

std::string ResolveModel(const std::string& model) {
  std::error_code ignored;
  if (!model.empty()) {
    const auto name = fs::exists(model, ignored) ? std::nullopt : ParseHubName(model);
    if (name) return FindInHubCache(HubCacheDir(), *name);
    if (!fs::exists(model, ignored)) {
      throw NotFound(model + ": no such model; give a folder, a .gguf file or org/name");
    }
    return model;
  }
  const fs::path program = fs::read_symlink("/proc/self/exe", ignored);
  const fs::path installed = program.parent_path().parent_path() / "share/tern/model";
  const fs::path source = fs::path(TERN_SOURCE_DIR) / "tools/model";
  for (const fs::path& dir : {installed, source}) {
    if (fs::exists(dir / "config.json", ignored)) return dir.string();
  }
  throw NotFound("default model: no config.json in " + installed.string() + " or " +
                 source.string() + "; give --model DIR");
}

Model LoadForDecoding(const std::string& path, const CommonOptions& common) {
  Model model = LoadModel(path, common.I2s());
  if (common.zero_skip) AddZeroSkipping(model);
  return model;
}

}  // namespace tern
