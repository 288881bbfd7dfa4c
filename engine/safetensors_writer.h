// Writes safetensors files: an 8-byte header length, a JSON header, then the tensors' bytes in
// order.
#ifndef TERN_ENGINE_SAFETENSORS_WRITER_H_
#define TERN_ENGINE_SAFETENSORS_WRITER_H_

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "engine/atomic_file.h"

namespace tern {

struct TensorToWrite {
  std::string name;
  std::string dtype;          // "F32", "BF16", "I32", "I64", "U8"
  std::vector<size_t> shape;  // row-major
  // Writes exactly ByteSize() bytes. Called once, when the tensor's turn comes, so that a large
  // model never exists a second time in memory.
  std::function<void(AtomicFile&)> write;
  size_t ByteSize() const;
};

// Names must be unique. Throws Error where the file cannot be written; then nothing of it is left
// behind.
void WriteSafetensors(const std::string& path, const std::vector<TensorToWrite>& tensors);

}  // namespace tern

#endif  // TERN_ENGINE_SAFETENSORS_WRITER_H_
