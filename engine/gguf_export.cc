#include "engine/gguf_export.h"

#include <string>
#include <utility>

#include "engine/error.h"
#include "engine/ggml_encode.h"
#include "engine/gguf_config.h"
#include "kernels/aligned_buffer.h"
#include "kernels/check.h"

namespace tern {
namespace {

constexpr size_t kI2sBlock = 128, kTqBlock = 256;
constexpr uint32_t kFileTypeI2s = 40, kFileTypeTq2 = 37, kQuantizationVersion = 2;

std::string Architecture(const ModelConfig& c) {
  const bool relu2 = c.hidden_act == HiddenAct::kRelu2;
  if (c.attn_sub_norm && c.ffn_sub_norm && !c.qk_norm) return relu2 ? "bitnet-b1.58" : "bitnet";
  if (!c.attn_sub_norm && !c.ffn_sub_norm && !relu2) return c.qk_norm ? "qwen3" : "llama";
  throw Unsupported(
      "no GGUF architecture has this model's mixture of norms and activation; write "
      "a Hugging Face directory");
}

GgufMetadataToWrite Metadata(const ModelConfig& c, const std::string& arch, GgmlType linears) {
  if (c.rope_magnitude != 1.0) {
    throw Unsupported(
        "GGUF cannot hold the factor of this model's rotary embedding; write a "
        "Hugging Face directory");
  }
  const auto size = [](int32_t value) { return static_cast<uint32_t>(value); };
  GgufMetadataToWrite metadata = {
      {"general.architecture", arch},
      {"general.file_type", linears == GgmlType::kI2_S ? kFileTypeI2s : kFileTypeTq2},
      {"general.quantization_version", kQuantizationVersion},
      {arch + ".vocab_size", size(c.vocab_size)},
      {arch + ".context_length", size(c.max_position_embeddings)},
      {arch + ".embedding_length", size(c.hidden_size)},
      {arch + ".block_count", size(c.num_hidden_layers)},
      {arch + ".feed_forward_length", size(c.intermediate_size)},
      {arch + ".rope.dimension_count", size(c.head_dim)},
      {arch + ".rope.freq_base", static_cast<float>(c.rope_theta)},
      {arch + ".attention.head_count", size(c.num_attention_heads)},
      {arch + ".attention.head_count_kv", size(c.num_key_value_heads)},
      {arch + ".attention.layer_norm_rms_epsilon", c.rms_norm_eps},
      {kActivationsKey, std::string(c.activations == Activations::kFloat ? "float" : "int8")}};
  if (c.q_width() != c.hidden_size) {
    metadata.emplace_back(arch + ".attention.key_length", size(c.head_dim));
    metadata.emplace_back(arch + ".attention.value_length", size(c.head_dim));
  }
  return metadata;
}

class Exporter {
 public:
  Exporter(const Model& model, GgmlType linears, GgmlType tables)
      : model_(model), linears_(linears), tables_(tables) {}

  void AddTable(const std::string& name, const EmbeddingTable& table) {
    const size_t rows = static_cast<size_t>(model_.config.vocab_size);
    const size_t cols = table.size() / rows;
    Add(name, tables_, {rows, cols}, [&table, rows, cols, type = tables_] {
      std::vector<uint8_t> bytes;
      bytes.reserve(*GgmlBytes(type, rows, cols));
      std::vector<float> row(cols);
      for (size_t first = 0; first < table.size(); first += cols) {
        for (size_t i = 0; i < cols; ++i) row[i] = table[first + i].ToFloat();
        const std::vector<uint8_t> encoded = EncodeFloats(type, row);
        bytes.insert(bytes.end(), encoded.begin(), encoded.end());
      }
      return bytes;
    });
  }

  void AddFloats(const std::string& name, std::vector<float> values) {
    Add(name, GgmlType::kF32, {values.size()},
        [values] { return EncodeFloats(GgmlType::kF32, values); });
  }
  void AddGain(const std::string& name, const AlignedBuffer<float>& gain) {
    if (gain.size() > 0) AddFloats(name, {gain.span().begin(), gain.span().end()});
  }

  // interleaved_head: rows of each head of this size go from half-split to interleaved order; 0:
  // they stay.
  void AddLinear(const std::string& name, const TernaryMatrix& matrix, size_t interleaved_head) {
    CheckLinear(name, matrix);
    Add(name, linears_, {matrix.rows, matrix.cols}, [&matrix, type = linears_, interleaved_head] {
      return LinearBytes(matrix.View(), type, interleaved_head);
    });
  }

  std::vector<GgufTensorToWrite> Take() { return std::move(tensors_); }

 private:
  void Add(const std::string& name, GgmlType type, std::vector<size_t> shape,
           std::function<std::vector<uint8_t>()> bytes) {
    tensors_.push_back({name, type, std::move(shape), std::move(bytes)});
  }

  void CheckLinear(const std::string& name, const TernaryMatrix& matrix) const {
    const TernaryView view = matrix.View();
    if (linears_ == GgmlType::kI2_S) {
      if (!view.has_one_scale()) {
        throw Unsupported(name + ": I2_S holds one scale, this matrix has several; write TQ2_0");
      }
      if (view.rows * view.cols % kI2sBlock != 0) {
        throw Unsupported(name + ": I2_S holds multiples of 128 weights, got " +
                          std::to_string(view.rows) + " x " + std::to_string(view.cols) +
                          "; write a Hugging Face directory");
      }
      return;
    }
    const bool fits =
        view.has_one_scale() || view.group_cols == view.cols || view.group_cols % kTqBlock == 0;
    if (view.cols % kTqBlock != 0 || !fits) {
      throw Unsupported(name + ": TQ2_0 holds rows of whole blocks of 256 weights with a scale, " +
                        "got " + std::to_string(view.cols) +
                        (view.has_one_scale() ? "; write I2_S or a Hugging Face directory"
                                              : "; use the model as it is"));
    }
  }

  static std::vector<uint8_t> LinearBytes(const TernaryView& view, GgmlType type,
                                          size_t interleaved_head) {
    AlignedBuffer<int8_t> codes(view.rows * view.cols);
    UnpackTernary(view, codes.View(view.rows, view.cols));
    const size_t blocks = view.cols / kTqBlock;
    std::vector<float> scales(view.rows * blocks);
    for (size_t row = 0; row < view.rows; ++row) {
      for (size_t block = 0; block < blocks; ++block) {
        scales[row * blocks + block] =
            view.has_one_scale()
                ? view.scale
                : view.group_scales[block * kTqBlock / view.group_cols * PadRows(view.rows) + row];
      }
    }
    if (interleaved_head > 0) {
      Interleave(interleaved_head, view.cols, codes.span());
      Interleave(interleaved_head, blocks, std::span(scales));
    }
    if (type == GgmlType::kI2_S) return EncodeI2s(codes.View(view.rows, view.cols), view.scale);
    return EncodeTq2_0(codes.View(view.rows, view.cols), {scales.data(), view.rows, blocks});
  }

  // Rows i and i + head/2 of each head become rows 2i and 2i + 1.
  template <class T>
  static void Interleave(size_t head, size_t cols, std::span<T> rows) {
    std::vector<T> from;
    for (size_t begin = 0; cols > 0 && begin < rows.size(); begin += head * cols) {
      const std::span<T> to = rows.subspan(begin, head * cols);
      from.assign(to.begin(), to.end());
      for (size_t row = 0; row < head; ++row) {
        const size_t source = row % 2 * (head / 2) + row / 2;
        std::copy_n(from.begin() + static_cast<ptrdiff_t>(source * cols), cols,
                    to.begin() + static_cast<ptrdiff_t>(row * cols));
      }
    }
  }

  const Model& model_;
  GgmlType linears_, tables_;
  std::vector<GgufTensorToWrite> tensors_;
};

}  // namespace

GgufExport MakeGgufExport(const Model& model, GgmlType linears, GgmlType tables) {
  TERN_CHECK(linears == GgmlType::kI2_S || linears == GgmlType::kTQ2_0) << GgmlTypeName(linears);
  if (linears == GgmlType::kI2_S && model.config.activations == Activations::kFloat) {
    throw Unsupported(
        "the model is weight-only (float activations), and I2_S means int8 activations and one "
        "scale per matrix; write TQ2_0");
  }
  const std::string arch = Architecture(model.config);
  GgufExport exported{Metadata(model.config, arch, linears), {}};
  Exporter to(model, linears, tables);
  to.AddTable("token_embd.weight", model.embed_tokens);
  if (model.lm_head.size() > 0) to.AddTable("output.weight", model.lm_head);
  to.AddGain("output_norm.weight", model.norm);
  const std::vector<double>& divisors = model.config.rope_divisors;
  if (!divisors.empty()) {
    to.AddFloats("rope_freqs.weight", std::vector<float>(divisors.begin(), divisors.end()));
  }
  const size_t head = arch == "llama" ? static_cast<size_t>(model.config.head_dim) : 0;
  for (size_t i = 0; i < model.layers.size(); ++i) {
    const LayerWeights& w = model.layers[i];
    const std::string at = "blk." + std::to_string(i) + ".";
    to.AddGain(at + "attn_norm.weight", w.input_layernorm);
    to.AddLinear(at + "attn_q.weight", w.q_proj, head);
    to.AddLinear(at + "attn_k.weight", w.k_proj, head);
    to.AddLinear(at + "attn_v.weight", w.v_proj, 0);
    to.AddGain(at + "attn_q_norm.weight", w.q_norm);
    to.AddGain(at + "attn_k_norm.weight", w.k_norm);
    to.AddGain(at + "attn_sub_norm.weight", w.attn_sub_norm);
    to.AddLinear(at + "attn_output.weight", w.o_proj, 0);
    to.AddGain(at + "ffn_norm.weight", w.post_attention_layernorm);
    to.AddLinear(at + "ffn_gate.weight", w.gate_proj, 0);
    to.AddLinear(at + "ffn_up.weight", w.up_proj, 0);
    to.AddGain(at + "ffn_sub_norm.weight", w.ffn_sub_norm);
    to.AddLinear(at + "ffn_down.weight", w.down_proj, 0);
  }
  exported.tensors = to.Take();
  return exported;
}

}  // namespace tern
