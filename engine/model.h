// A loaded backbone: configuration and weights, read-only after loading and shared by everything.
#ifndef TERN_ENGINE_MODEL_H_
#define TERN_ENGINE_MODEL_H_

#include <array>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/config.h"
#include "engine/ggml_types.h"
#include "engine/weight_source.h"
#include "kernels/aligned_buffer.h"
#include "kernels/bfloat16.h"
#include "kernels/rope.h"
#include "kernels/ternary_lines.h"
#include "kernels/ternary_pack.h"
#include "kernels/vocab_screen.h"

namespace tern {

struct LayerWeights {
  TernaryMatrix q_proj, k_proj, v_proj, o_proj;   // [h*hd, d], [kv*hd, d], [kv*hd, d], [d, h*hd]
  TernaryMatrix gate_proj, up_proj, down_proj;    // [f, d], [f, d], [d, f]
  AlignedBuffer<float> input_layernorm;           // [d]
  AlignedBuffer<float> q_norm, k_norm;            // [hd]; empty where not config.qk_norm
  AlignedBuffer<float> attn_sub_norm;             // [h*hd]; empty where the model has none
  AlignedBuffer<float> post_attention_layernorm;  // [d]
  AlignedBuffer<float> ffn_sub_norm;              // [f]; empty where the model has none
  TernaryLines up_rows, down_columns;             // copies that zero_skip.h made, or empty
};

// The seven linears, in the order of LayerWeights.
inline std::array<TernaryMatrix*, 7> Linears(LayerWeights& w) {
  return {&w.q_proj, &w.k_proj, &w.v_proj, &w.o_proj, &w.gate_proj, &w.up_proj, &w.down_proj};
}
inline std::array<const TernaryMatrix*, 7> Linears(const LayerWeights& w) {
  return {&w.q_proj, &w.k_proj, &w.v_proj, &w.o_proj, &w.gate_proj, &w.up_proj, &w.down_proj};
}

struct Model {
  ModelConfig config;
  EmbeddingTable embed_tokens;       // [V, d]
  EmbeddingTable lm_head;            // [V, d]; empty where tied
  std::vector<LayerWeights> layers;  // [L]
  AlignedBuffer<float> norm;         // [d]
  std::unique_ptr<RopeTable> rope;
  // Of OutputEmbedding, for Batch::screened_rows; empty where nobody made it.
  VocabScreen screen;
  bool has_screen() const { return screen.codes.rows > 0; }

  MatView<const BFloat16> OutputEmbedding() const {  // [V, d]
    const EmbeddingTable& table = lm_head.size() > 0 ? lm_head : embed_tokens;
    return table.View(static_cast<size_t>(config.vocab_size),
                      static_cast<size_t>(config.hidden_size));
  }
};

// Bytes of memory that a loaded model takes: 2 bits a ternary weight, bf16 embeddings, an int8 copy
// of the output embedding, fp32 gains and RoPE tables; for weight-only models also a scale per 128
// weights, which they may have.
size_t ModelBytes(const ModelConfig& config);

// The tables of cosines and sines that `config` asks for.
std::unique_ptr<RopeTable> MakeRopeTable(const ModelConfig& config);

// Assembles a model from a source; throws its errors, or where memory does not suffice. Its
// activations are kFloat where the source says so, or where any matrix has several scales.
Model MakeModel(WeightSource& source);

// The weights at `path`: a Hugging Face directory (config.json and safetensors) or a GGUF file,
// whose I2_S tensors have their codes in `i2s_order`. Throws Error where neither is there, or its
// configuration cannot be used.
std::unique_ptr<WeightSource> OpenWeights(const std::string& path,
                                          I2sOrder i2s_order = I2sOrder::k128x32);

// MakeModel of OpenWeights. Validates every shape, dtype and offset before use; throws Error naming
// file and tensor, or where memory does not suffice.
Model LoadModel(const std::string& path, I2sOrder i2s_order = I2sOrder::k128x32);

}  // namespace tern

#endif  // TERN_ENGINE_MODEL_H_
