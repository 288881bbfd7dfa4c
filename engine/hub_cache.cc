#include "engine/hub_cache.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <vector>

#include "engine/atomic_file.h"
#include "engine/error.h"

namespace tern {
namespace {

namespace fs = std::filesystem;

std::string Variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

bool IsPart(std::string_view part, bool slashes) {
  const auto plain = [slashes](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '_' || c == '-' ||
           (slashes && c == '/');
  };
  return !part.empty() && part.size() <= 96 && part[0] != '.' && part[0] != '-' && part[0] != '/' &&
         part.find("..") == std::string_view::npos && std::all_of(part.begin(), part.end(), plain);
}

std::string WithoutSpace(std::string text) {
  text.erase(std::remove_if(text.begin(), text.end(),
                            [](unsigned char c) { return std::isspace(c) != 0; }),
             text.end());
  return text;
}

}  // namespace

std::optional<HubName> ParseHubName(std::string_view text) {
  HubName name;
  if (const size_t at = text.find('@'); at != std::string_view::npos) {
    name.revision = text.substr(at + 1);
    if (!IsPart(name.revision, true)) return std::nullopt;
    text = text.substr(0, at);
  }
  const size_t slash = text.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  if (!IsPart(text.substr(0, slash), false) || !IsPart(text.substr(slash + 1), false)) {
    return std::nullopt;
  }
  name.id = text;
  return name;
}

std::string HubHomeDir() {
  if (const std::string home = Variable("HF_HOME"); !home.empty()) return home;
  if (const std::string cache = Variable("XDG_CACHE_HOME"); !cache.empty()) {
    return cache + "/huggingface";
  }
  return Variable("HOME") + "/.cache/huggingface";
}

std::string HubCacheDir() {
  for (const char* name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"}) {
    if (const std::string cache = Variable(name); !cache.empty()) return cache;
  }
  return HubHomeDir() + "/hub";
}

std::string HubModelDir(const std::string& cache, const std::string& id) {
  std::string folder = id;
  folder.replace(folder.find('/'), 1, "--");
  return cache + "/models--" + folder;
}

std::string FindInHubCache(const std::string& cache, const HubName& name) {
  const fs::path model = HubModelDir(cache, name.id);
  const fs::path ref = model / "refs" / name.revision;
  std::error_code ignored;
  std::string commit = name.revision;
  if (fs::is_regular_file(ref, ignored)) commit = WithoutSpace(ReadFile(ref.string()));
  const fs::path snapshot = model / "snapshots" / commit;
  if (commit.find('/') != std::string::npos || commit.empty() || commit == ".." ||
      !fs::is_directory(snapshot, ignored)) {
    throw NotFound(name.id + ": revision " + name.revision + " is not in the cache " + cache +
                   "; download it: tern pull " + name.id);
  }
  std::vector<std::string> ggufs;
  for (const auto& entry : fs::directory_iterator(snapshot, ignored)) {
    if (entry.path().extension() == ".gguf") ggufs.push_back(entry.path().filename().string());
  }
  std::sort(ggufs.begin(), ggufs.end());
  // Repositories of GGUF files often have a config.json too.
  const bool weights = fs::exists(snapshot / "model.safetensors", ignored) ||
                       fs::exists(snapshot / "model.safetensors.index.json", ignored);
  if (fs::exists(snapshot / "config.json", ignored) && (weights || ggufs.empty()))
    return snapshot.string();
  if (ggufs.size() == 1) return (snapshot / ggufs[0]).string();
  if (ggufs.empty()) {
    throw NotFound(snapshot.string() + ": no config.json and no .gguf file; download it again: " +
                   "tern pull " + name.id);
  }
  std::string all;
  for (const std::string& gguf : ggufs) all += (all.empty() ? "" : ", ") + gguf;
  throw InvalidArgument(name.id + ": several .gguf files (" + all + "); give the path of one in " +
                        snapshot.string());
}

}  // namespace tern
