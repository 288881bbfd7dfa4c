// AlignedBuffer: the one owner of numeric memory. Move-only, 64-byte aligned, uninitialised unless
// asked, padded by one cache line so that a vector load that starts inside never leaves the
// allocation.
#ifndef TERN_KERNELS_ALIGNED_BUFFER_H_
#define TERN_KERNELS_ALIGNED_BUFFER_H_

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <span>
#include <type_traits>
#include <utility>

#include "kernels/mat_view.h"

namespace tern {

inline constexpr size_t kCacheLine = 64;  // bytes

namespace internal {

inline constexpr size_t kHugePage = size_t{2} << 20;

// `bytes` is a multiple of the cache line. From 4 MiB on in huge pages, where the system has them
// on request: a stream of weights then walks no page table. Null where there is no memory.
inline void* AllocateAligned(size_t bytes) {
  if (bytes < 2 * kHugePage) return std::aligned_alloc(kCacheLine, bytes);
  void* const data = std::aligned_alloc(kHugePage, (bytes + kHugePage - 1) / kHugePage * kHugePage);
  if (data != nullptr) madvise(data, bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
  return data;
}

}  // namespace internal

template <class T>
class AlignedBuffer {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  AlignedBuffer() = default;
  // Throws std::bad_alloc, also when count * sizeof(T) overflows.
  explicit AlignedBuffer(size_t count) : size_(count) {
    if (count > (SIZE_MAX - 2 * kCacheLine) / sizeof(T)) throw std::bad_alloc();
    const size_t bytes = (count * sizeof(T) + 2 * kCacheLine - 1) / kCacheLine * kCacheLine;
    data_ = static_cast<T*>(internal::AllocateAligned(bytes));
    if (data_ == nullptr) throw std::bad_alloc();
  }
  static AlignedBuffer Zeroed(size_t count) {
    AlignedBuffer buffer(count);
    if (count > 0) std::memset(static_cast<void*>(buffer.data_), 0, count * sizeof(T));
    return buffer;
  }
  AlignedBuffer(AlignedBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  AlignedBuffer(const AlignedBuffer&) = delete;
  AlignedBuffer& operator=(const AlignedBuffer&) = delete;
  ~AlignedBuffer() { std::free(data_); }

  T* data() { return data_; }
  const T* data() const { return data_; }
  size_t size() const { return size_; }
  T& operator[](size_t i) { return data_[i]; }
  const T& operator[](size_t i) const { return data_[i]; }
  std::span<T> span() { return {data_, size_}; }
  std::span<const T> span() const { return {data_, size_}; }
  MatView<T> View(size_t rows, size_t cols) {
    TERN_CHECK(rows * cols <= size_) << rows << "x" << cols << " in a buffer of " << size_;
    return {data_, rows, cols};
  }
  MatView<const T> View(size_t rows, size_t cols) const {
    TERN_CHECK(rows * cols <= size_) << rows << "x" << cols << " in a buffer of " << size_;
    return {data_, rows, cols};
  }

 private:
  T* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace tern

#endif  // TERN_KERNELS_ALIGNED_BUFFER_H_
