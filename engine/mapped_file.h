// MappedFile: a whole file as read-only memory. Move-only; the bytes live as long as the object.
#ifndef TERN_ENGINE_MAPPED_FILE_H_
#define TERN_ENGINE_MAPPED_FILE_H_

#include <cstddef>
#include <span>
#include <string>
#include <utility>

namespace tern {

class MappedFile {
 public:
  MappedFile() = default;
  // Throws kNotFound where `path` is no regular file, kInternal where the system refuses. An empty
  // file maps to no bytes.
  explicit MappedFile(const std::string& path);
  MappedFile(MappedFile&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  MappedFile& operator=(MappedFile&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  // Gives the pages read so far back to the page cache; they are mapped again when they are read.
  void DropPages() const;

  std::span<const std::byte> bytes() const { return {static_cast<const std::byte*>(data_), size_}; }

 private:
  void* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace tern

#endif  // TERN_ENGINE_MAPPED_FILE_H_
