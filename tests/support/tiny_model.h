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

class TinyModelMaker {
 public:
  explicit TinyModelMaker(uint64_t seed) : random_(seed) {}

  // A third of the weights are zero. The scale keeps outputs of size about 1.
  TernaryMatrix Ternary(int32_t rows, int32_t cols) {
    std::vector<int8_t> weights(static_cast<size_t>(rows) * static_cast<size_t>(cols));
    for (int8_t& w : weights) w = static_cast<int8_t>(static_cast<int>(random_() % 3) - 1);
    const float scale = Uniform(0.7f, 1.4f) / std::sqrt(static_cast<float>(cols));
    return PackTernary({weights.data(), static_cast<size_t>(rows), static_cast<size_t>(cols)},
                       scale);
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
  const int32_t q = config.num_attention_heads * config.head_dim;
  Model model;
  model.config = config;
  model.embed_tokens = make.Embedding(config.vocab_size, d);
  if (!config.tie_word_embeddings) model.lm_head = make.Embedding(config.vocab_size, d);
  model.norm = make.Gain(d);
  for (int32_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    LayerWeights& w = model.layers.emplace_back();
    w.q_proj = make.Ternary(q, d);
    w.k_proj = make.Ternary(kv, d);
    w.v_proj = make.Ternary(kv, d);
    w.o_proj = make.Ternary(d, q);
    w.gate_proj = make.Ternary(f, d);
    w.up_proj = make.Ternary(f, d);
    w.down_proj = make.Ternary(d, f);
    w.input_layernorm = make.Gain(d);
    w.attn_sub_norm = make.Gain(q);
    w.post_attention_layernorm = make.Gain(d);
    w.ffn_sub_norm = make.Gain(f);
  }
  model.rope = std::make_unique<RopeTable>(static_cast<size_t>(config.max_position_embeddings),
                                           static_cast<size_t>(config.head_dim), config.rope_theta);
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
