#include "engine/tensor_listing.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <string_view>

#include "engine/gguf.h"
#include "engine/safetensors.h"
#include "engine/torch_file.h"

namespace tern {
namespace {

bool IsDigit(char c) { return std::isdigit(static_cast<unsigned char>(c)) != 0; }

// Digits in sequence compare as numbers.
bool ComesBefore(std::string_view a, std::string_view b) {
  size_t i = 0, j = 0;
  while (i < a.size() && j < b.size()) {
    if (IsDigit(a[i]) && IsDigit(b[j])) {
      size_t end_a = i, end_b = j;
      while (end_a < a.size() && IsDigit(a[end_a])) ++end_a;
      while (end_b < b.size() && IsDigit(b[end_b])) ++end_b;
      const std::string_view x = a.substr(i, end_a - i), y = b.substr(j, end_b - j);
      if (x.size() != y.size()) return x.size() < y.size();
      if (x != y) return x < y;
      i = end_a, j = end_b;
    } else if (a[i] != b[j]) {
      return a[i] < b[j];
    } else {
      ++i, ++j;
    }
  }
  return a.size() - i < b.size() - j;
}

// Parts of a name, between points, that are numbers become stars.
std::string Pattern(const std::string& name) {
  std::string pattern;
  for (size_t begin = 0; begin <= name.size();) {
    const size_t end = std::min(name.find('.', begin), name.size());
    const std::string part = name.substr(begin, end - begin);
    const bool number = !part.empty() && std::all_of(part.begin(), part.end(), IsDigit);
    pattern += number ? "*" : part;
    if (end < name.size()) pattern += '.';
    begin = end + 1;
  }
  return pattern;
}

TensorEntry Entry(const SafetensorsTensor& tensor) {
  return {tensor.name, tensor.dtype, tensor.shape, tensor.data.size()};
}

}  // namespace

std::vector<TensorEntry> ListTensors(const std::string& path) {
  std::vector<TensorEntry> entries;
  const auto add_all = [&](const auto& tensors) {
    for (const auto& [name, tensor] : tensors) {
      entries.push_back(Entry(tensor));
      entries.back().name = name;
    }
  };
  if (std::filesystem::is_directory(path)) {
    const Checkpoint checkpoint(path);
    for (const auto& [name, tensor] : checkpoint.tensors()) entries.push_back(Entry(*tensor));
  } else if (IsGgufFile(path)) {
    const GgufFile file(path);
    for (const auto& [name, tensor] : file.tensors()) {
      entries.push_back({name, GgmlTypeName(tensor.type), tensor.shape, tensor.data.size()});
    }
  } else {
    // An archive or a pickle is PyTorch's.
    std::string start(2, '\0');
    std::ifstream(path, std::ios::binary).read(start.data(), 2);
    const bool torch = start == "PK" || start[0] == '\x80' || path.ends_with(".pt");
    torch ? add_all(TorchFile(path).tensors()) : add_all(SafetensorsFile(path).tensors());
  }
  std::sort(entries.begin(), entries.end(),
            [](const TensorEntry& a, const TensorEntry& b) { return ComesBefore(a.name, b.name); });
  return entries;
}

std::vector<TensorGroup> GroupTensors(std::span<const TensorEntry> tensors) {
  std::vector<TensorGroup> groups;
  for (const TensorEntry& tensor : tensors) {
    const std::string pattern = Pattern(tensor.name);
    const auto found = std::find_if(groups.begin(), groups.end(), [&](const TensorGroup& group) {
      return group.first.name == pattern && group.first.type == tensor.type &&
             group.first.shape == tensor.shape;
    });
    if (found == groups.end()) {
      groups.push_back({{pattern, tensor.type, tensor.shape, tensor.bytes}, 1});
    } else {
      found->first.bytes += tensor.bytes;
      ++found->count;
    }
  }
  return groups;
}

}  // namespace tern
