#include "engine/gguf_weights.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "engine/error.h"
#include "engine/ggml_blocks.h"
#include "engine/gguf_config.h"
#include "engine/ternary_floats.h"
#include "kernels/mat_view.h"
#include "kernels/parallel.h"

namespace tern {
namespace {

const char* LinearName(Linear linear) {
  switch (linear) {
    case Linear::kQ:
      return "attn_q";
    case Linear::kK:
      return "attn_k";
    case Linear::kV:
      return "attn_v";
    case Linear::kO:
      return "attn_output";
    case Linear::kGate:
      return "ffn_gate";
    case Linear::kUp:
      return "ffn_up";
    case Linear::kDown:
      break;
  }
  return "ffn_down";
}

const char* GainName(Gain gain) {
  switch (gain) {
    case Gain::kInput:
      return "attn_norm";
    case Gain::kAttnSub:
      return "attn_sub_norm";
    case Gain::kQuery:
      return "attn_q_norm";
    case Gain::kKey:
      return "attn_k_norm";
    case Gain::kPostAttention:
      return "ffn_norm";
    case Gain::kFfnSub:
      return "ffn_sub_norm";
    case Gain::kFinal:
      break;
  }
  return "output_norm";
}

std::string TensorName(const char* name, int32_t layer, const char* kind) {
  const std::string at = layer < 0 ? "" : "blk." + std::to_string(layer) + ".";
  return at + name + "." + kind;
}

// Where row `row` of an interleaved q or k belongs: ggml turns pairs (2i, 2i + 1) of a head, tern
// (i, i + hd/2). head_dim 0: rows stay.
size_t HalfSplitRow(size_t row, size_t head_dim) {
  if (head_dim == 0) return row;
  const size_t head = row / head_dim, within = row % head_dim;
  return head * head_dim + within % 2 * (head_dim / 2) + within / 2;
}

// Values of any type that a table or a linear may have.
void ReadAnyRow(const GgufTensor& tensor, size_t row, I2sOrder order, std::span<float> out) {
  if (!IsGgmlTernary(tensor.type)) {
    ReadGgmlRow(tensor, row, out);
    return;
  }
  const size_t group = GgmlScaleGroup(tensor.type, out.size());
  std::vector<int8_t> codes(out.size());
  std::vector<float> scales(out.size() / group);
  ReadTernaryRow(tensor, row, order, codes, scales);
  for (size_t i = 0; i < out.size(); ++i) out[i] = scales[i / group] * codes[i];
}

void MultiplyScales(float factor, TernaryMatrix* matrix) {
  matrix->scale *= factor;
  for (float& scale : matrix->group_scales.span()) scale *= factor;
}

}  // namespace

GgufWeights::GgufWeights(const std::string& path, I2sOrder order)
    : file_(path),
      order_(order),
      bitnet_(file_.Text("general.architecture").value_or("").starts_with("bitnet")),
      llama_(file_.Text("general.architecture") == "llama"),
      config_(ReadGgufConfig(file_)) {
  // Running only the first layers would give a text, and a wrong one.
  const std::string surplus =
      TensorName(GainName(Gain::kInput), config_.num_hidden_layers, "weight");
  if (file_.Find(surplus) != nullptr) {
    throw BadFile({path, "block_count", "all layers of the file",
                   std::to_string(config_.num_hidden_layers) + ", but there is a tensor " + surplus,
                   "correct it or fetch the file again"});
  }
  const GgufTensor* q = file_.Find("blk.0.attn_q.weight");
  // bitnet.cpp's own type, for models of its kind only.
  const bool i2s = q != nullptr && q->type == GgmlType::kI2_S;
  if (i2s && !file_.Text(kActivationsKey)) config_.activations = Activations::kInt8;
}

EmbeddingTable GgufWeights::LoadTable(Table which) {
  const size_t rows = static_cast<size_t>(config_.vocab_size);
  const size_t cols = static_cast<size_t>(config_.hidden_size);
  const GgufTensor& tensor = file_.Get(
      which == Table::kInput ? "token_embd.weight" : "output.weight", std::array{rows, cols});
  EmbeddingTable mapped =
      tensor.type == GgmlType::kBF16 ? MapTable(tensor.data, tensor.file) : EmbeddingTable();
  AlignedBuffer<BFloat16> table(mapped.is_mapped() ? 0 : rows * cols);
  ParallelFor(rows, RowGrain(cols), [&](size_t begin, size_t end) {
    std::vector<float> values(cols);
    for (size_t row = begin; row < end; ++row) {
      ReadAnyRow(tensor, row, order_, values);  // also checks that they are finite
      if (mapped.is_mapped()) continue;
      std::transform(values.begin(), values.end(), table.data() + row * cols, BFloat16::FromFloat);
    }
  });
  return mapped.is_mapped() ? std::move(mapped) : EmbeddingTable(std::move(table));
}

AlignedBuffer<float> GgufWeights::LoadGain(Gain which, int32_t layer, size_t size) {
  AlignedBuffer<float> gain(size);
  const std::string name = TensorName(GainName(which), layer, "weight");
  ReadGgmlRow(file_.Get(name, std::array{size}), 0, gain.span());
  return gain;
}

TernaryMatrix GgufWeights::LoadLinear(Linear linear, int32_t layer, size_t rows, size_t cols) {
  const std::string name = TensorName(LinearName(linear), layer, "weight");
  const GgufTensor& tensor = file_.Get(name, std::array{rows, cols});
  const bool turned = llama_ && (linear == Linear::kQ || linear == Linear::kK);
  const size_t head_dim = turned ? static_cast<size_t>(config_.head_dim) : 0;
  TernaryMatrix matrix =
      IsGgmlTernary(tensor.type) ? FromTernary(tensor, head_dim) : FromFloats(tensor, head_dim);
  const std::string scale_name = TensorName(LinearName(linear), layer, "scale");
  if (file_.Find(scale_name) != nullptr) {
    float scale = 1;
    ReadGgmlRow(file_.Get(scale_name, std::array{size_t{1}}), 0, {&scale, 1});
    if (!(scale > 0)) {
      throw BadFile({path(), "tensor " + scale_name, "a positive scale", std::to_string(scale),
                     "the file is damaged: fetch or convert it again"});
    }
    MultiplyScales(scale, &matrix);
  }
  if (bitnet_ && !matrix.View().has_one_scale()) {
    throw Unsupported(path() + ": tensor " + name +
                      ": expected one scale, as in every BitNet, got several; the file was not "
                      "converted from ternary weights");
  }
  return matrix;
}

TernaryMatrix GgufWeights::FromTernary(const GgufTensor& tensor, size_t head_dim) const {
  const size_t rows = tensor.rows(), cols = tensor.cols();
  const size_t group = GgmlScaleGroup(tensor.type, cols), groups = cols / group;
  AlignedBuffer<int8_t> codes(rows * cols);
  AlignedBuffer<float> scales(rows * groups);
  ParallelFor(rows, RowGrain(cols), [&](size_t begin, size_t end) {
    for (size_t row = begin; row < end; ++row) {
      const size_t to = HalfSplitRow(row, head_dim);
      ReadTernaryRow(tensor, row, order_, {codes.data() + to * cols, cols},
                     {scales.data() + to * groups, groups});
    }
  });
  if (tensor.type == GgmlType::kI2_S) return PackTernary(codes.View(rows, cols), scales[0]);
  return PackTernaryGroups(codes.View(rows, cols), scales.View(rows, groups), group);
}

TernaryMatrix GgufWeights::FromFloats(const GgufTensor& tensor, size_t head_dim) const {
  const size_t rows = tensor.rows(), cols = tensor.cols();
  AlignedBuffer<float> weights(rows * cols);
  ParallelFor(rows, RowGrain(cols), [&](size_t begin, size_t end) {
    for (size_t row = begin; row < end; ++row) {
      ReadGgmlRow(tensor, row, {weights.data() + HalfSplitRow(row, head_dim) * cols, cols});
    }
  });
  size_t bad_row = 0;
  std::optional<TernaryMatrix> matrix = PackUnpacked(weights.View(rows, cols), &bad_row);
  if (matrix && (!bitnet_ || matrix->View().has_one_scale())) return std::move(*matrix);
  const bool exact = tensor.type == GgmlType::kF32 || tensor.type == GgmlType::kF16 ||
                     tensor.type == GgmlType::kBF16;
  if (bitnet_ && exact) return PackMasters(weights.View(rows, cols));
  throw Unsupported(
      tensor.path + ": tensor " + Printable(tensor.name) + " (" + GgmlTypeName(tensor.type) +
      "): expected -scale, 0 and scale, one scale per row or per " +
      std::to_string(kUnpackedGroup) + " weights, got other values; tern runs ternary models only");
}

}  // namespace tern
