// Reads safetensors files: an 8-byte little-endian header length, a JSON header, then the tensors'
// bytes. Everything is validated on opening, so that a tensor found is a tensor whose bytes are
// there.
#ifndef TERN_ENGINE_SAFETENSORS_H_
#define TERN_ENGINE_SAFETENSORS_H_

#include <cstddef>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/mapped_file.h"

namespace tern {

struct SafetensorsTensor {
  std::string path;  // the file it lies in, for messages
  std::string name;
  std::string dtype;                       // as the file says: "F32", "BF16", "F16", "U8", ...
  std::vector<size_t> shape;               // row-major; empty = a scalar
  std::span<const std::byte> data;         // shape's product times the dtype's size; any alignment
  std::shared_ptr<const MappedFile> file;  // that keeps `data`
};

std::string ShapeText(std::span<const size_t> shape);  // "[3, 4]"

// Move-only. Tensors live as long as the object, or as their `file` where somebody keeps it. What
// was read leaves this process's memory with the object.
class SafetensorsFile {
 public:
  ~SafetensorsFile() {
    if (file_ != nullptr) file_->DropPages();
  }
  SafetensorsFile(SafetensorsFile&&) = default;
  SafetensorsFile& operator=(SafetensorsFile&&) = default;
  // Throws kNotFound, or kBadFile where the header is not what the format demands: too long for the
  // file, not JSON, an unknown dtype, a shape that overflows, or offsets that are not exactly the
  // data section.
  explicit SafetensorsFile(const std::string& path);
  const std::map<std::string, SafetensorsTensor, std::less<>>& tensors() const { return tensors_; }

 private:
  std::shared_ptr<const MappedFile> file_;
  std::map<std::string, SafetensorsTensor, std::less<>> tensors_;
};

// The tensors of a model folder: model.safetensors, or the files that model.safetensors.index.json
// names.
class Checkpoint {
 public:
  explicit Checkpoint(const std::string& dir);
  const SafetensorsTensor* Find(std::string_view name) const;  // nullptr where there is none
  // Throws kBadFile where the tensor is missing or its shape is another one.
  const SafetensorsTensor& Get(std::string_view name, std::span<const size_t> shape) const;
  const std::map<std::string, const SafetensorsTensor*, std::less<>>& tensors() const {
    return tensors_;
  }
  size_t TotalBytes() const;

 private:
  std::string path_;  // the file or index that says what there is
  std::vector<SafetensorsFile> files_;
  std::map<std::string, const SafetensorsTensor*, std::less<>> tensors_;
};

// out.size() values of an F32, BF16 or F16 tensor from element `first` on, exactly. REQUIRES that
// the tensor has them. Throws kBadFile for another dtype, or where a value is not finite.
void ReadFloats(const SafetensorsTensor& tensor, std::span<float> out, size_t first = 0);

}  // namespace tern

#endif  // TERN_ENGINE_SAFETENSORS_H_
