#include "engine/torch_file.h"

#include <algorithm>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/error.h"
#include "engine/pickle.h"
#include "engine/zip_listing.h"

namespace tern {
namespace {

using Entries = std::map<std::string, std::span<const std::byte>, std::less<>>;
using Tensors = std::map<std::string, SafetensorsTensor, std::less<>>;

constexpr char kDamaged[] = "save the tensors again, as a plain state dict";
constexpr std::string_view kRebuildTensor = "torch._utils._rebuild_tensor_v2";
constexpr std::string_view kRebuildWithDtype = "torch._utils._rebuild_tensor_v3";
constexpr std::string_view kRebuildParameter = "torch._utils._rebuild_parameter";
constexpr size_t kMaxName = 512, kMaxTensors = 1 << 14, kMaxDimensions = 8;

struct ElementType {
  std::string_view storage, dtype;  // torch's names
  const char* name;                 // safetensors'
  size_t bytes;
};
constexpr ElementType kTypes[] = {
    {"torch.FloatStorage", "torch.float32", "F32", 4},
    {"torch.HalfStorage", "torch.float16", "F16", 2},
    {"torch.BFloat16Storage", "torch.bfloat16", "BF16", 2},
    {"torch.DoubleStorage", "torch.float64", "F64", 8},
    {"torch.LongStorage", "torch.int64", "I64", 8},
    {"torch.IntStorage", "torch.int32", "I32", 4},
    {"torch.ShortStorage", "torch.int16", "I16", 2},
    {"torch.CharStorage", "torch.int8", "I8", 1},
    {"torch.ByteStorage", "torch.uint8", "U8", 1},
    {"torch.BoolStorage", "torch.bool", "BOOL", 1},
    // Bytes whose type comes with the tensor.
    {"torch.storage.UntypedStorage", "", "U8", 1},
};

// The names that a pickle may hold.
const std::vector<std::string_view>& Globals() {
  static const std::vector<std::string_view> globals = [] {
    std::vector<std::string_view> names = {kRebuildTensor, kRebuildWithDtype, kRebuildParameter};
    for (const ElementType& type : kTypes) {
      names.push_back(type.storage);
      if (!type.dtype.empty()) names.push_back(type.dtype);
    }
    return names;
  }();
  return globals;
}

std::string JoinName(const std::string& parent, std::string_view key) {
  return parent.empty() ? std::string(key) : parent + "." + std::string(key);
}

// From the pickle's tree to tensors.
class Collector {
 public:
  Collector(const std::string& path, const Pickle& pickle, const Entries& entries,
            const std::string& folder, Tensors& tensors)
      : path_(path),
        pickle_(pickle),
        entries_(entries),
        folder_(folder),
        tensors_(tensors),
        visited_(pickle.values.size()) {}

  void Collect(uint32_t index, const std::string& name, int depth) {
    const PickleValue& value = pickle_.at(index);
    switch (value.kind) {
      case PickleKind::kCall:
        return AddTensor(value, name);
      case PickleKind::kDict:
      case PickleKind::kList:
      case PickleKind::kTuple:
        return CollectItems(index, name, depth);
      case PickleKind::kGlobal:
      case PickleKind::kPersistent:
        throw Defect(name, "a tensor", "a part of one alone");
      default:
        return;  // numbers and texts
    }
  }

 private:
  [[nodiscard]] Error Defect(const std::string& name, std::string expected, std::string got) const {
    return BadFile({path_, name.empty() ? "pickle" : "tensor " + Printable(name),
                    std::move(expected), std::move(got), kDamaged});
  }

  void CollectItems(uint32_t index, const std::string& name, int depth) {
    if (depth >= kMaxTorchDepth) {
      throw Defect(name, "at most " + std::to_string(kMaxTorchDepth) + " levels", "more");
    }
    // A container in several places or within itself would be endless tensors in few bytes.
    if (visited_[index]) throw Defect(name, "every list and dict once", "one in several places");
    visited_[index] = true;
    const PickleValue& value = pickle_.at(index);
    const bool dict = value.kind == PickleKind::kDict;
    for (size_t i = 0; i < value.items.size(); i += dict ? 2 : 1) {
      const std::string key = dict ? Key(value.items[i], name) : std::to_string(i);
      if (name.size() + key.size() >= kMaxName) {
        throw Defect(name, "names below " + std::to_string(kMaxName) + " bytes", "a longer one");
      }
      Collect(value.items[dict ? i + 1 : i], JoinName(name, key), depth + 1);
    }
  }
  std::string Key(uint32_t index, const std::string& name) const {
    const PickleValue& key = pickle_.at(index);
    if (key.kind == PickleKind::kText) return key.text;
    if (key.kind == PickleKind::kInteger) return std::to_string(key.number);
    throw Defect(name, "a text or an integer as key", "something else");
  }

  // Item `i` of a tuple: of the arguments of a call or of a storage's id.
  const PickleValue& Part(const PickleValue& tuple, size_t i, PickleKind kind,
                          const std::string& name) const {
    if (i < tuple.items.size() && pickle_.at(tuple.items[i]).kind == kind)
      return pickle_.at(tuple.items[i]);
    throw Defect(name, "the arguments of a tensor", "others at place " + std::to_string(i));
  }

  void AddTensor(const PickleValue& call, const std::string& name) {
    const std::string& callee = pickle_.at(call.items[0]).text;
    const PickleValue& arguments = pickle_.at(call.items[1]);
    if (callee == kRebuildParameter) {
      const PickleValue& tensor = Part(arguments, 0, PickleKind::kCall, name);
      if (pickle_.at(tensor.items[0]).text == kRebuildParameter)
        throw Defect(name, "a parameter of a tensor", "of a parameter");
      return AddTensor(tensor, name);
    }
    const bool with_dtype = callee == kRebuildWithDtype;
    if (!with_dtype && callee != kRebuildTensor)
      throw Defect(name, "a tensor", "a call of " + callee);
    const PickleValue& storage = Part(arguments, 0, PickleKind::kPersistent, name);
    const PickleValue& offset = Part(arguments, 1, PickleKind::kInteger, name);
    const ElementType* type = nullptr;
    const std::span<const std::byte> bytes = Storage(storage, name, &type);
    if (with_dtype) {
      const std::string& dtype = Part(arguments, 6, PickleKind::kGlobal, name).text;
      type = std::ranges::find(kTypes, dtype, &ElementType::dtype);
      if (type == std::end(kTypes)) throw Defect(name, "a dtype", dtype);
    } else if (type->dtype.empty()) {
      throw Defect(name, "a storage with a dtype", "an untyped one");
    }
    SafetensorsTensor tensor{path_, name, type->name, Shape(arguments, name), {}};
    tensor.data = Slice(bytes, offset.number, tensor.shape, type->bytes, name);
    if (tensors_.size() == kMaxTensors)
      throw Defect(name, "at most " + std::to_string(kMaxTensors) + " tensors", "more");
    if (!tensors_.emplace(name, std::move(tensor)).second)
      throw Defect(name, "one of this name", "two");
  }

  // id: ("storage", type, key, device, elements).
  std::span<const std::byte> Storage(const PickleValue& persistent, const std::string& name,
                                     const ElementType** type) const {
    const PickleValue& id = pickle_.at(persistent.items[0]);
    if (id.kind != PickleKind::kTuple || Part(id, 0, PickleKind::kText, name).text != "storage")
      throw Defect(name, "a storage", "another kind of thing");
    const std::string& storage = Part(id, 1, PickleKind::kGlobal, name).text;
    const std::string& key = Part(id, 2, PickleKind::kText, name).text;
    const int64_t elements = Part(id, 4, PickleKind::kInteger, name).number;
    *type = std::ranges::find(kTypes, storage, &ElementType::storage);
    if (*type == std::end(kTypes)) throw Defect(name, "a storage", storage);
    const auto entry = entries_.find(folder_ + "data/" + key);
    if (entry == entries_.end())
      throw Defect(name, "entry data/" + Printable(key) + " in the archive", "none");
    const size_t size = entry->second.size();
    if (elements < 0 || size % (*type)->bytes != 0 ||
        static_cast<uint64_t>(elements) != size / (*type)->bytes) {
      throw Defect(name, std::to_string(elements) + " elements of " + (*type)->name,
                   std::to_string(size) + " bytes");
    }
    return entry->second;
  }

  // Checks that the strides are those of a contiguous tensor; a size of 1 may have any.
  std::vector<size_t> Shape(const PickleValue& arguments, const std::string& name) const {
    const PickleValue& sizes = Part(arguments, 2, PickleKind::kTuple, name);
    const PickleValue& strides = Part(arguments, 3, PickleKind::kTuple, name);
    if (sizes.items.size() > kMaxDimensions || sizes.items.size() != strides.items.size()) {
      throw Defect(
          name, "at most 8 sizes and as many strides",
          std::to_string(sizes.items.size()) + " and " + std::to_string(strides.items.size()));
    }
    std::vector<size_t> shape(sizes.items.size());
    size_t expected = 1;
    for (size_t i = shape.size(); i-- > 0;) {
      const int64_t size = Part(sizes, i, PickleKind::kInteger, name).number;
      const int64_t stride = Part(strides, i, PickleKind::kInteger, name).number;
      if (size < 1) throw Defect(name, "sizes from 1 on", std::to_string(size));
      shape[i] = static_cast<size_t>(size);
      if (size != 1 && static_cast<uint64_t>(stride) != expected) {
        throw Defect(name, "a contiguous tensor (call .contiguous() before saving)",
                     "stride " + std::to_string(stride) + " of size " + std::to_string(size));
      }
      if (__builtin_mul_overflow(expected, shape[i], &expected))
        throw Defect(name, "sizes whose product fits 64 bits", std::to_string(size));
    }
    return shape;
  }

  std::span<const std::byte> Slice(std::span<const std::byte> storage, int64_t offset,
                                   std::span<const size_t> shape, size_t element,
                                   const std::string& name) const {
    size_t begin = 0, size = element;
    bool fits =
        offset >= 0 && !__builtin_mul_overflow(static_cast<size_t>(offset), element, &begin);
    for (const size_t n : shape) fits = fits && !__builtin_mul_overflow(size, n, &size);
    if (!fits || begin > storage.size() || size > storage.size() - begin) {
      throw Defect(name, ShapeText(shape) + " from element " + std::to_string(offset) + " on",
                   "a storage of " + std::to_string(storage.size()) + " bytes");
    }
    return storage.subspan(begin, size);
  }

  const std::string& path_;
  const Pickle& pickle_;
  const Entries& entries_;
  const std::string& folder_;
  Tensors& tensors_;
  std::vector<bool> visited_;  // containers
};

// The folder that all entries lie in, with its slash: "archive/".
std::string FindFolder(const std::string& path, const Entries& entries) {
  for (const auto& [name, bytes] : entries) {
    const size_t slash = name.find('/');
    if (slash != std::string::npos && name.substr(slash + 1) == "data.pkl")
      return name.substr(0, slash + 1);
  }
  throw BadFile({path, "archive", "an entry data.pkl, as torch.save writes it", "none", kDamaged});
}

void CheckMagic(const std::string& path, std::span<const std::byte> bytes) {
  const auto begins = [&](std::initializer_list<unsigned> magic) {
    return bytes.size() >= magic.size() &&
           std::equal(magic.begin(), magic.end(), bytes.begin(),
                      [](unsigned a, std::byte b) { return std::byte(a) == b; });
  };
  if (begins({'P', 'K', 3, 4})) return;
  // A pickle of the magic number with which PyTorch began its files before.
  if (begins({0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46})) {
    throw Unsupported(path +
                      ": written by PyTorch before 1.6 or with _use_new_zipfile_serialization="
                      "False; load it there and torch.save it again with a newer one");
  }
  throw BadFile({path, "file", "a zip archive, as torch.save writes it", "something else",
                 "give a .pt file"});
}

}  // namespace

TorchFile::TorchFile(const std::string& path) : file_(path) {
  CheckMagic(path, file_.bytes());
  const Entries entries = ListZip(path, file_.bytes());
  const std::string folder = FindFolder(path, entries);
  if (const auto order = entries.find(folder + "byteorder"); order != entries.end()) {
    const std::string_view text(reinterpret_cast<const char*>(order->second.data()),
                                order->second.size());
    if (text != "little") {
      throw Unsupported(path + ": byte order " + Printable(text) +
                        "; save it again on a little-endian machine");
    }
  }
  const Pickle pickle = ReadPickle(path, entries.at(folder + "data.pkl"), Globals());
  Collector(path, pickle, entries, folder, tensors_).Collect(pickle.root, "", 0);
}

}  // namespace tern
