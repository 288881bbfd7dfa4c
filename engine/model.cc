#include "engine/model.h"

#include <array>
#include <cmath>
#include <cstring>
#include <utility>

#include "engine/error.h"
#include "engine/memory.h"
#include "engine/safetensors.h"

namespace tern {
namespace {

constexpr size_t kCodesPerByte = 4;

size_t Size(int32_t value) { return static_cast<size_t>(value); }

// Loads tensors by name, each checked against the shape that the configuration implies.
class Loader {
 public:
  Loader(const Checkpoint& checkpoint, const ModelConfig& config)
      : checkpoint_(checkpoint), config_(config) {}

  AlignedBuffer<float> Gain(const std::string& name, size_t n) const {
    AlignedBuffer<float> gain(n);
    ReadFloats(checkpoint_.Get(name, std::array{n}), gain.span());
    return gain;
  }

  // Kept as bf16; values of wider types are rounded to it.
  AlignedBuffer<BFloat16> Embedding(const std::string& name) const {
    const size_t rows = Size(config_.vocab_size), cols = Size(config_.hidden_size);
    const SafetensorsTensor& tensor = checkpoint_.Get(name, std::array{rows, cols});
    AlignedBuffer<BFloat16> table(rows * cols);
    AlignedBuffer<float> row(cols);
    for (size_t first = 0; first < table.size(); first += cols) {
      ReadFloats(tensor, row.span(), first);
      for (size_t i = 0; i < cols; ++i) table[first + i] = BFloat16::FromFloat(row[i]);
    }
    return table;
  }

  TernaryMatrix Linear(const std::string& name, size_t rows, size_t cols) const {
    return config_.packed ? Packed(name, rows, cols) : Master(name, rows, cols);
  }

 private:
  TernaryMatrix Packed(const std::string& name, size_t rows, size_t cols) const {
    if (const SafetensorsTensor* any = checkpoint_.Find(name);
        any != nullptr && any->dtype != "U8") {
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
                     "codes 0, 1 and 2", "code 3",
                     "the file is damaged: fetch or export it again"});
    }
    return matrix;
  }

  float Scale(const std::string& name) const {
    const bool scalar = checkpoint_.Find(name) != nullptr && checkpoint_.Find(name)->shape.empty();
    const std::array<size_t, 1> one = {1};
    const SafetensorsTensor& tensor =
        checkpoint_.Get(name, scalar ? std::span<const size_t>() : std::span<const size_t>(one));
    float stored = 0;
    ReadFloats(tensor, {&stored, 1});
    const float scale = config_.weight_scale_multiplies ? stored : 1.0f / stored;
    if (!(scale > 0) || !std::isfinite(scale)) {
      throw BadFile({tensor.path, "tensor " + name, "a positive scale", std::to_string(stored),
                     "the file is damaged: fetch or export it again"});
    }
    return scale;
  }

  TernaryMatrix Master(const std::string& name, size_t rows, size_t cols) const {
    const SafetensorsTensor& tensor = checkpoint_.Get(name, std::array{rows, cols});
    AlignedBuffer<float> weights(rows * cols);
    ReadFloats(tensor, weights.span());
    AlignedBuffer<int8_t> codes(rows * cols);
    const float scale = TernarizeAbsMean(weights.View(rows, cols), codes.View(rows, cols));
    return PackTernary(codes.View(rows, cols), scale);
  }

  const Checkpoint& checkpoint_;
  const ModelConfig& config_;
};

LayerWeights LoadLayer(const Loader& load, const ModelConfig& config, int32_t layer) {
  const std::string at = "model.layers." + std::to_string(layer) + ".";
  const std::string attention = at + "self_attn.", mlp = at + "mlp.";
  const size_t d = Size(config.hidden_size), f = Size(config.intermediate_size);
  const size_t q = Size(config.num_attention_heads * config.head_dim), kv = Size(config.kv_width());
  LayerWeights w;
  w.q_proj = load.Linear(attention + "q_proj.weight", q, d);
  w.k_proj = load.Linear(attention + "k_proj.weight", kv, d);
  w.v_proj = load.Linear(attention + "v_proj.weight", kv, d);
  w.o_proj = load.Linear(attention + "o_proj.weight", d, q);
  w.gate_proj = load.Linear(mlp + "gate_proj.weight", f, d);
  w.up_proj = load.Linear(mlp + "up_proj.weight", f, d);
  w.down_proj = load.Linear(mlp + "down_proj.weight", d, f);
  w.input_layernorm = load.Gain(at + "input_layernorm.weight", d);
  w.attn_sub_norm = load.Gain(attention + "attn_sub_norm.weight", q);
  w.post_attention_layernorm = load.Gain(at + "post_attention_layernorm.weight", d);
  w.ffn_sub_norm = load.Gain(mlp + "ffn_sub_norm.weight", f);
  return w;
}

}  // namespace

size_t ModelBytes(const ModelConfig& config) {
  const size_t d = Size(config.hidden_size), f = Size(config.intermediate_size);
  const size_t q = Size(config.num_attention_heads * config.head_dim), kv = Size(config.kv_width());
  const size_t ternary = PackedTernaryBytes(q, d) + 2 * PackedTernaryBytes(kv, d) +
                         PackedTernaryBytes(d, q) + 2 * PackedTernaryBytes(f, d) +
                         PackedTernaryBytes(d, f);
  const size_t layer = ternary + sizeof(float) * (2 * d + q + f);
  const size_t tables = config.tie_word_embeddings ? 1 : 2;
  return Size(config.num_hidden_layers) * layer +
         tables * Size(config.vocab_size) * d * sizeof(BFloat16) + d * sizeof(float) +
         Size(config.max_position_embeddings) * Size(config.head_dim) * sizeof(float);
}

Model LoadModel(const std::string& dir) {
  Model model;
  model.config = ReadModelConfig(dir);
  const ModelConfig& config = model.config;
  const Checkpoint checkpoint(dir);
  RequireMemory(dir, ModelBytes(config));
  const Loader load(checkpoint, config);
  model.embed_tokens = load.Embedding("model.embed_tokens.weight");
  if (!config.tie_word_embeddings) model.lm_head = load.Embedding("lm_head.weight");
  model.norm = load.Gain("model.norm.weight", Size(config.hidden_size));
  for (int32_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    model.layers.push_back(LoadLayer(load, config, layer));
  }
  model.rope = std::make_unique<RopeTable>(Size(config.max_position_embeddings),
                                           Size(config.head_dim), config.rope_theta);
  return model;
}

}  // namespace tern
