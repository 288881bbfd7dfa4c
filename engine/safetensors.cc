#include "engine/safetensors.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "engine/atomic_file.h"
#include "engine/error.h"
#include "engine/half.h"
#include "engine/json_text.h"
#include "kernels/bfloat16.h"
#include "kernels/check.h"
#include "kernels/parallel.h"

namespace tern {
namespace {

using Json = nlohmann::json;

constexpr size_t kLengthBytes = 8;
constexpr size_t kMaxHeaderBytes =
    100'000'000;  // the limit of the format's reference implementation
constexpr char kDamaged[] = "the file is damaged or incomplete: fetch or export it again";

// Bytes of one element; 0 = unknown.
size_t DtypeBytes(std::string_view dtype) {
  static constexpr std::pair<std::string_view, size_t> kTypes[] = {
      {"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E4M3", 1}, {"F8_E5M2", 1},
      {"U16", 2},  {"I16", 2}, {"F16", 2}, {"BF16", 2},    {"U32", 4},
      {"I32", 4},  {"F32", 4}, {"U64", 8}, {"I64", 8},     {"F64", 8}};
  for (const auto& [name, bytes] : kTypes) {
    if (name == dtype) return bytes;
  }
  return 0;
}

[[nodiscard]] Error Defect(const std::string& path, std::string what, std::string expected,
                           std::string got) {
  return BadFile({path, std::move(what), std::move(expected), std::move(got), kDamaged});
}

std::string_view HeaderText(const std::string& path, std::span<const std::byte> bytes) {
  if (bytes.size() < kLengthBytes) {
    throw Defect(path, "safetensors header", "at least 8 bytes", std::to_string(bytes.size()));
  }
  uint64_t length = 0;
  for (size_t i = 0; i < kLengthBytes; ++i) length |= static_cast<uint64_t>(bytes[i]) << (8 * i);
  const size_t most = std::min(kMaxHeaderBytes, bytes.size() - kLengthBytes);
  if (length < 2 || length > most) {
    throw Defect(path, "safetensors header length", "2 to " + std::to_string(most) + " bytes",
                 std::to_string(length));
  }
  return {reinterpret_cast<const char*>(bytes.data()) + kLengthBytes, length};
}

// The product of a JSON array of sizes; false where it is no such array or the product overflows.
bool ReadShape(const Json& json, size_t element_bytes, std::vector<size_t>* shape, size_t* bytes) {
  if (!json.is_array()) return false;
  *bytes = element_bytes;
  for (const Json& size : json) {
    if (!size.is_number_unsigned()) return false;
    shape->push_back(size.get<size_t>());
    if (__builtin_mul_overflow(*bytes, shape->back(), bytes)) return false;
  }
  return true;
}

SafetensorsTensor ReadTensor(const std::string& path, const std::string& name, const Json& entry,
                             std::span<const std::byte> data) {
  const std::string where = "tensor " + name;
  if (!entry.is_object() || !entry.contains("dtype") || !entry.contains("shape") ||
      !entry.contains("data_offsets") || !entry["dtype"].is_string()) {
    throw Defect(path, where, "dtype, shape and data_offsets", entry.dump().substr(0, 80));
  }
  SafetensorsTensor tensor{path, name, entry["dtype"].get<std::string>(), {}, {}};
  const size_t element = DtypeBytes(tensor.dtype);
  if (element == 0) throw Defect(path, where, "a known dtype", tensor.dtype.substr(0, 80));
  size_t bytes = 0;
  if (!ReadShape(entry["shape"], element, &tensor.shape, &bytes)) {
    throw Defect(path, where, "a shape of sizes whose product fits 64 bits",
                 entry["shape"].dump().substr(0, 80));
  }
  const Json& offsets = entry["data_offsets"];
  if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() ||
      !offsets[1].is_number_unsigned()) {
    throw Defect(path, where, "two data_offsets", offsets.dump().substr(0, 80));
  }
  const size_t begin = offsets[0].get<size_t>(), end = offsets[1].get<size_t>();
  if (begin > end || end > data.size()) {
    throw Defect(path, where,
                 "data_offsets within " + std::to_string(data.size()) + " bytes of data",
                 offsets.dump());
  }
  if (end - begin != bytes) {
    throw Defect(
        path, where,
        std::to_string(bytes) + " bytes for " + tensor.dtype + " " + ShapeText(tensor.shape),
        std::to_string(end - begin));
  }
  tensor.data = data.subspan(begin, bytes);
  return tensor;
}

// The format wants the tensors to cover the data exactly: no overlap, no hole, nothing behind.
void CheckCover(const std::string& path, std::span<const std::byte> data,
                const std::map<std::string, SafetensorsTensor, std::less<>>& tensors) {
  std::vector<const SafetensorsTensor*> order;
  for (const auto& [name, tensor] : tensors) order.push_back(&tensor);
  std::sort(order.begin(), order.end(), [](const SafetensorsTensor* a, const SafetensorsTensor* b) {
    return std::pair(a->data.data(), a->data.size()) < std::pair(b->data.data(), b->data.size());
  });
  const std::byte* next = data.data();
  for (const SafetensorsTensor* tensor : order) {
    if (tensor->data.data() != next) {
      const bool overlap = tensor->data.data() < next;
      throw Defect(path, "tensor " + tensor->name,
                   "data from byte " + std::to_string(next - data.data()) + " on",
                   std::string(overlap ? "overlapping" : "a gap up to") + " byte " +
                       std::to_string(tensor->data.data() - data.data()));
    }
    next += tensor->data.size();
  }
  if (next != data.data() + data.size()) {
    throw Defect(path, "size of the data", std::to_string(next - data.data()) + " bytes",
                 std::to_string(data.size()));
  }
}

Json ParseObject(const std::string& path, std::string_view text, const std::string& what) {
  Json json = ParseJson<Json>(text);
  if (!json.is_object()) throw Defect(path, what, "a JSON object", "something else");
  return json;
}

}  // namespace

std::string ShapeText(std::span<const size_t> shape) {
  std::string text = "[";
  for (const size_t size : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(size);
  return text + "]";
}

SafetensorsFile::SafetensorsFile(const std::string& path)
    : file_(std::make_shared<const MappedFile>(path)) {
  const std::string_view header = HeaderText(path, file_->bytes());
  const Json json = ParseObject(path, header, "safetensors header");
  const std::span<const std::byte> data = file_->bytes().subspan(kLengthBytes + header.size());
  for (const auto& [name, entry] : json.items()) {
    if (name != "__metadata__") tensors_.emplace(name, ReadTensor(path, name, entry, data));
  }
  for (auto& [name, tensor] : tensors_) tensor.file = file_;
  CheckCover(path, data, tensors_);
}

Checkpoint::Checkpoint(const std::string& dir) : path_(dir + "/model.safetensors") {
  const std::string index_path = path_ + ".index.json";
  std::error_code code;
  if (std::filesystem::exists(path_, code) || !std::filesystem::exists(index_path, code)) {
    files_.emplace_back(path_);
    for (const auto& [name, tensor] : files_[0].tensors()) tensors_[name] = &tensor;
    return;
  }
  path_ = index_path;
  const Json index = ParseObject(path_, ReadFile(path_), "index");
  if (!index.contains("weight_map") || !index["weight_map"].is_object()) {
    throw Defect(path_, "weight_map", "an object from tensor names to file names", "none");
  }
  std::set<std::string> names;
  for (const auto& [tensor, file] : index["weight_map"].items()) {
    // A name, not a path: an index must not make us read outside its folder.
    if (!file.is_string() || file.get<std::string>().find('/') != std::string::npos) {
      throw Defect(path_, "file of tensor " + tensor, "a file name", file.dump().substr(0, 80));
    }
    names.insert(file.get<std::string>());
  }
  for (const std::string& name : names) files_.emplace_back(dir + "/" + name);
  for (const SafetensorsFile& file : files_) {
    for (const auto& [name, tensor] : file.tensors()) {
      if (!tensors_.emplace(name, &tensor).second) {
        throw Defect(tensor.path, "tensor " + name, "one copy",
                     "another in " + tensors_[name]->path);
      }
    }
  }
}

const SafetensorsTensor* Checkpoint::Find(std::string_view name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : found->second;
}

const SafetensorsTensor& Checkpoint::Get(std::string_view name,
                                         std::span<const size_t> shape) const {
  const SafetensorsTensor* tensor = Find(name);
  const std::string where = "tensor " + std::string(name);
  if (tensor == nullptr) {
    throw BadFile({path_, where, ShapeText(shape), "none", "check that this is a BitNet model"});
  }
  if (!std::equal(shape.begin(), shape.end(), tensor->shape.begin(), tensor->shape.end())) {
    throw BadFile({tensor->path, where, "shape " + ShapeText(shape), ShapeText(tensor->shape),
                   "config.json and weights do not belong together"});
  }
  return *tensor;
}

size_t Checkpoint::TotalBytes() const {
  size_t bytes = 0;
  for (const auto& [name, tensor] : tensors_) bytes += tensor->data.size();
  return bytes;
}

void ReadFloats(const SafetensorsTensor& tensor, std::span<float> out, size_t first) {
  const bool is_float = tensor.dtype == "F32", is_bfloat = tensor.dtype == "BF16";
  if (!is_float && !is_bfloat && tensor.dtype != "F16") {
    throw BadFile({tensor.path, "tensor " + tensor.name, "dtype F32, BF16 or F16", tensor.dtype,
                   "check quantization_config in config.json"});
  }
  const size_t element = is_float ? 4 : 2;
  TERN_CHECK((first + out.size()) * element <= tensor.data.size()) << first << " + " << out.size();
  const std::byte* from = tensor.data.data() + first * element;
  std::atomic<size_t> bad = out.size();  // the first that is not finite
  ParallelFor(out.size(), RowGrain(1), [&](size_t begin, size_t end) {
    if (is_float) std::memcpy(out.data() + begin, from + 4 * begin, 4 * (end - begin));
    for (size_t i = begin; i < end && !is_float; ++i) {
      uint16_t bits;
      std::memcpy(&bits, from + 2 * i, 2);
      out[i] = is_bfloat ? BFloat16{bits}.ToFloat() : HalfToFloat(bits);
    }
    const auto found = std::find_if(out.data() + begin, out.data() + end,
                                    [](float value) { return !std::isfinite(value); });
    const auto at = static_cast<size_t>(found - out.data());
    if (at == end) return;
    for (size_t seen = bad; at < seen && !bad.compare_exchange_weak(seen, at);) {
    }
  });
  if (bad == out.size()) return;
  throw BadFile({tensor.path, "tensor " + tensor.name + ", element " + std::to_string(first + bad),
                 "a finite value", std::to_string(out[bad]), kDamaged});
}

}  // namespace tern
