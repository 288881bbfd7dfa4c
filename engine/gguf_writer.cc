#include "engine/gguf_writer.h"

#include <set>
#include <type_traits>

#include "engine/atomic_file.h"
#include "engine/gguf.h"
#include "kernels/check.h"

namespace tern {
namespace {

constexpr uint64_t kAlignment = 32;

template <class T>
constexpr GgufType TypeOf() {
  if constexpr (std::is_same_v<T, uint32_t>) return GgufType::kUint32;
  if constexpr (std::is_same_v<T, int32_t>) return GgufType::kInt32;
  if constexpr (std::is_same_v<T, uint64_t>) return GgufType::kUint64;
  if constexpr (std::is_same_v<T, float>) return GgufType::kFloat32;
  if constexpr (std::is_same_v<T, bool>) return GgufType::kBool;
  if constexpr (std::is_same_v<T, std::string>) return GgufType::kString;
  return GgufType::kArray;
}

template <class T>
void WriteNumber(AtomicFile& file, T value) {
  static_assert(std::is_arithmetic_v<T> || std::is_enum_v<T>);
  file.Write(&value, sizeof(T));
}

void WriteElement(AtomicFile& file, const std::string& text) {
  WriteNumber(file, static_cast<uint64_t>(text.size()));
  file.Write(text);
}
template <class T>
void WriteElement(AtomicFile& file, T value) {
  WriteNumber(file, value);
}

template <class T>
void WriteValue(AtomicFile& file, const T& value) {
  WriteNumber(file, TypeOf<T>());
  if constexpr (TypeOf<T>() == GgufType::kArray) {
    WriteNumber(file, TypeOf<typename T::value_type>());
    WriteNumber(file, static_cast<uint64_t>(value.size()));
    for (const auto& element : value) WriteElement(file, element);
  } else {
    WriteElement(file, value);
  }
}

uint64_t Aligned(uint64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

void Pad(AtomicFile& file) {
  const std::string zeros(Aligned(file.bytes_written()) - file.bytes_written(), '\0');
  file.Write(zeros);
}

}  // namespace

size_t GgufTensorToWrite::ByteSize() const {
  TERN_CHECK(!shape.empty()) << name;
  size_t rows = 1;
  for (size_t i = 0; i + 1 < shape.size(); ++i) rows *= shape[i];
  const std::optional<size_t> size = GgmlBytes(type, rows, shape.back());
  TERN_CHECK(size.has_value()) << name << " as " << GgmlTypeName(type);
  return *size;
}

void WriteGguf(const std::string& path, const GgufMetadataToWrite& metadata,
               std::span<const GgufTensorToWrite> tensors) {
  AtomicFile file(path);
  file.Write("GGUF");
  WriteNumber(file, uint32_t{3});
  WriteNumber(file, static_cast<uint64_t>(tensors.size()));
  WriteNumber(file, static_cast<uint64_t>(metadata.size()));
  std::set<std::string> names;
  for (const auto& [key, value] : metadata) {
    TERN_CHECK(names.insert("key " + key).second) << key << " twice";
    WriteElement(file, key);
    std::visit([&](const auto& held) { WriteValue(file, held); }, value);
  }
  uint64_t offset = 0;
  for (const GgufTensorToWrite& tensor : tensors) {
    TERN_CHECK(names.insert("tensor " + tensor.name).second) << tensor.name << " twice";
    WriteElement(file, tensor.name);
    WriteNumber(file, static_cast<uint32_t>(tensor.shape.size()));
    for (size_t i = tensor.shape.size(); i-- > 0;) {
      WriteNumber(file, static_cast<uint64_t>(tensor.shape[i]));
    }
    WriteNumber(file, tensor.type);
    WriteNumber(file, offset);
    offset += Aligned(tensor.ByteSize());
  }
  Pad(file);
  for (const GgufTensorToWrite& tensor : tensors) {
    const std::vector<uint8_t> bytes = tensor.bytes();
    TERN_CHECK(bytes.size() == tensor.ByteSize()) << tensor.name << ": " << bytes.size();
    file.Write(bytes.data(), bytes.size());
    Pad(file);
  }
  file.Commit();
}

}  // namespace tern
