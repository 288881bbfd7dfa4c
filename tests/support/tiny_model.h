// A small random ternary model made in code, so that tests need no file. Same seed, same weights.
#ifndef TERN_TESTS_SUPPORT_TINY_MODEL_H_
#define TERN_TESTS_SUPPORT_TINY_MODEL_H_

#include <cmath>
#include <cstdint>
#include <memory>
#include <random>
#include <span>
#include <vector>

#include "engine/batch.h"
#include "engine/model.h"

namespace tern {

// 2 layers, d = 64, 4 heads of 16 over 2 KV heads, f = 160, V = 259, context 512; tied embedding.
inline ModelConfig TinyConfig() {
  ModelConfig config;
  config.vocab_size = 259;
  config.hidden_size = 64;
  config.intermediate_size = 160;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 4;
  config.num_key_value_heads = 2;
  config.head_dim = 16;
  config.max_position_embeddings = 512;
  config.bos_token_id = 1;
  config.eos_token_ids = {2};
  return config;
}

// Blocks of a Llama: SiLU, no sub-norms; heads wider than d / h.
inline ModelConfig TinyLlamaConfig() {
  ModelConfig config = TinyConfig();
  config.hidden_act = HiddenAct::kSilu;
  config.attn_sub_norm = config.ffn_sub_norm = false;
  config.head_dim = 24;
  return config;
}

// Blocks of a weight-only Qwen3: a norm per head of q and k, a scale per 32 weights.
inline ModelConfig TinyQwenConfig() {
  ModelConfig config = TinyLlamaConfig();
  config.qk_norm = true;
  config.activations = Activations::kFloat;
  config.tie_word_embeddings = false;
  config.rope_divisors = {1, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4, 4, 4, 4};
  config.rope_magnitude = 1.125;
  return config;
}

class TinyModelMaker {
 public:
  explicit TinyModelMaker(uint64_t seed) : random_(seed) {}

  // A third of the weights are zero. The scales keep outputs of size about 1; group_cols 0: one.
  TernaryMatrix Ternary(int32_t rows_in, int32_t cols_in, size_t group_cols = 0) {
    const size_t rows = static_cast<size_t>(rows_in), cols = static_cast<size_t>(cols_in);
    std::vector<int8_t> weights(rows * cols);
    for (int8_t& w : weights) w = static_cast<int8_t>(static_cast<int>(random_() % 3) - 1);
    const auto scale = [&] { return Uniform(0.7f, 1.4f) / std::sqrt(static_cast<float>(cols)); };
    const MatView<const int8_t> view(weights.data(), rows, cols);
    if (group_cols == 0) return PackTernary(view, scale());
    const size_t groups = (cols + group_cols - 1) / group_cols;
    std::vector<float> scales(rows * groups);
    for (float& s : scales) s = scale();
    return PackTernaryGroups(view, {scales.data(), rows, groups}, group_cols);
  }
  AlignedBuffer<float> Gain(int32_t n) {
    AlignedBuffer<float> gain(static_cast<size_t>(n));
    for (float& g : gain.span()) g = Uniform(0.5f, 1.5f);
    return gain;
  }
  AlignedBuffer<BFloat16> Embedding(int32_t rows, int32_t cols) {
    AlignedBuffer<BFloat16> table(static_cast<size_t>(rows) * static_cast<size_t>(cols));
    for (BFloat16& e : table.span()) e = BFloat16::FromFloat(Uniform(-1.0f, 1.0f));
    return table;
  }

 private:
  // mt19937's bits are the same everywhere; the library's distributions are not.
  float Uniform(float low, float high) {
    return low + (high - low) * static_cast<float>(random_() % (1u << 24)) / (1u << 24);
  }
  std::mt19937_64 random_;
};

inline Model MakeTinyModel(const ModelConfig& config = TinyConfig(), uint64_t seed = 1) {
  TinyModelMaker make(seed);
  const int32_t d = config.hidden_size, f = config.intermediate_size, kv = config.kv_width();
  const int32_t q = config.q_width();
  const size_t group = config.activations == Activations::kFloat ? 32 : 0;
  Model model;
  model.config = config;
  model.embed_tokens = make.Embedding(config.vocab_size, d);
  if (!config.tie_word_embeddings) model.lm_head = make.Embedding(config.vocab_size, d);
  model.norm = make.Gain(d);
  for (int32_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    LayerWeights& w = model.layers.emplace_back();
    w.q_proj = make.Ternary(q, d, group);
    w.k_proj = make.Ternary(kv, d, group);
    w.v_proj = make.Ternary(kv, d, group);
    w.o_proj = make.Ternary(d, q, group);
    w.gate_proj = make.Ternary(f, d, group);
    w.up_proj = make.Ternary(f, d, group);
    w.down_proj = make.Ternary(d, f, group);
    w.input_layernorm = make.Gain(d);
    if (config.attn_sub_norm) w.attn_sub_norm = make.Gain(q);
    w.post_attention_layernorm = make.Gain(d);
    if (config.ffn_sub_norm) w.ffn_sub_norm = make.Gain(f);
    if (config.qk_norm) w.q_norm = make.Gain(config.head_dim);
    if (config.qk_norm) w.k_norm = make.Gain(config.head_dim);
  }
  model.rope = MakeRopeTable(config);
  model.screen = MakeVocabScreen(model.OutputEmbedding());
  return model;
}

inline std::vector<TokenId> RandomTokens(size_t n, int32_t vocab_size, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<TokenId> tokens(n);
  for (TokenId& t : tokens) t = static_cast<TokenId>(random() % static_cast<uint64_t>(vocab_size));
  return tokens;
}

}  // namespace tern

#endif  // TERN_TESTS_SUPPORT_TINY_MODEL_H_
