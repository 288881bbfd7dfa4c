// Bytes as a file that can be opened by its path, without a disk.
#ifndef TERN_TESTS_FUZZ_MEMORY_FILE_H_
#define TERN_TESTS_FUZZ_MEMORY_FILE_H_

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

namespace tern {

class MemoryFile {
 public:
  MemoryFile(const uint8_t* data, size_t size) : fd_(memfd_create("input", MFD_CLOEXEC)) {
    for (size_t written = 0; written < size;) {
      const ssize_t step = ::write(fd_, data + written, size - written);
      if (step <= 0) std::abort();
      written += static_cast<size_t>(step);
    }
  }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  ~MemoryFile() { ::close(fd_); }
  std::string path() const { return "/proc/self/fd/" + std::to_string(fd_); }

 private:
  int fd_;
};

}  // namespace tern

#endif  // TERN_TESTS_FUZZ_MEMORY_FILE_H_
