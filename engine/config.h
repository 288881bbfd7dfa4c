// What a model's forward pass does. Filled from the model's files, whatever their format, and never
// from the command line.
#ifndef TERN_ENGINE_CONFIG_H_
#define TERN_ENGINE_CONFIG_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace tern {

// The gate of the feed-forward block: f(gate(x)) * up(x).
enum class HiddenAct {
  kRelu2,  // relu(g)^2
  kSilu,   // g / (1 + exp(-g))
};

// What the ternary linears multiply.
enum class Activations {
  kInt8,   // rows quantised by absmax (BitNet b1.58); one scale per matrix
  kFloat,  // fp32 rows ("weight-only"); any scales
};

// Field names follow Hugging Face's config.json where it has them. The defaults of the optional
// parts are BitNet 2B-4T's, which is also the kind that tern trains.
struct ModelConfig {
  int32_t vocab_size = 0;               // V
  int32_t hidden_size = 0;              // d
  int32_t intermediate_size = 0;        // f
  int32_t num_hidden_layers = 0;        // L
  int32_t num_attention_heads = 0;      // h
  int32_t num_key_value_heads = 0;      // kv, divides h
  int32_t head_dim = 0;                 // hd, even; h * hd need not be d
  int32_t max_position_embeddings = 0;  // longest context, tokens
  float rms_norm_eps = 1e-5f;
  bool tie_word_embeddings = true;

  HiddenAct hidden_act = HiddenAct::kRelu2;
  Activations activations = Activations::kInt8;
  bool attn_sub_norm = true;  // RMSNorm over h * hd before o_proj
  bool ffn_sub_norm = true;   // RMSNorm over f before down_proj
  bool qk_norm = false;       // RMSNorm of each head of q and k before RoPE (Qwen3)

  // RoPE turns pair i of a head (elements i and i + hd/2) by position * theta^(-2i/hd) /
  // rope_divisors[i].
  double rope_theta = 500000.0;
  std::vector<double> rope_divisors;  // [hd/2], positive; empty: all 1
  double rope_magnitude = 1.0;        // multiplies rotated q and k ("attention factor" of YaRN)

  int32_t bos_token_id = -1;           // -1: none
  std::vector<int32_t> eos_token_ids;  // any of these ends a sequence

  int32_t q_width() const { return num_attention_heads * head_dim; }
  int32_t kv_width() const { return num_key_value_heads * head_dim; }
};

// Bounds that only a damaged file exceeds; 132,104 is the longest exact int8 x ternary dot product.
inline constexpr int32_t kMaxVocab = 1 << 24, kMaxWidth = 132'104, kMaxLayers = 4096,
                         kMaxContext = 1 << 22;

// Throws kBadFile naming `path`, field and value where a size is out of bounds, where fields
// contradict each other, or where a number is not finite. Readers of every format call it last.
void ValidateModelConfig(const std::string& path, const ModelConfig& config);

}  // namespace tern

#endif  // TERN_ENGINE_CONFIG_H_
