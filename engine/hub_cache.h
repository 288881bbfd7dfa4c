// Models that Hugging Face's tools have downloaded: a folder models--ORG--NAME each, with
// refs/REVISION (a commit), snapshots/COMMIT/FILE (links) and blobs/CHECKSUM.
#ifndef TERN_ENGINE_HUB_CACHE_H_
#define TERN_ENGINE_HUB_CACHE_H_

#include <optional>
#include <string>
#include <string_view>

namespace tern {

// A model's name on the hub, "org/name" or "org/name@revision".
struct HubName {
  std::string id;
  std::string revision = "main";  // a branch, a tag or a commit
};
// Nothing where `text` cannot be a name: letters, digits and ._- with one slash, none of the parts
// beginning with a dot or dash or holding "..".
std::optional<HubName> ParseHubName(std::string_view text);

// HF_HUB_CACHE, else HF_HOME/hub, else XDG_CACHE_HOME/huggingface/hub, else
// ~/.cache/huggingface/hub.
std::string HubCacheDir();
// The folder of HF_HOME, where the login's token lies too.
std::string HubHomeDir();
// `cache`/models--ORG--NAME.
std::string HubModelDir(const std::string& cache, const std::string& id);

// The folder with the model's files, or the only .gguf file where the folder has no safetensors.
// Throws kNotFound where `cache` does not have it, kInvalidArgument where it has several .gguf
// files and nothing says which.
std::string FindInHubCache(const std::string& cache, const HubName& name);

}  // namespace tern

#endif  // TERN_ENGINE_HUB_CACHE_H_
