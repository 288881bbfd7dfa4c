// Files appear whole or not at all: written under a temporary name in the same folder, synced,
// renamed.
#ifndef TERN_ENGINE_ATOMIC_FILE_H_
#define TERN_ENGINE_ATOMIC_FILE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace tern {

// Use: construct, Write..., Commit. Destroyed without Commit (an exception, say), it removes its
// temporary file and leaves what was there before. Every failure (a full disk, a missing folder)
// throws Error with the path and the system's reason.
class AtomicFile {
 public:
  explicit AtomicFile(std::string path);
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile();
  void Write(const void* data, size_t bytes);
  void Write(std::string_view text) { Write(text.data(), text.size()); }
  // Overwrites what was written before at `offset`: for a header whose counts come last.
  void WriteAt(uint64_t offset, const void* data, size_t bytes);
  uint64_t bytes_written() const { return bytes_written_; }
  void Commit();  // sync, rename, sync the folder

 private:
  void Flush();
  void WriteThrough(const char* data, size_t bytes);
  std::string path_, temporary_;
  std::string buffer_;
  uint64_t bytes_written_ = 0;
  int fd_ = -1;
};

void WriteFileAtomically(const std::string& path, std::string_view content);
// The whole file, or all that a pipe brings, as a string; throws kNotFound or kInternal.
std::string ReadFile(const std::string& path);
// "" where there is no such file; throws kBadFile where there is one that is empty.
std::string ReadFileIfThere(const std::string& path);

}  // namespace tern

#endif  // TERN_ENGINE_ATOMIC_FILE_H_
