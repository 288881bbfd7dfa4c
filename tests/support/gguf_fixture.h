// Models that tests of GGUF files write and read.
#ifndef TERN_TESTS_SUPPORT_GGUF_FIXTURE_H_
#define TERN_TESTS_SUPPORT_GGUF_FIXTURE_H_

#include <cstdint>
#include <vector>

#include "tests/support/mixed.h"
#include "tests/support/tiny_model.h"

namespace tern {

// Of all linears: exact in every type, and so is the scale of the masters.
inline constexpr float kScale = 1.0f / 16;

// Widths that every ternary type holds.
inline ModelConfig WideConfig() {
  ModelConfig config;
  config.vocab_size = 48;
  config.hidden_size = 256;
  config.intermediate_size = 256;
  config.num_hidden_layers = 1;
  config.num_attention_heads = 4;
  config.num_key_value_heads = 1;
  config.head_dim = 64;
  config.max_position_embeddings = 64;
  config.bos_token_id = 1;
  config.eos_token_ids = {2};
  config.tie_word_embeddings = false;
  return config;
}

// The model that tests/golden/gguf/tiny.gguf holds.
inline Model TinyFixture() {
  Model model = MakeTinyModel(WideConfig());
  const auto table = [](uint32_t seed, EmbeddingTable& to) {
    for (size_t i = 0; i < to.size(); ++i) {
      to.mutable_data()[i] = BFloat16::FromFloat(
          (static_cast<float>(test::Mixed(seed, static_cast<uint32_t>(i)) % 256) - 128.0f) / 8);
    }
  };
  const auto gain = [](uint32_t seed, AlignedBuffer<float>& to) {
    for (size_t i = 0; i < to.size(); ++i)
      to[i] = 0.5f + static_cast<float>(test::Mixed(seed, static_cast<uint32_t>(i)) % 64) / 64;
  };
  table(0, model.embed_tokens);
  table(1, model.lm_head);
  gain(2, model.norm);
  LayerWeights& w = model.layers[0];
  gain(3, w.input_layernorm);
  gain(4, w.attn_sub_norm);
  gain(5, w.post_attention_layernorm);
  gain(6, w.ffn_sub_norm);
  uint32_t seed = 7;
  for (TernaryMatrix* matrix : Linears(w)) {
    std::vector<int8_t> codes(matrix->rows * matrix->cols);
    for (size_t i = 0; i < codes.size(); ++i) {
      codes[i] = static_cast<int8_t>(
          static_cast<int>(test::Mixed(seed, static_cast<uint32_t>(i)) % 3) - 1);
    }
    *matrix = PackTernary({codes.data(), matrix->rows, matrix->cols}, kScale);
    ++seed;
  }
  return model;
}

inline std::vector<int8_t> Codes(const TernaryMatrix& matrix) {
  std::vector<int8_t> codes(matrix.rows * matrix.cols);
  UnpackTernary(matrix.View(), {codes.data(), matrix.rows, matrix.cols});
  return codes;
}

// A model without sub-norms, written as architecture llama or qwen3.
inline Model PlainModel(bool qk_norm) {
  Model model = TinyFixture();
  model.config.hidden_act = HiddenAct::kSilu;
  model.config.attn_sub_norm = model.config.ffn_sub_norm = false;
  model.config.qk_norm = qk_norm;
  LayerWeights& w = model.layers[0];
  w.attn_sub_norm = {};
  w.ffn_sub_norm = {};
  if (qk_norm) w.q_norm = TinyModelMaker(1).Gain(64);
  if (qk_norm) w.k_norm = TinyModelMaker(2).Gain(64);
  return model;
}

}  // namespace tern

#endif  // TERN_TESTS_SUPPORT_GGUF_FIXTURE_H_
