#include "engine/hf_weights.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <utility>

#include "engine/error.h"
#include "engine/ternary_floats.h"
#include "kernels/mat_view.h"
#include "kernels/parallel.h"

namespace tern {
namespace {

constexpr size_t kCodesPerByte = 4;
constexpr char kFetchAgain[] = "the file is damaged: fetch or export it again";

std::string LayerPrefix(int32_t layer) { return "model.layers." + std::to_string(layer) + "."; }

const char* LinearName(Linear linear) {
  switch (linear) {
    case Linear::kQ:
      return "self_attn.q_proj.weight";
    case Linear::kK:
      return "self_attn.k_proj.weight";
    case Linear::kV:
      return "self_attn.v_proj.weight";
    case Linear::kO:
      return "self_attn.o_proj.weight";
    case Linear::kGate:
      return "mlp.gate_proj.weight";
    case Linear::kUp:
      return "mlp.up_proj.weight";
    case Linear::kDown:
      break;
  }
  return "mlp.down_proj.weight";
}

}  // namespace

HfWeights::HfWeights(const std::string& dir)
    : dir_(dir), config_(ReadHfConfig(dir)), checkpoint_(dir) {
  // Llamas with sub-norms do not say so in config.json.
  const auto has = [&](const char* name) {
    return checkpoint_.Find(LayerPrefix(0) + name) != nullptr;
  };
  ModelConfig& c = config_.model;
  old_names_ = has("self_attn.inner_attn_ln.weight") || has("mlp.ffn_layernorm.weight");
  c.attn_sub_norm |= old_names_ || has("self_attn.attn_sub_norm.weight");
  c.ffn_sub_norm |= old_names_ || has("mlp.ffn_sub_norm.weight");
  // Running only the first layers would give a text, and a wrong one.
  const std::string surplus = LayerPrefix(c.num_hidden_layers) + "input_layernorm.weight";
  if (checkpoint_.Find(surplus) != nullptr) {
    throw BadFile({dir + "/config.json", "field num_hidden_layers", "all layers of the file",
                   std::to_string(c.num_hidden_layers) + ", but there is a tensor " + surplus,
                   "correct it or fetch the file again"});
  }
}

AlignedBuffer<BFloat16> HfWeights::LoadTable(Table which) {
  const std::string name = which == Table::kInput ? "model.embed_tokens.weight" : "lm_head.weight";
  const size_t rows = static_cast<size_t>(config().vocab_size);
  const size_t cols = static_cast<size_t>(config().hidden_size);
  const SafetensorsTensor& tensor = checkpoint_.Get(name, std::array{rows, cols});
  AlignedBuffer<BFloat16> table(rows * cols);
  ParallelFor(rows, RowGrain(cols), [&](size_t begin, size_t end) {
    AlignedBuffer<float> row(cols);
    for (size_t r = begin; r < end; ++r) {
      ReadFloats(tensor, row.span(), r * cols);
      std::transform(row.data(), row.data() + cols, table.data() + r * cols, BFloat16::FromFloat);
    }
  });
  return table;
}

std::string HfWeights::GainName(Gain gain, int32_t layer) const {
  const std::string at = LayerPrefix(layer);
  switch (gain) {
    case Gain::kInput:
      return at + "input_layernorm.weight";
    case Gain::kAttnSub:
      return at +
             (old_names_ ? "self_attn.inner_attn_ln.weight" : "self_attn.attn_sub_norm.weight");
    case Gain::kQuery:
      return at + "self_attn.q_norm.weight";
    case Gain::kKey:
      return at + "self_attn.k_norm.weight";
    case Gain::kPostAttention:
      return at + "post_attention_layernorm.weight";
    case Gain::kFfnSub:
      return at + (old_names_ ? "mlp.ffn_layernorm.weight" : "mlp.ffn_sub_norm.weight");
    case Gain::kFinal:
      break;
  }
  return "model.norm.weight";
}

AlignedBuffer<float> HfWeights::LoadGain(Gain which, int32_t layer, size_t size) {
  AlignedBuffer<float> gain(size);
  ReadFloats(checkpoint_.Get(GainName(which, layer), std::array{size}), gain.span());
  return gain;
}

TernaryMatrix HfWeights::LoadLinear(Linear linear, int32_t layer, size_t rows, size_t cols) {
  const std::string name = LayerPrefix(layer) + LinearName(linear);
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
