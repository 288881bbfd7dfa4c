// Writes PyTorch's .pt files, as torch.save writes a dict of tensors: a zip archive, nothing in it
// compressed, of one pickle and of the tensors' bytes. torch.load(weights_only=True) reads them,
// and TorchFile.
#ifndef TERN_ENGINE_TORCH_WRITER_H_
#define TERN_ENGINE_TORCH_WRITER_H_

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "kernels/bfloat16.h"

namespace tern {

struct TorchTensor {
  std::string name;
  std::vector<size_t> shape;  // row-major
  std::span<const BFloat16> values;
};

// Names must be unique. Throws Error where the file cannot be written; then nothing of it is left
// behind.
void WriteTorchFile(const std::string& path, const std::vector<TorchTensor>& tensors);

}  // namespace tern

#endif  // TERN_ENGINE_TORCH_WRITER_H_
