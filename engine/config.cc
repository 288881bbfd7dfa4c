#include "engine/config.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>

#include "engine/atomic_file.h"
#include "engine/error.h"

namespace tern {
namespace {

using Json = nlohmann::json;

// Bounds that only a damaged file exceeds; 132,104 is the longest exact int8 x ternary dot product.
constexpr int32_t kMaxVocab = 1 << 24, kMaxWidth = 132'104, kMaxLayers = 4096,
                  kMaxContext = 1 << 22;

// Reads fields of one JSON object and names them when they are wrong.
class Fields {
 public:
  Fields(const std::string& path, const Json& json) : path_(path), json_(json) {}

  bool Has(const char* name) const { return json_.contains(name) && !json_[name].is_null(); }

  [[nodiscard]] Error Wrong(const char* name, const std::string& expected) const {
    return BadFile({path_, std::string("field ") + name, expected,
                    json_.contains(name) ? json_[name].dump().substr(0, 80) : "none",
                    "correct it or fetch the file again"});
  }
  int32_t Size(const char* name, int32_t most) const {
    const std::string expected = "an integer from 1 to " + std::to_string(most);
    if (!Has(name) || !json_[name].is_number_unsigned()) throw Wrong(name, expected);
    const uint64_t value = json_[name].get<uint64_t>();
    if (value < 1 || value > static_cast<uint64_t>(most)) throw Wrong(name, expected);
    return static_cast<int32_t>(value);
  }
  double Number(const char* name, double low, double high) const {
    const bool is_number = Has(name) && json_[name].is_number();
    const double value = is_number ? json_[name].get<double>() : NAN;
    if (!(value >= low && value <= high)) {
      throw Wrong(name, (std::ostringstream() << "a number from " << low << " to " << high).str());
    }
    return value;
  }
  bool Flag(const char* name, bool missing) const {
    if (!Has(name)) return missing;
    if (!json_[name].is_boolean()) throw Wrong(name, "true or false");
    return json_[name].get<bool>();
  }
  std::string Text(const char* name, const char* missing) const {
    if (!Has(name)) return missing;
    if (!json_[name].is_string()) throw Wrong(name, "a string");
    return json_[name].get<std::string>();
  }
  Fields Object(const char* name) const {
    if (!json_[name].is_object()) throw Wrong(name, "an object");
    return {path_, json_[name]};
  }
  // One id, a list of ids, or nothing.
  std::vector<int32_t> Ids(const char* name, int32_t vocab_size) const {
    std::vector<int32_t> ids;
    if (!Has(name)) return ids;
    const Json list = json_[name].is_array() ? json_[name] : Json::array({json_[name]});
    for (const Json& id : list) {
      if (!id.is_number_unsigned() || id.get<uint64_t>() >= static_cast<uint64_t>(vocab_size)) {
        throw Wrong(name, "token ids below vocab_size (" + std::to_string(vocab_size) + ")");
      }
      ids.push_back(id.get<int32_t>());
    }
    return ids;
  }
  // Refuses what is valid but not something tern does.
  void Require(const char* name, const std::string& got, const char* supported) const {
    if (got == supported) return;
    throw Unsupported(path_ + ": " + name + ": expected " + supported + ", got " +
                      got.substr(0, 80) + "; tern does not run such models yet");
  }

 private:
  const std::string& path_;
  const Json& json_;
};

void ReadSizes(const Fields& fields, ModelConfig* c) {
  c->vocab_size = fields.Size("vocab_size", kMaxVocab);
  c->hidden_size = fields.Size("hidden_size", kMaxWidth);
  c->intermediate_size = fields.Size("intermediate_size", kMaxWidth);
  c->num_hidden_layers = fields.Size("num_hidden_layers", kMaxLayers);
  c->num_attention_heads = fields.Size("num_attention_heads", c->hidden_size);
  c->num_key_value_heads = fields.Has("num_key_value_heads")
                               ? fields.Size("num_key_value_heads", c->num_attention_heads)
                               : c->num_attention_heads;
  c->max_position_embeddings = fields.Size("max_position_embeddings", kMaxContext);
  if (c->num_attention_heads % c->num_key_value_heads != 0) {
    throw fields.Wrong("num_key_value_heads", "a divisor of num_attention_heads (" +
                                                  std::to_string(c->num_attention_heads) + ")");
  }
  if (c->hidden_size % c->num_attention_heads != 0) {
    throw fields.Wrong("num_attention_heads",
                       "a divisor of hidden_size (" + std::to_string(c->hidden_size) + ")");
  }
  c->head_dim = c->hidden_size / c->num_attention_heads;
  if (fields.Has("head_dim") && fields.Size("head_dim", c->hidden_size) != c->head_dim) {
    throw fields.Wrong("head_dim",
                       "hidden_size / num_attention_heads (" + std::to_string(c->head_dim) + ")");
  }
  if (c->head_dim % 2 != 0)
    throw fields.Wrong("num_attention_heads", "an even head size, for RoPE");
}

void ReadRope(const Fields& fields, ModelConfig* c) {
  // Newer files keep theta in rope_parameters.
  const bool nested = fields.Has("rope_parameters");
  const Fields rope = nested ? fields.Object("rope_parameters") : fields;
  c->rope_theta = rope.Number("rope_theta", 1.0, 1e12);
  if (nested) rope.Require("rope_type", rope.Text("rope_type", "default"), "default");
  if (fields.Has("rope_scaling")) fields.Require("rope_scaling", "a value", "none");
}

void ReadQuantization(const Fields& fields, ModelConfig* c) {
  c->packed = false;
  if (!fields.Has("quantization_config")) return;  // plain masters
  const Fields q = fields.Object("quantization_config");
  q.Require("quant_method", q.Text("quant_method", "none"), "bitnet");
  const std::string linear = q.Text("linear_class", "bitlinear");
  const std::string mode = q.Text("quantization_mode", "offline");
  if (linear != "bitlinear" && linear != "autobitlinear") {
    throw q.Wrong("linear_class", "bitlinear or autobitlinear");
  }
  if (mode != "offline" && mode != "online")
    throw q.Wrong("quantization_mode", "offline or online");
  c->weight_scale_multiplies = linear == "autobitlinear";
  c->packed = linear == "bitlinear" || mode == "offline";
  q.Require("use_rms_norm", q.Flag("use_rms_norm", false) ? "true" : "false", "false");
}

}  // namespace

ModelConfig ReadModelConfig(const std::string& dir) {
  const std::string path = dir + "/config.json";
  const Json json = Json::parse(ReadFile(path), nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) {
    throw BadFile({path, "content", "a JSON object", "something else", "fetch the file again"});
  }
  const Fields fields(path, json);
  fields.Require("model_type", fields.Text("model_type", "none"), "bitnet");
  fields.Require("hidden_act", fields.Text("hidden_act", "none"), "relu2");
  fields.Require("attention_bias", fields.Flag("attention_bias", false) ? "true" : "false",
                 "false");

  ModelConfig c;
  ReadSizes(fields, &c);
  ReadRope(fields, &c);
  ReadQuantization(fields, &c);
  c.rms_norm_eps = static_cast<float>(fields.Number("rms_norm_eps", 1e-12, 1.0));
  c.tie_word_embeddings = fields.Flag("tie_word_embeddings", false);
  const std::vector<int32_t> bos = fields.Ids("bos_token_id", c.vocab_size);
  if (!bos.empty()) c.bos_token_id = bos[0];
  c.eos_token_ids = fields.Ids("eos_token_id", c.vocab_size);
  return c;
}

}  // namespace tern
