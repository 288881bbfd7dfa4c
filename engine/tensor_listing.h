// What tensors a file or folder holds, whatever its format: names, types and sizes, no values.
#ifndef TERN_ENGINE_TENSOR_LISTING_H_
#define TERN_ENGINE_TENSOR_LISTING_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace tern {

struct TensorEntry {
  std::string name, type;     // the type as its format calls it: "BF16", "U8", "I2_S"
  std::vector<size_t> shape;  // row-major
  uint64_t bytes = 0;         // 0 where the size of the type is not known
};

// Of a folder with safetensors files, or a safetensors, GGUF or .pt file; numbers in names in their
// order (layer 2 before layer 10). Throws as the readers of the formats do.
std::vector<TensorEntry> ListTensors(const std::string& path);

// Tensors of one type and shape whose names differ in numbers only: "model.layers.*.mlp.up_proj".
struct TensorGroup {
  TensorEntry first;  // its name with stars; bytes of all
  size_t count = 0;
};
std::vector<TensorGroup> GroupTensors(std::span<const TensorEntry> tensors);

}  // namespace tern

#endif  // TERN_ENGINE_TENSOR_LISTING_H_
