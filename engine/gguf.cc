#include "engine/gguf.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <utility>

#include "engine/error.h"
#include "engine/safetensors.h"
#include "kernels/check.h"

namespace tern {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr char kDamaged[] = "the file is damaged or incomplete: fetch or convert it again";
constexpr size_t kMaxDimensions = 4;
constexpr uint64_t kDefaultAlignment = 32;
// The least that an entry takes in the file: what its count is compared with.
constexpr size_t kLeastStringBytes = 8;
constexpr size_t kLeastPairBytes = kLeastStringBytes + 4 + 1;
constexpr size_t kLeastTensorBytes = kLeastStringBytes + 4 + 4 + 8;

// Bytes of a number; 0 for strings, arrays and unknown types.
size_t NumberBytes(GgufType type) {
  switch (type) {
    case GgufType::kUint8:
    case GgufType::kInt8:
    case GgufType::kBool:
      return 1;
    case GgufType::kUint16:
    case GgufType::kInt16:
      return 2;
    case GgufType::kUint32:
    case GgufType::kInt32:
    case GgufType::kFloat32:
      return 4;
    case GgufType::kUint64:
    case GgufType::kInt64:
    case GgufType::kFloat64:
      return 8;
    case GgufType::kString:
    case GgufType::kArray:
      return 0;
  }
  return 0;
}

[[nodiscard]] Error Defect(const std::string& path, std::string what, std::string expected,
                           std::string got) {
  return BadFile({path, std::move(what), std::move(expected), std::move(got), kDamaged});
}

// Reads the file from its begin on; never past its end.
class Cursor {
 public:
  Cursor(const std::string& path, std::span<const std::byte> bytes) : path_(path), bytes_(bytes) {}

  size_t position() const { return position_; }
  size_t left() const { return bytes_.size() - position_; }

  std::span<const std::byte> Take(size_t size, const std::string& what) {
    if (size > left()) {
      throw Defect(path_, what + " at byte " + std::to_string(position_),
                   std::to_string(size) + " bytes", std::to_string(left()) + " to the file's end");
    }
    const std::span<const std::byte> taken = bytes_.subspan(position_, size);
    position_ += size;
    return taken;
  }

  template <class T>
  T Read(const std::string& what) {
    T value;
    std::memcpy(&value, Take(sizeof(T), what).data(), sizeof(T));
    return value;
  }

  std::string_view Text(const std::string& what) {
    const auto size = Read<uint64_t>("length of " + what);
    const std::span<const std::byte> taken = Take(size, what);
    return {reinterpret_cast<const char*>(taken.data()), taken.size()};
  }

  // A count of things that take at least `least` bytes each.
  size_t Count(const std::string& what, size_t least) {
    const auto count = Read<uint64_t>(what);
    if (count > left() / least) {
      throw Defect(path_, what, "at most " + std::to_string(left() / least) + " in this file",
                   std::to_string(count));
    }
    return count;
  }

 private:
  const std::string& path_;
  std::span<const std::byte> bytes_;
  size_t position_ = 0;
};

GgufValue ReadValue(const std::string& path, const std::string& what, Cursor& from) {
  GgufValue value;
  value.type = value.element = GgufType{from.Read<int32_t>("type of " + what)};
  const bool array = value.type == GgufType::kArray;
  if (array) value.element = GgufType{from.Read<int32_t>("element type of " + what)};
  const bool text = value.element == GgufType::kString;
  const size_t size = NumberBytes(value.element);
  if (!text && size == 0) {
    throw Defect(path, what, "a number, a string or an array of them",
                 "value type " + std::to_string(static_cast<int32_t>(value.element)));
  }
  if (array) value.count = from.Count("length of " + what, text ? kLeastStringBytes : size);
  if (!text) {
    value.bytes = from.Take(value.count * size, what);
    return value;
  }
  value.texts.reserve(value.count);
  for (size_t i = 0; i < value.count; ++i) value.texts.push_back(from.Text(what));
  return value;
}

// `offset` = where its bytes begin, relative to the data.
GgufTensor ReadTensor(const std::string& path, Cursor& from, uint64_t* offset) {
  GgufTensor tensor{path, std::string(from.Text("tensor name")), {}, {}, {}};
  const std::string what = "tensor " + Printable(tensor.name);
  const auto dimensions = from.Read<uint32_t>(what);
  if (dimensions > kMaxDimensions) {
    throw Defect(path, what, "at most 4 dimensions", std::to_string(dimensions));
  }
  size_t values = 1;
  for (uint32_t i = 0; i < dimensions; ++i) {
    const auto size = from.Read<uint64_t>(what);
    if (size == 0 || __builtin_mul_overflow(values, size, &values)) {
      throw Defect(path, what, "sizes from 1 on whose product fits 64 bits", std::to_string(size));
    }
    tensor.shape.insert(tensor.shape.begin(), size);
  }
  tensor.type = GgmlType{from.Read<int32_t>(what)};
  *offset = from.Read<uint64_t>(what);
  return tensor;
}

void PlaceTensor(std::span<const std::byte> data, uint64_t alignment, uint64_t offset,
                 GgufTensor& tensor) {
  const std::string what = "tensor " + Printable(tensor.name);
  if (offset % alignment != 0 || offset > data.size()) {
    throw Defect(tensor.path, what + ", offset",
                 "a multiple of " + std::to_string(alignment) + " within " +
                     std::to_string(data.size()) + " bytes of data",
                 std::to_string(offset));
  }
  const size_t block = GgmlBlockSize(tensor.type);
  if (block == 0) return;  // may be listed, cannot be read
  const std::optional<size_t> bytes = GgmlBytes(tensor.type, tensor.rows(), tensor.cols());
  if (!bytes) {
    throw Defect(
        tensor.path, what,
        GgmlTypeName(tensor.type) + " rows of a multiple of " + std::to_string(block) + " values",
        ShapeText(tensor.shape));
  }
  if (*bytes > data.size() - offset) {
    throw Defect(tensor.path, what,
                 std::to_string(*bytes) + " bytes for " + GgmlTypeName(tensor.type) + " " +
                     ShapeText(tensor.shape),
                 std::to_string(data.size() - offset) + " to the file's end");
  }
  tensor.data = data.subspan(offset, *bytes);
}

// Overlapping tensors would let a small file ask for any amount of memory.
void CheckNoOverlap(const std::map<std::string, GgufTensor, std::less<>>& tensors) {
  std::vector<const GgufTensor*> order;
  for (const auto& [name, tensor] : tensors) {
    if (!tensor.data.empty()) order.push_back(&tensor);
  }
  std::sort(order.begin(), order.end(), [](const GgufTensor* a, const GgufTensor* b) {
    return a->data.data() < b->data.data();
  });
  for (size_t i = 1; i < order.size(); ++i) {
    const GgufTensor& before = *order[i - 1];
    if (before.data.data() + before.data.size() <= order[i]->data.data()) continue;
    throw Defect(order[i]->path, "tensor " + Printable(order[i]->name), "bytes of its own",
                 "an overlap with " + Printable(before.name));
  }
}

void ReadHead(const std::string& path, Cursor& from) {
  if (from.left() < 4 || from.Read<uint32_t>("magic") != 0x46554747u) {  // "GGUF"
    throw BadFile({path, "first bytes", "GGUF", "something else", "this is no GGUF file"});
  }
  const auto version = from.Read<uint32_t>("version");
  if (version == 2 || version == 3) return;
  if ((version & 0xFFFFu) == 0 && version != 0) {
    throw Unsupported(path + ": a big-endian GGUF file; convert it to little-endian");
  }
  throw Unsupported(path + ": GGUF version: expected 2 or 3, got " + std::to_string(version) +
                    "; convert it with a current converter");
}

template <class T>
T Load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}

// Element i as a number of type T: exact for integers, except that a kUint64 above T is `*fits` =
// false.
template <class T>
T NumberAt(const GgufValue& value, size_t i, bool* fits) {
  const std::byte* at = value.bytes.data() + i * NumberBytes(value.element);
  *fits = true;
  switch (value.element) {
    case GgufType::kUint8:
    case GgufType::kBool:
      return static_cast<T>(Load<uint8_t>(at));
    case GgufType::kInt8:
      return static_cast<T>(Load<int8_t>(at));
    case GgufType::kUint16:
      return static_cast<T>(Load<uint16_t>(at));
    case GgufType::kInt16:
      return static_cast<T>(Load<int16_t>(at));
    case GgufType::kUint32:
      return static_cast<T>(Load<uint32_t>(at));
    case GgufType::kInt32:
      return static_cast<T>(Load<int32_t>(at));
    case GgufType::kUint64:
      *fits = Load<uint64_t>(at) <= static_cast<uint64_t>(INT64_MAX);
      return *fits ? static_cast<T>(Load<uint64_t>(at)) : T{};
    case GgufType::kInt64:
      return static_cast<T>(Load<int64_t>(at));
    case GgufType::kFloat32:
      return static_cast<T>(Load<float>(at));
    case GgufType::kFloat64:
      return static_cast<T>(Load<double>(at));
    case GgufType::kString:
    case GgufType::kArray:
      break;
  }
  TERN_CHECK(false) << "no number";
  return T{};
}

bool IsFloat(GgufType type) { return type == GgufType::kFloat32 || type == GgufType::kFloat64; }

template <class T>
std::vector<T> AllNumbers(const std::string& path, std::string_view key, const GgufValue& value) {
  std::vector<T> numbers(value.count);
  for (size_t i = 0; i < value.count; ++i) {
    bool fits = true;
    numbers[i] = NumberAt<T>(value, i, &fits);
    if (!fits) throw Defect(path, Printable(key), "integers below 2^63", "a larger one");
  }
  return numbers;
}

}  // namespace

bool IsGgufFile(const std::string& path) {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored)) return false;
  std::array<char, 4> magic = {};
  std::ifstream(path, std::ios::binary).read(magic.data(), magic.size());
  return std::memcmp(magic.data(), "GGUF", magic.size()) == 0;
}

size_t GgufTensor::rows() const {
  size_t rows = 1;
  for (size_t i = 0; i + 1 < shape.size(); ++i) rows *= shape[i];
  return rows;
}

GgufFile::GgufFile(const std::string& path)
    : path_(path), file_(std::make_shared<const MappedFile>(path)) {
  Cursor from(path_, file_->bytes());
  ReadHead(path_, from);
  const size_t tensors = from.Count("number of tensors", kLeastTensorBytes);
  const size_t pairs = from.Count("number of metadata keys", kLeastPairBytes);
  for (size_t i = 0; i < pairs; ++i) {
    const std::string key(from.Text("metadata key"));
    const auto [at, is_new] = metadata_.emplace(key, ReadValue(path_, Printable(key), from));
    if (!is_new) throw Defect(path_, Printable(key), "one value", "two");
  }
  if (Integer("split.count").value_or(1) > 1) {
    throw Unsupported(path_ + ": one of " + std::to_string(*Integer("split.count")) +
                      " files of a split model; join them with `llama-gguf-split --merge`");
  }
  std::vector<std::pair<GgufTensor*, uint64_t>> offsets;
  for (size_t i = 0; i < tensors; ++i) {
    uint64_t offset = 0;
    GgufTensor tensor = ReadTensor(path_, from, &offset);
    const std::string name = tensor.name;
    const auto [at, is_new] = tensors_.emplace(name, std::move(tensor));
    if (!is_new) throw Defect(path_, "tensor " + Printable(name), "one of this name", "two");
    offsets.emplace_back(&at->second, offset);
  }
  if (offsets.empty()) return;  // a vocabulary alone

  const auto alignment = static_cast<uint64_t>(
      Integer("general.alignment").value_or(static_cast<int64_t>(kDefaultAlignment)));
  if (!std::has_single_bit(alignment) || alignment < 8) {
    throw Defect(path_, "general.alignment", "a power of two from 8 on", std::to_string(alignment));
  }
  const uint64_t begin = (from.position() + alignment - 1) & ~(alignment - 1);
  if (begin > file_->bytes().size()) {
    throw Defect(path_, "data", "from byte " + std::to_string(begin) + " on",
                 "a file of " + std::to_string(file_->bytes().size()) + " bytes");
  }
  const std::span<const std::byte> data = file_->bytes().subspan(begin);
  for (const auto& [tensor, offset] : offsets) PlaceTensor(data, alignment, offset, *tensor);
  CheckNoOverlap(tensors_);
  for (auto& [name, tensor] : tensors_) tensor.file = file_;
}

const GgufValue* GgufFile::Value(std::string_view key, bool array, bool text) const {
  const auto found = metadata_.find(key);
  if (found == metadata_.end()) return nullptr;
  const GgufValue& value = found->second;
  if ((value.type == GgufType::kArray) == array && (value.element == GgufType::kString) == text) {
    return &value;
  }
  throw Defect(path_, Printable(key),
               std::string(array ? "an array of " : "a ") + (text ? "string" : "number") +
                   (array ? "s" : ""),
               "a value of another type");
}

std::optional<int64_t> GgufFile::Integer(std::string_view key) const {
  const GgufValue* value = Value(key, /*array=*/false, /*text=*/false);
  if (value == nullptr) return std::nullopt;
  if (IsFloat(value->element)) throw Defect(path_, Printable(key), "an integer", "a fraction");
  return AllNumbers<int64_t>(path_, key, *value)[0];
}

std::optional<double> GgufFile::Number(std::string_view key) const {
  const GgufValue* value = Value(key, /*array=*/false, /*text=*/false);
  if (value == nullptr) return std::nullopt;
  return AllNumbers<double>(path_, key, *value)[0];
}

std::optional<bool> GgufFile::Bool(std::string_view key) const {
  const std::optional<int64_t> value = Integer(key);
  return value ? std::optional<bool>(*value != 0) : std::nullopt;
}

std::optional<std::string_view> GgufFile::Text(std::string_view key) const {
  const GgufValue* value = Value(key, /*array=*/false, /*text=*/true);
  return value != nullptr ? std::optional<std::string_view>(value->texts[0]) : std::nullopt;
}

std::span<const std::string_view> GgufFile::Texts(std::string_view key) const {
  const GgufValue* value = Value(key, /*array=*/true, /*text=*/true);
  return value != nullptr ? std::span<const std::string_view>(value->texts)
                          : std::span<const std::string_view>();
}

std::vector<int64_t> GgufFile::Integers(std::string_view key) const {
  const GgufValue* value = Value(key, /*array=*/true, /*text=*/false);
  if (value == nullptr) return {};
  if (IsFloat(value->element)) throw Defect(path_, Printable(key), "integers", "fractions");
  return AllNumbers<int64_t>(path_, key, *value);
}

std::vector<double> GgufFile::Numbers(std::string_view key) const {
  const GgufValue* value = Value(key, /*array=*/true, /*text=*/false);
  return value != nullptr ? AllNumbers<double>(path_, key, *value) : std::vector<double>();
}

const GgufTensor* GgufFile::Find(std::string_view name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : &found->second;
}

const GgufTensor& GgufFile::Get(std::string_view name, std::span<const size_t> shape) const {
  const GgufTensor* tensor = Find(name);
  const std::string what = "tensor " + Printable(name);
  if (tensor == nullptr) {
    throw BadFile({path_, what, ShapeText(shape), "none", "check that this is a ternary model"});
  }
  if (!std::equal(shape.begin(), shape.end(), tensor->shape.begin(), tensor->shape.end())) {
    throw BadFile({path_, what, "shape " + ShapeText(shape), ShapeText(tensor->shape),
                   "metadata and weights do not belong together"});
  }
  return *tensor;
}

}  // namespace tern
