// Downloads from the Hugging Face hub, or a server that speaks like it, through libcurl.
#ifndef TERN_TOOLS_HUB_CLIENT_H_
#define TERN_TOOLS_HUB_CLIENT_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "engine/hub_cache.h"

namespace tern {

struct HubFile {
  std::string name;      // of a file at the top of the repository: no slash
  uint64_t size = 0;     // bytes
  std::string checksum;  // lower-case hexadecimal: SHA-256, or git's SHA-1 of a blob (40 digits)
};

struct HubListing {
  std::string commit;
  std::vector<HubFile> files;  // at the top of the repository
};

// Bytes of a file that are there, those of earlier runs included.
using HubProgress = std::function<void(uint64_t bytes)>;

struct HubOptions {
  std::string endpoint;      // "https://huggingface.co"
  std::string token;         // of a login; empty: none
  int retries = 5;           // of a connection that failed, each with progress starts anew
  int first_wait_ms = 1000;  // before a retry; doubles
  int stall_seconds = 60;    // without a byte: the connection has failed
};
// From HF_ENDPOINT, HF_TOKEN (else the file HF_TOKEN_PATH, else `HubHomeDir()`/token). Throws
// kInvalidArgument where HF_HUB_OFFLINE forbids all downloads.
HubOptions HubOptionsFromEnvironment();

class HubClient {
 public:
  explicit HubClient(HubOptions options);

  // Throws kNotFound where there is no such model or revision (or none that the token may see),
  // kBadFile where the answer is not a listing, kInternal where the server cannot be reached.
  HubListing List(const HubName& name) const;

  // Makes `path` hold the file: continues `path`.incomplete where an earlier run left one, compares
  // size and checksum, then renames. Where they are wrong nothing is left, and kBadFile is thrown.
  // A connection that fails is tried again; in the end the .incomplete file stays for the next run
  // and kInternal is thrown. The folder must exist.
  void Download(const HubName& name, const std::string& commit, const HubFile& file,
                const std::string& path, const HubProgress& progress) const;

 private:
  HubOptions options_;
};

// Bytes of a file; 0 where there is none.
uint64_t SizeOrZero(const std::string& path);

// Lower-case hexadecimal SHA-256 of a file, or, where `git`, git's SHA-1 of it as a blob.
std::string FileChecksum(const std::string& path, bool git);

}  // namespace tern

#endif  // TERN_TOOLS_HUB_CLIENT_H_
