#include "tools/hub_pull.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <initializer_list>

#include "engine/atomic_file.h"
#include "engine/error.h"

namespace tern {
namespace {

namespace fs = std::filesystem;

bool EndsWithAny(const std::string& name, std::initializer_list<const char*> endings) {
  return std::any_of(endings.begin(), endings.end(),
                     [&](const char* ending) { return name.ends_with(ending); });
}

// Configuration, tokenizer, chat template, licence.
bool IsSmallPart(const std::string& name) {
  static constexpr const char* kNames[] = {"config.json",
                                           "generation_config.json",
                                           "tokenizer.json",
                                           "tokenizer_config.json",
                                           "tokenizer.model",
                                           "special_tokens_map.json",
                                           "added_tokens.json",
                                           "chat_template.jinja",
                                           "model.safetensors.index.json",
                                           "tern_shortlist.json",
                                           "tern_calibration.json",
                                           "tern_sample.json",
                                           "tern_root.safetensors",
                                           "tern_successors.safetensors",
                                           "LICENSE",
                                           "README.md"};
  return std::find(std::begin(kNames), std::end(kNames), name) != std::end(kNames);
}

// What tern reads of a repository: the safetensors, or the only .gguf file where there are none;
// draft heads; small parts.
std::vector<HubFile> Choose(const HubName& name, const HubListing& listing,
                            const std::vector<std::string>& wanted) {
  std::vector<HubFile> chosen;
  std::vector<std::string> ggufs;
  bool weights = false;
  for (const HubFile& file : listing.files) {
    const bool named = std::find(wanted.begin(), wanted.end(), file.name) != wanted.end();
    const bool gguf = file.name.ends_with(".gguf");
    // Meta's own form of the same weights.
    const bool double_copy = file.name.starts_with("consolidated");
    const bool safetensors = file.name.ends_with(".safetensors") && !double_copy;
    const bool heads = EndsWithAny(file.name, {"medusa_lm_head.pt", "medusa_heads.pt"});
    if (gguf) ggufs.push_back(file.name);
    if (wanted.empty() ? safetensors || heads || IsSmallPart(file.name)
                       : named || IsSmallPart(file.name)) {
      chosen.push_back(file);
      weights = weights || named || safetensors || heads;
    }
  }
  for (const std::string& file : wanted) {
    const auto is = [&](const HubFile& other) { return other.name == file; };
    if (std::none_of(listing.files.begin(), listing.files.end(), is)) {
      throw NotFound(name.id + ": no file " + file + " at the top of revision " + name.revision);
    }
  }
  if (weights) return chosen;
  if (ggufs.size() == 1) {
    return Choose(name, listing, ggufs);
  }
  std::string all;
  for (const std::string& gguf : ggufs) all += (all.empty() ? "" : ", ") + gguf;
  if (ggufs.empty()) {
    throw Unsupported(name.id + ": no .safetensors and no .gguf file, which tern reads; look for " +
                      "another repository of the model");
  }
  throw InvalidArgument(name.id + ": several .gguf files: " + all + "; choose one with --file");
}

// One download of a blob at a time, also against Hugging Face's own tools.
class BlobLock {
 public:
  BlobLock(const fs::path& cache, const fs::path& model, const std::string& checksum) {
    const fs::path dir = cache / ".locks" / model.filename();
    fs::create_directories(dir);
    const std::string path = (dir / (checksum + ".lock")).string();
    fd_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd_ < 0 || flock(fd_, LOCK_EX) != 0) throw SystemError(path + ": cannot lock", errno);
  }
  BlobLock(const BlobLock&) = delete;
  BlobLock& operator=(const BlobLock&) = delete;
  ~BlobLock() {
    if (fd_ >= 0) close(fd_);
  }

 private:
  int fd_ = -1;
};

// As Hugging Face's client lays it out: relative, so that the cache can be moved.
void Link(const fs::path& snapshot, const HubFile& file) {
  const fs::path link = snapshot / file.name;
  const fs::path target = fs::path("../../blobs") / file.checksum;
  std::error_code ignored;
  if (fs::is_symlink(link, ignored) && fs::read_symlink(link, ignored) == target) return;
  fs::remove(link, ignored);
  fs::create_symlink(target, link);
}

void CheckSpace(const fs::path& blobs, const std::vector<HubFile>& files) {
  uint64_t needed = 0;
  for (const HubFile& file : files) {
    const fs::path blob = blobs / file.checksum;
    const uint64_t have = fs::exists(blob) ? file.size : SizeOrZero(blob.string() + ".incomplete");
    needed += file.size - std::min(have, file.size);
  }
  const uint64_t free = fs::space(blobs).available;
  if (needed <= free) return;
  throw Error(Error::Kind::kInternal, blobs.string() + ": the download needs " +
                                          std::to_string(needed >> 20) + " MiB, and " +
                                          std::to_string(free >> 20) +
                                          " are free; make room or set HF_HOME");
}

}  // namespace

PulledModel PullModel(const HubOptions& options, const HubName& name, const std::string& cache,
                      const std::vector<std::string>& wanted, const HubReporter& report) {
  const HubClient client(options);
  const HubListing listing = client.List(name);
  const std::vector<HubFile> files = Choose(name, listing, wanted);
  const fs::path model = HubModelDir(cache, name.id);
  const fs::path snapshot = model / "snapshots" / listing.commit, blobs = model / "blobs";
  fs::create_directories(snapshot);
  fs::create_directories(blobs);
  CheckSpace(blobs, files);
  uint64_t fetched = 0;
  for (const HubFile& file : files) {
    const fs::path blob = blobs / file.checksum;
    const BlobLock lock(cache, model, file.checksum);
    if (!fs::exists(blob) || SizeOrZero(blob) != file.size) {
      const uint64_t before = SizeOrZero(blob.string() + ".incomplete");
      client.Download(name, listing.commit, file, blob.string(), report(file, before));
      fetched += file.size - std::min(before, file.size);
    }
    Link(snapshot, file);
  }
  // Last, so that the name finds whole models only.
  if (name.revision != listing.commit) {
    const fs::path ref = model / "refs" / name.revision;
    fs::create_directories(ref.parent_path());
    WriteFileAtomically(ref.string(), listing.commit);
  }
  return {snapshot.string(), listing.commit, files.size(), fetched};
}

}  // namespace tern
