#include "trainer/model_presets.h"

#include "engine/error.h"

namespace tern {
namespace {

struct Shape {
  int32_t hidden, ffn, layers, heads, kv_heads, context;
};

ModelPreset Make(const char* name, const Shape& shape, double learning_rate) {
  ModelConfig config;
  config.hidden_size = shape.hidden;
  config.intermediate_size = shape.ffn;
  config.num_hidden_layers = shape.layers;
  config.num_attention_heads = shape.heads;
  config.num_key_value_heads = shape.kv_heads;
  config.head_dim = shape.hidden / shape.heads;
  config.max_position_embeddings = shape.context;
  config.rope_theta = 10000.0;
  config.tie_word_embeddings = true;
  return {name, config, learning_rate};
}

void CheckField(const char* name, int32_t value, bool ok, const std::string& expected) {
  if (ok) return;
  throw InvalidArgument(std::string(name) + " is " + std::to_string(value) + ", expected " +
                        expected);
}

}  // namespace

const std::vector<ModelPreset>& ModelPresets() {
  // Learning rates: b1.58 "Training Tips" for 700m to 3b (1.5e-3, 1.2e-3); smaller models bear
  // more.
  static const std::vector<ModelPreset> presets = {
      Make("tiny", {64, 128, 2, 2, 1, 256}, 3e-3),
      Make("3m", {192, 512, 6, 3, 1, 1024}, 3e-3),
      Make("8m", {256, 768, 8, 4, 2, 1024}, 3e-3),
      Make("15m", {384, 1024, 8, 6, 2, 1024}, 2.4e-3),
      Make("30m", {512, 1408, 10, 8, 2, 1024}, 2.4e-3),
      Make("125m", {768, 2048, 12, 12, 12, 2048}, 2.4e-3),
      Make("350m", {1024, 2736, 24, 16, 16, 2048}, 1.8e-3),
      Make("700m", {1536, 4096, 24, 16, 16, 2048}, 1.5e-3),
      Make("1.3b", {2048, 5460, 24, 32, 32, 2048}, 1.2e-3),
      Make("3b", {3200, 8640, 26, 32, 32, 2048}, 1.2e-3),
  };
  return presets;
}

const ModelPreset& FindPreset(const std::string& name) {
  std::string names;
  for (const ModelPreset& preset : ModelPresets()) {
    if (preset.name == name) return preset;
    names += (names.empty() ? "" : ", ") + preset.name;
  }
  throw InvalidArgument("--size is \"" + name + "\", expected one of " + names);
}

void ValidateShape(const ModelConfig& config) {
  const auto positive = [](const char* name, int32_t value) {
    CheckField(name, value, value > 0, "at least 1");
  };
  positive("vocabulary", config.vocab_size);
  positive("--hidden", config.hidden_size);
  positive("--ffn", config.intermediate_size);
  positive("--layers", config.num_hidden_layers);
  positive("--attention-heads", config.num_attention_heads);
  positive("--kv-heads", config.num_key_value_heads);
  positive("--context", config.max_position_embeddings);
  CheckField(
      "--hidden", config.hidden_size, config.hidden_size % config.num_attention_heads == 0,
      "a multiple of the " + std::to_string(config.num_attention_heads) + " attention heads");
  CheckField("--kv-heads", config.num_key_value_heads,
             config.num_attention_heads % config.num_key_value_heads == 0,
             "a divisor of the " + std::to_string(config.num_attention_heads) + " attention heads");
  CheckField("head size", config.head_dim, config.head_dim % 2 == 0,
             "an even number (RoPE turns pairs)");
  // Packed files hold four rows in a byte.
  CheckField("--hidden", config.hidden_size, config.hidden_size % 4 == 0, "a multiple of 4");
  CheckField("--ffn", config.intermediate_size, config.intermediate_size % 4 == 0,
             "a multiple of 4");
  CheckField("width of keys (--hidden / --attention-heads x --kv-heads)", config.kv_width(),
             config.kv_width() % 4 == 0, "a multiple of 4");
}

double CountParameters(const ModelConfig& c) {
  const double d = c.hidden_size, f = c.intermediate_size, kv = c.kv_width();
  const double attention = 2 * d * d + 2 * d * kv, ffn = 3 * d * f;
  const double norms = 3 * d + f;
  return c.num_hidden_layers * (attention + ffn + norms) +
         d * c.vocab_size * (c.tie_word_embeddings ? 1 : 2) + d;
}

}  // namespace tern
