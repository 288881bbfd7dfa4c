// Reads GGUF files, versions 2 and 3 (they differ in nothing that is read here): typed metadata and
// tensors. Everything is validated on opening, so that what is found is there; no length of the
// file is believed before it is compared with the file's size.
#ifndef TERN_ENGINE_GGUF_H_
#define TERN_ENGINE_GGUF_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/ggml_types.h"
#include "engine/mapped_file.h"

namespace tern {

enum class GgufType : int32_t {
  kUint8,
  kInt8,
  kUint16,
  kInt16,
  kUint32,
  kInt32,
  kFloat32,
  kBool,
  kString,
  kArray,
  kUint64,
  kInt64,
  kFloat64,
};

// A value of the metadata. Views live as long as the file.
struct GgufValue {
  GgufType type = GgufType::kUint8;     // kArray for arrays
  GgufType element = GgufType::kUint8;  // of an array; else the same as `type`
  size_t count = 1;                     // elements of an array; else 1
  std::span<const std::byte> bytes;     // numbers: `count` of them, little endian, unaligned
  std::vector<std::string_view> texts;  // strings: `count` of them
};

struct GgufTensor {
  std::string path;  // the file it lies in, for messages
  std::string name;
  GgmlType type = GgmlType::kF32;
  std::vector<size_t> shape;  // row-major: a weight is [out, in], the reverse of the file's order
  // All of its bytes, at least 8-byte aligned; empty where the size of the type is not known.
  std::span<const std::byte> data;
  std::shared_ptr<const MappedFile> file;  // that keeps `data`

  size_t cols() const { return shape.empty() ? 1 : shape.back(); }
  size_t rows() const;
};

// Move-only. Tensors live as long as the object, or as their `file` where somebody keeps it. What
// was read leaves this process's memory with the object.
class GgufFile {
 public:
  ~GgufFile() {
    if (file_ != nullptr) file_->DropPages();
  }
  GgufFile(GgufFile&&) = default;
  GgufFile& operator=(GgufFile&&) = default;
  // Throws kNotFound, kBadFile where the content is not what the format demands (bytes missing, a
  // name twice, tensors that overlap or leave the file), kUnsupported for version 1, big-endian
  // files and models split over several files.
  explicit GgufFile(const std::string& path);

  const std::string& path() const { return path_; }
  const std::map<std::string, GgufValue, std::less<>>& metadata() const { return metadata_; }
  const std::map<std::string, GgufTensor, std::less<>>& tensors() const { return tensors_; }

  // Metadata by key: nothing (or empty) where the key is missing; kBadFile where the value is of
  // another kind. Integers of any width are integers; Number also takes them.
  std::optional<int64_t> Integer(std::string_view key) const;
  std::optional<double> Number(std::string_view key) const;
  std::optional<bool> Bool(std::string_view key) const;
  std::optional<std::string_view> Text(std::string_view key) const;
  std::span<const std::string_view> Texts(std::string_view key) const;
  std::vector<int64_t> Integers(std::string_view key) const;
  std::vector<double> Numbers(std::string_view key) const;

  const GgufTensor* Find(std::string_view name) const;  // nullptr where there is none
  // Throws kBadFile where the tensor is missing or its shape is another one.
  const GgufTensor& Get(std::string_view name, std::span<const size_t> shape) const;

 private:
  const GgufValue* Value(std::string_view key, bool array, bool text) const;

  std::string path_;
  std::shared_ptr<const MappedFile> file_;
  std::map<std::string, GgufValue, std::less<>> metadata_;
  std::map<std::string, GgufTensor, std::less<>> tensors_;
};

// True where `path` is a file that begins as GGUF files do.
bool IsGgufFile(const std::string& path);

}  // namespace tern

#endif  // TERN_ENGINE_GGUF_H_
