// A table of bf16 embeddings [V, d]: owned, or lying in a mapped file, whose pages then belong to
// the page cache and not to this process.
#ifndef TERN_ENGINE_EMBEDDING_TABLE_H_
#define TERN_ENGINE_EMBEDDING_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include "engine/mapped_file.h"
#include "kernels/aligned_buffer.h"
#include "kernels/bfloat16.h"
#include "kernels/mat_view.h"

namespace tern {

// From this size on a table of a file that holds bf16 is used where it lies. A smaller one is worth
// its own memory, in pages of its own.
inline constexpr size_t kMappedTableBytes = size_t{64} << 20;

// Move-only. A mapped table is read from the file whenever its pages have left the page cache: the
// file must not be changed in place while the table lives (replacing it by a rename is safe).
class EmbeddingTable {
 public:
  EmbeddingTable() = default;
  EmbeddingTable(AlignedBuffer<BFloat16> values)  // NOLINT(google-explicit-constructor)
      : owned_(std::move(values)), values_(owned_.span()) {}
  // `values` lie in `file`, at any even address.
  EmbeddingTable(std::span<const BFloat16> values, std::shared_ptr<const MappedFile> file)
      : file_(std::move(file)), values_(values) {}

  const BFloat16* data() const { return values_.data(); }
  size_t size() const { return values_.size(); }
  std::span<const BFloat16> span() const { return values_; }
  const BFloat16& operator[](size_t i) const { return values_[i]; }
  MatView<const BFloat16> View(size_t rows, size_t cols) const {
    TERN_CHECK(rows * cols <= size()) << rows << "x" << cols << " in a table of " << size();
    return {data(), rows, cols};
  }
  bool is_mapped() const { return file_ != nullptr; }
  // Of an owned table (CHECKed).
  BFloat16* mutable_data() {
    TERN_CHECK(!is_mapped()) << "a mapped table cannot change";
    return owned_.data();
  }

 private:
  AlignedBuffer<BFloat16> owned_;
  std::shared_ptr<const MappedFile> file_;
  std::span<const BFloat16> values_;  // a moved buffer keeps its address
};

// The table of rows * cols bf16 that are `bytes` of `file`, where they lie on an even address and
// are at least kMappedTableBytes; else an empty one, for the caller to copy.
inline EmbeddingTable MapTable(std::span<const std::byte> bytes,
                               const std::shared_ptr<const MappedFile>& file) {
  const auto address = reinterpret_cast<uintptr_t>(bytes.data());
  if (bytes.size() < kMappedTableBytes || address % alignof(BFloat16) != 0) return {};
  return {{reinterpret_cast<const BFloat16*>(bytes.data()), bytes.size() / sizeof(BFloat16)}, file};
}

}  // namespace tern

#endif  // TERN_ENGINE_EMBEDDING_TABLE_H_
