#include "engine/config.h"

#include <cmath>
#include <sstream>

#include "engine/error.h"

namespace tern {
namespace {

template <class T>
void Require(const std::string& path, bool ok, const char* field, const std::string& expected,
             const T& got) {
  if (ok) return;
  throw BadFile({path, std::string("field ") + field, expected, (std::ostringstream() << got).str(),
                 "correct it or fetch the file again"});
}

void RequireSize(const std::string& path, const char* field, int32_t value, int32_t most) {
  Require(path, value >= 1 && value <= most, field, "an integer from 1 to " + std::to_string(most),
          value);
}

void RequireReal(const std::string& path, const char* field, double value, double low,
                 double high) {
  Require(path, value >= low && value <= high, field,
          (std::ostringstream() << "a number from " << low << " to " << high).str(), value);
}

}  // namespace

void ValidateModelConfig(const std::string& path, const ModelConfig& c) {
  RequireSize(path, "vocab_size", c.vocab_size, kMaxVocab);
  RequireSize(path, "hidden_size", c.hidden_size, kMaxWidth);
  RequireSize(path, "intermediate_size", c.intermediate_size, kMaxWidth);
  RequireSize(path, "num_hidden_layers", c.num_hidden_layers, kMaxLayers);
  RequireSize(path, "num_attention_heads", c.num_attention_heads, kMaxWidth);
  RequireSize(path, "num_key_value_heads", c.num_key_value_heads, c.num_attention_heads);
  RequireSize(path, "max_position_embeddings", c.max_position_embeddings, kMaxContext);
  RequireSize(path, "head_dim", c.head_dim, kMaxWidth / c.num_attention_heads);
  Require(path, c.head_dim % 2 == 0, "head_dim", "an even head size, for RoPE", c.head_dim);
  Require(path, c.num_attention_heads % c.num_key_value_heads == 0, "num_key_value_heads",
          "a divisor of num_attention_heads (" + std::to_string(c.num_attention_heads) + ")",
          c.num_key_value_heads);
  RequireReal(path, "rms_norm_eps", static_cast<double>(c.rms_norm_eps), 1e-13, 1.0);
  RequireReal(path, "rope_theta", c.rope_theta, 1.0, 1e12);
  RequireReal(path, "rope_magnitude", c.rope_magnitude, 1e-3, 1e3);
  Require(path,
          c.rope_divisors.empty() || c.rope_divisors.size() == static_cast<size_t>(c.head_dim) / 2,
          "rope_divisors",
          "none or one per pair of a head (" + std::to_string(c.head_dim / 2) + ")",
          c.rope_divisors.size());
  for (const double divisor : c.rope_divisors)
    RequireReal(path, "rope_divisors", divisor, 1e-6, 1e6);
  Require(path, c.bos_token_id >= -1 && c.bos_token_id < c.vocab_size, "bos_token_id",
          "a token id below vocab_size (" + std::to_string(c.vocab_size) + ")", c.bos_token_id);
  for (const int32_t id : c.eos_token_ids) {
    Require(path, id >= 0 && id < c.vocab_size, "eos_token_id",
            "token ids below vocab_size (" + std::to_string(c.vocab_size) + ")", id);
  }
}

}  // namespace tern
