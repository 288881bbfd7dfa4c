#include "engine/model.h"

#include <array>
#include <filesystem>
#include <utility>

#include "engine/error.h"
#include "engine/gguf_weights.h"
#include "engine/hf_weights.h"
#include "engine/memory.h"
#include "kernels/int8_matmul.h"

namespace tern {
namespace {

size_t Size(int32_t value) { return static_cast<size_t>(value); }

LayerWeights LoadLayer(WeightSource& source, int32_t layer) {
  const ModelConfig& c = source.config();
  const size_t d = Size(c.hidden_size), f = Size(c.intermediate_size), hd = Size(c.head_dim);
  const size_t q = Size(c.q_width()), kv = Size(c.kv_width());
  const auto linear = [&](Linear which, size_t rows, size_t cols) {
    TernaryMatrix matrix = source.LoadLinear(which, layer, rows, cols);
    TERN_CHECK(matrix.rows == rows && matrix.cols == cols) << source.path();
    return matrix;
  };
  const auto gain = [&](Gain which, size_t size) { return source.LoadGain(which, layer, size); };
  LayerWeights w;
  w.q_proj = linear(Linear::kQ, q, d);
  w.k_proj = linear(Linear::kK, kv, d);
  w.v_proj = linear(Linear::kV, kv, d);
  w.o_proj = linear(Linear::kO, d, q);
  w.gate_proj = linear(Linear::kGate, f, d);
  w.up_proj = linear(Linear::kUp, f, d);
  w.down_proj = linear(Linear::kDown, d, f);
  w.input_layernorm = gain(Gain::kInput, d);
  if (c.qk_norm) w.q_norm = gain(Gain::kQuery, hd);
  if (c.qk_norm) w.k_norm = gain(Gain::kKey, hd);
  if (c.attn_sub_norm) w.attn_sub_norm = gain(Gain::kAttnSub, q);
  w.post_attention_layernorm = gain(Gain::kPostAttention, d);
  if (c.ffn_sub_norm) w.ffn_sub_norm = gain(Gain::kFfnSub, f);
  return w;
}

bool HasOneScale(const LayerWeights& w) {
  for (const TernaryMatrix* matrix : Linears(w)) {
    if (matrix->group_scales.size() > 0) return false;
  }
  return true;
}

// Weights that may carry a scale each, where matrices have several.
constexpr size_t kScaleGroup = 128;

}  // namespace

size_t ModelBytes(const ModelConfig& config) {
  const size_t d = Size(config.hidden_size), f = Size(config.intermediate_size);
  const size_t q = Size(config.q_width()), kv = Size(config.kv_width());
  const bool has_groups = config.activations == Activations::kFloat;
  const auto bytes = [&](size_t rows, size_t cols) {
    const size_t groups = has_groups ? (cols + kScaleGroup - 1) / kScaleGroup : 0;
    return PackedTernaryBytes(rows, cols) + sizeof(float) * groups * PadRows(rows);
  };
  const size_t ternary =
      bytes(q, d) + 2 * bytes(kv, d) + bytes(d, q) + 2 * bytes(f, d) + bytes(d, f);
  const size_t gains = 2 * d + (config.qk_norm ? 2 * Size(config.head_dim) : 0) +
                       (config.attn_sub_norm ? q : 0) + (config.ffn_sub_norm ? f : 0);
  const size_t tables = config.tie_word_embeddings ? 1 : 2;
  return Size(config.num_hidden_layers) * (ternary + sizeof(float) * gains) +
         tables * Size(config.vocab_size) * d * sizeof(BFloat16) +
         VocabScreenBytes(Size(config.vocab_size), d) + d * sizeof(float) +
         Size(config.max_position_embeddings) * Size(config.head_dim) * sizeof(float);
}

std::unique_ptr<RopeTable> MakeRopeTable(const ModelConfig& config) {
  return std::make_unique<RopeTable>(Size(config.max_position_embeddings), Size(config.head_dim),
                                     config.rope_theta, config.rope_divisors,
                                     config.rope_magnitude);
}

Model MakeModel(WeightSource& source) {
  Model model;
  model.config = source.config();
  const ModelConfig& config = model.config;
  RequireMemory(source.path(), ModelBytes(config));
  model.embed_tokens = source.LoadTable(Table::kInput);
  if (!config.tie_word_embeddings) model.lm_head = source.LoadTable(Table::kOutput);
  model.norm = source.LoadGain(Gain::kFinal, -1, Size(config.hidden_size));
  for (int32_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    model.layers.push_back(LoadLayer(source, layer));
    // A file need not say that it is weight-only; BitNet's matrices have one scale each.
    if (!HasOneScale(model.layers.back())) model.config.activations = Activations::kFloat;
  }
  model.rope = MakeRopeTable(config);
  if (Size(config.hidden_size) <= kMaxInt8Width)
    model.screen = MakeVocabScreen(model.OutputEmbedding());
  return model;
}

std::unique_ptr<WeightSource> OpenWeights(const std::string& path, I2sOrder i2s_order) {
  if (IsGgufFile(path)) return std::make_unique<GgufWeights>(path, i2s_order);
  std::error_code ignored;
  if (std::filesystem::is_regular_file(path, ignored)) {
    throw BadFile({path, "content", "a folder with config.json, or a GGUF file", "another file",
                   "give the folder that holds the model"});
  }
  return std::make_unique<HfWeights>(path);
}

Model LoadModel(const std::string& path, I2sOrder i2s_order) {
  return MakeModel(*OpenWeights(path, i2s_order));
}

}  // namespace tern
