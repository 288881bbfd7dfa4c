// What a model is, read from its files and never from the command line.
#ifndef TERN_ENGINE_CONFIG_H_
#define TERN_ENGINE_CONFIG_H_

#include <cstdint>
#include <string>
#include <vector>

namespace tern {

// Field names follow Hugging Face's config.json.
struct ModelConfig {
  int32_t vocab_size = 0;               // V
  int32_t hidden_size = 0;              // d
  int32_t intermediate_size = 0;        // f
  int32_t num_hidden_layers = 0;        // L
  int32_t num_attention_heads = 0;      // h
  int32_t num_key_value_heads = 0;      // kv
  int32_t head_dim = 0;                 // hd; d = h * hd
  int32_t max_position_embeddings = 0;  // longest context, tokens
  float rms_norm_eps = 1e-5f;
  double rope_theta = 500000.0;
  bool tie_word_embeddings = true;
  // The packed file's weight_scale multiplies (linear_class "autobitlinear") or divides
  // (facts 1.6).
  bool weight_scale_multiplies = true;
  // "offline": packed ternary; "online": master weights, ternarised on load.
  bool packed = true;
  int32_t bos_token_id = -1;           // -1: none
  std::vector<int32_t> eos_token_ids;  // any of these ends a sequence

  int32_t kv_width() const { return num_key_value_heads * head_dim; }
};

// Reads and validates `dir`/config.json. Throws kNotFound, kBadFile (missing or inconsistent field,
// named with its value) or kUnsupported (another architecture or activation).
ModelConfig ReadModelConfig(const std::string& dir);

}  // namespace tern

#endif  // TERN_ENGINE_CONFIG_H_
