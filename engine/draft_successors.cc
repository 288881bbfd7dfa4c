#include "engine/draft_successors.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>

#include "engine/error.h"
#include "engine/safetensors.h"
#include "engine/safetensors_writer.h"
#include "kernels/bfloat16.h"
#include "kernels/check.h"

namespace tern {
namespace {

namespace fs = std::filesystem;

std::string PathIn(const std::string& dir) {
  return (fs::path(dir) / "tern_successors.safetensors").string();
}

Error BadSuccessors(const std::string& path, const std::string& where, const std::string& expected,
                    const std::string& got) {
  return BadFile({path, where, expected, got, "delete it (drafting then goes by heads alone)"});
}

// The only dimension of tensor `name`.
const SafetensorsTensor& Vector(const SafetensorsFile& file, const std::string& path,
                                const std::string& name, const std::string& dtype) {
  const auto found = file.tensors().find(name);
  if (found == file.tensors().end())
    throw BadSuccessors(path, "tensor " + name, dtype, "no such tensor");
  const SafetensorsTensor& tensor = found->second;
  if (tensor.dtype != dtype || tensor.shape.size() != 1) {
    throw BadSuccessors(path, "tensor " + name, dtype + " of one dimension",
                        tensor.dtype + " " + ShapeText(tensor.shape));
  }
  return tensor;
}

std::vector<int32_t> Integers(const SafetensorsTensor& tensor) {
  std::vector<int32_t> values(tensor.shape[0]);
  if (!values.empty()) std::memcpy(values.data(), tensor.data.data(), tensor.data.size());
  return values;
}

}  // namespace

DraftSuccessors SuccessorCounter::Finish() const {
  const size_t v = singles_.size();
  std::vector<std::pair<uint64_t, int32_t>> kept;
  for (const auto& pair : pairs_)
    if (pair.second >= kLeastCount) kept.push_back(pair);
  std::ranges::sort(kept);
  double all = 0.0;
  for (const int64_t count : singles_) all += static_cast<double>(count);
  DraftSuccessors made;
  if (kept.empty()) return made;
  made.starts.assign(v + 1, 0);
  for (const auto& [key, count] : kept) {
    ++made.starts[static_cast<size_t>(key) / v + 1];
    const size_t after = static_cast<size_t>(key) % v;
    const double share = static_cast<double>(singles_[after]) / all;
    const double gain = std::log1p(count / (double{DraftSuccessors::kPrior} * share));
    made.tokens.push_back(static_cast<TokenId>(after));
    made.gains.push_back(std::min(static_cast<float>(gain), DraftSuccessors::kMostGain));
  }
  for (size_t y = 0; y < v; ++y) made.starts[y + 1] += made.starts[y];
  return made;
}

DraftSuccessors ReadSuccessors(const std::string& dir, int32_t vocab_size) {
  const std::string path = PathIn(dir);
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return {};
  const SafetensorsFile file(path);
  const size_t v = static_cast<size_t>(vocab_size);
  DraftSuccessors read;
  read.starts = Integers(Vector(file, path, "starts", "I32"));
  read.tokens = Integers(Vector(file, path, "tokens", "I32"));
  const SafetensorsTensor gains = Vector(file, path, "gains", "BF16");
  const size_t pairs = read.tokens.size();
  if (gains.shape[0] != pairs) {
    throw BadSuccessors(path, "tensor gains", ShapeText(std::vector<size_t>{pairs}),
                        ShapeText(gains.shape));
  }
  if (read.starts.size() != v + 1 || read.starts.front() != 0 ||
      static_cast<size_t>(read.starts.back()) != pairs || !std::ranges::is_sorted(read.starts)) {
    throw BadSuccessors(
        path, "tensor starts",
        std::to_string(v + 1) + " values that rise from 0 to " + std::to_string(pairs), "others");
  }
  for (size_t y = 0; y < v; ++y) {
    for (auto i = static_cast<size_t>(read.starts[y]); i < static_cast<size_t>(read.starts[y + 1]);
         ++i) {
      const TokenId token = read.tokens[i];
      const bool first = i == static_cast<size_t>(read.starts[y]);
      if (token < 0 || token >= vocab_size || (!first && token <= read.tokens[i - 1])) {
        throw BadSuccessors(path, "tensor tokens, behind token " + std::to_string(y),
                            "rising ids below " + std::to_string(v), std::to_string(token));
      }
    }
  }
  read.gains.resize(pairs);
  ReadFloats(gains, read.gains);
  for (const float gain : read.gains) {
    constexpr float kMost = DraftSuccessors::kMostGain;
    if (!(gain >= 0.0f && gain <= kMost)) {
      throw BadSuccessors(path, "tensor gains", "values from 0 to " + std::to_string(kMost),
                          std::to_string(gain));
    }
  }
  return read;
}

void WriteSuccessors(const std::string& dir, const DraftSuccessors& successors) {
  const std::string path = PathIn(dir);
  if (successors.empty()) {
    std::error_code ignored;
    fs::remove(path, ignored);
    return;
  }
  std::vector<BFloat16> gains;
  for (const float gain : successors.gains) gains.push_back(BFloat16::FromFloat(gain));
  const auto tensor = [](const char* name, const char* dtype, const auto& values) {
    return TensorToWrite{name, dtype, {values.size()}, [&values](AtomicFile& file) {
                           file.Write(values.data(), values.size() * sizeof(values[0]));
                         }};
  };
  WriteSafetensors(
      path, {tensor("starts", "I32", successors.starts), tensor("tokens", "I32", successors.tokens),
             tensor("gains", "BF16", gains)});
}

}  // namespace tern
