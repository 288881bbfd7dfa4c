#include "engine/hf_weights.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <utility>

#include "engine/error.h"
#include "engine/hf_names.h"
#include "engine/ternary_floats.h"
#include "kernels/mat_view.h"
#include "kernels/parallel.h"

namespace tern {
namespace {

constexpr size_t kCodesPerByte = 4;
constexpr char kFetchAgain[] = "the file is damaged: fetch or export it again";

}  // namespace

HfWeights::HfWeights(const std::string& dir)
    : dir_(dir), config_(ReadHfConfig(dir)), checkpoint_(dir) {
  // Llamas with sub-norms do not say so in config.json.
  const auto has = [&](Gain gain, bool old_names) {
    return checkpoint_.Find(HfGainName(gain, 0, old_names)) != nullptr;
  };
  ModelConfig& c = config_.model;
  old_names_ = has(Gain::kAttnSub, true) || has(Gain::kFfnSub, true);
  c.attn_sub_norm |= old_names_ || has(Gain::kAttnSub, false);
  c.ffn_sub_norm |= old_names_ || has(Gain::kFfnSub, false);
  // Running only the first layers would give a text, and a wrong one.
  const std::string surplus = HfGainName(Gain::kInput, c.num_hidden_layers);
  if (checkpoint_.Find(surplus) != nullptr) {
    throw BadFile({dir + "/config.json", "field num_hidden_layers", "all layers of the file",
                   std::to_string(c.num_hidden_layers) + ", but there is a tensor " + surplus,
                   "correct it or fetch the file again"});
  }
}

EmbeddingTable HfWeights::LoadTable(Table which) {
  const std::string name = HfTableName(which);
  const size_t rows = static_cast<size_t>(config().vocab_size);
  const size_t cols = static_cast<size_t>(config().hidden_size);
  const SafetensorsTensor& tensor = checkpoint_.Get(name, std::array{rows, cols});
  EmbeddingTable mapped =
      tensor.dtype == "BF16" ? MapTable(tensor.data, tensor.file) : EmbeddingTable();
  AlignedBuffer<BFloat16> table(mapped.is_mapped() ? 0 : rows * cols);
  ParallelFor(rows, RowGrain(cols), [&](size_t begin, size_t end) {
    AlignedBuffer<float> row(cols);
    for (size_t r = begin; r < end; ++r) {
      ReadFloats(tensor, row.span(), r * cols);  // also checks that they are finite
      if (mapped.is_mapped()) continue;
      std::transform(row.data(), row.data() + cols, table.data() + r * cols, BFloat16::FromFloat);
    }
  });
  return mapped.is_mapped() ? std::move(mapped) : EmbeddingTable(std::move(table));
}

AlignedBuffer<float> HfWeights::LoadGain(Gain which, int32_t layer, size_t size) {
  AlignedBuffer<float> gain(size);
  ReadFloats(checkpoint_.Get(HfGainName(which, layer, old_names_), std::array{size}), gain.span());
  return gain;
}

TernaryMatrix HfWeights::LoadLinear(Linear linear, int32_t layer, size_t rows, size_t cols) {
  const std::string name = HfLinearName(linear, layer);
  switch (config_.linears) {
    case HfLinears::kPacked:
      return Packed(name, rows, cols);
    case HfLinears::kMasters:
      return Master(name, rows, cols);
    case HfLinears::kUnpacked:
      break;
  }
  return Unpacked(name, rows, cols);
}

TernaryMatrix HfWeights::Packed(const std::string& name, size_t rows, size_t cols) const {
  if (const SafetensorsTensor* any = checkpoint_.Find(name); any != nullptr && any->dtype != "U8") {
    throw BadFile({any->path, "tensor " + name, "dtype U8 (packed ternary)", any->dtype,
                   "set quantization_mode to online in config.json if these are master weights"});
  }
  if (rows % kCodesPerByte != 0) {
    throw Unsupported("tensor " + name + ": expected rows in fours, got " + std::to_string(rows) +
                      "; export the model unpacked");
  }
  const SafetensorsTensor& tensor = checkpoint_.Get(name, std::array{rows / kCodesPerByte, cols});
  TernaryMatrix matrix;
  size_t bad = 0;
  if (!PackFromHuggingFace(reinterpret_cast<const uint8_t*>(tensor.data.data()), rows, cols,
                           Scale(name + "_scale"), &matrix, &bad)) {
    throw BadFile({tensor.path, "tensor " + name + ", byte " + std::to_string(bad),
                   "codes 0, 1 and 2", "code 3", kFetchAgain});
  }
  return matrix;
}

float HfWeights::Scale(const std::string& name) const {
  const bool scalar = checkpoint_.Find(name) != nullptr && checkpoint_.Find(name)->shape.empty();
  const std::array<size_t, 1> one = {1};
  const SafetensorsTensor& tensor =
      checkpoint_.Get(name, scalar ? std::span<const size_t>() : std::span<const size_t>(one));
  float stored = 0;
  ReadFloats(tensor, {&stored, 1});
  const float scale = config_.weight_scale_multiplies ? stored : 1.0f / stored;
  if (!(scale > 0) || !std::isfinite(scale)) {
    throw BadFile(
        {tensor.path, "tensor " + name, "a positive scale", std::to_string(stored), kFetchAgain});
  }
  return scale;
}

TernaryMatrix HfWeights::Master(const std::string& name, size_t rows, size_t cols) const {
  const SafetensorsTensor& tensor = checkpoint_.Get(name, std::array{rows, cols});
  AlignedBuffer<float> weights(rows * cols);
  ReadFloats(tensor, weights.span());
  return PackMasters(weights.View(rows, cols));
}

TernaryMatrix HfWeights::Unpacked(const std::string& name, size_t rows, size_t cols) const {
  const SafetensorsTensor& tensor = checkpoint_.Get(name, std::array{rows, cols});
  AlignedBuffer<float> weights(rows * cols);
  ReadFloats(tensor, weights.span());
  size_t bad_row = 0;
  std::optional<TernaryMatrix> matrix = PackUnpacked(weights.View(rows, cols), &bad_row);
  if (matrix) return std::move(*matrix);
  throw Unsupported(tensor.path + ": tensor " + name + ", row " + std::to_string(bad_row) +
                    ": expected -scale, 0 and scale, one scale per row or per " +
                    std::to_string(kUnpackedGroup) +
                    " weights, got other values; tern runs ternary models only");
}

}  // namespace tern
