// Writes GGUF files, version 3, little endian, alignment 32.
#ifndef TERN_ENGINE_GGUF_WRITER_H_
#define TERN_ENGINE_GGUF_WRITER_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "engine/ggml_types.h"

namespace tern {

// A value of the metadata, written as the GGUF type of the same name; vectors as arrays.
using GgufValueToWrite =
    std::variant<uint32_t, int32_t, uint64_t, float, bool, std::string, std::vector<int32_t>,
                 std::vector<float>, std::vector<std::string>>;
using GgufMetadataToWrite = std::vector<std::pair<std::string, GgufValueToWrite>>;

struct GgufTensorToWrite {
  std::string name;
  GgmlType type = GgmlType::kF32;
  std::vector<size_t> shape;  // row-major, at least one size
  // The tensor's bytes. Called once, when its turn comes, so that a large model never exists a
  // second time in memory.
  std::function<std::vector<uint8_t>()> bytes;
  // Without what aligns the next tensor.
  size_t ByteSize() const;
};

// Keys and names must be unique, shapes whole blocks of their type. Throws Error where the file
// cannot be written; then nothing of it is left behind.
void WriteGguf(const std::string& path, const GgufMetadataToWrite& metadata,
               std::span<const GgufTensorToWrite> tensors);

}  // namespace tern

#endif  // TERN_ENGINE_GGUF_WRITER_H_
