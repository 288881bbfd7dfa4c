#include "engine/hf_config.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "engine/atomic_file.h"
#include "engine/error.h"
#include "engine/hf_fields.h"
#include "engine/hf_rope.h"
#include "engine/json_text.h"

namespace tern {
namespace {

void ReadSizes(const HfFields& fields, ModelConfig* c) {
  c->vocab_size = fields.Size("vocab_size", kMaxVocab);
  c->hidden_size = fields.Size("hidden_size", kMaxWidth);
  c->intermediate_size = fields.Size("intermediate_size", kMaxWidth);
  c->num_hidden_layers = fields.Size("num_hidden_layers", kMaxLayers);
  c->num_attention_heads = fields.Size("num_attention_heads", kMaxWidth);
  c->num_key_value_heads = fields.Has("num_key_value_heads")
                               ? fields.Size("num_key_value_heads", c->num_attention_heads)
                               : c->num_attention_heads;
  c->max_position_embeddings = fields.Size("max_position_embeddings", kMaxContext);
  if (fields.Has("head_dim")) {
    c->head_dim = fields.Size("head_dim", kMaxWidth);
    return;
  }
  if (c->hidden_size % c->num_attention_heads != 0) {
    throw fields.Wrong("num_attention_heads", "a divisor of hidden_size (" +
                                                  std::to_string(c->hidden_size) +
                                                  "), where there is no head_dim");
  }
  c->head_dim = c->hidden_size / c->num_attention_heads;
}

// What BitNet and its converters call the linears.
void ReadQuantization(const HfFields& q, HfConfig* c) {
  q.Require("quant_method", q.Text("quant_method", "none"), "bitnet");
  const std::string linear = q.Text("linear_class", "bitlinear");
  const std::string mode = q.Text("quantization_mode", "offline");
  if (linear != "bitlinear" && linear != "autobitlinear") {
    throw q.Wrong("linear_class", "bitlinear or autobitlinear");
  }
  if (mode != "offline" && mode != "online")
    throw q.Wrong("quantization_mode", "offline or online");
  c->weight_scale_multiplies = linear == "autobitlinear";
  c->linears =
      linear == "bitlinear" || mode == "offline" ? HfLinears::kPacked : HfLinears::kMasters;
  q.Require("use_rms_norm", q.Flag("use_rms_norm", false) ? "true" : "false", "false");
}

// Says how linears are stored and what they multiply. Without a quantization_config: a bitnet has
// masters, and so has a llama that tells its bits (1bitLLM, whose class name is not the model
// type); any other llama or qwen3 must hold ternary values already and was trained without int8
// activations (TriLM, Bonsai).
void ReadLinears(const HfFields& fields, const std::string& type, HfConfig* c) {
  if (fields.Has("quantization_config")) {
    ReadQuantization(fields.Object("quantization_config"), c);
  } else if (type == "bitnet") {
    c->linears = HfLinears::kMasters;
  } else if (fields.Has("weight_bits")) {
    fields.Require("weight_bits", std::to_string(fields.Size("weight_bits", 64)), "1");
    if (fields.Has("input_bits"))
      fields.Require("input_bits", std::to_string(fields.Size("input_bits", 64)), "8");
    c->linears = HfLinears::kMasters;
  } else {
    c->linears = HfLinears::kUnpacked;
    c->model.activations = Activations::kFloat;
  }
}

void ReadArchitecture(const HfFields& fields, const std::string& type, ModelConfig* c) {
  for (const char* name : {"attention_bias", "mlp_bias", "use_sliding_window"}) {
    fields.Require(name, fields.Flag(name, false) ? "true" : "false", "false");
  }
  const std::string act = fields.Text("hidden_act", "none");
  if (act != "relu2" && act != "silu") fields.Require("hidden_act", act, "relu2 or silu");
  c->hidden_act = act == "silu" ? HiddenAct::kSilu : HiddenAct::kRelu2;
  c->attn_sub_norm = c->ffn_sub_norm = type == "bitnet";
  c->qk_norm = type == "qwen3";
}

nlohmann::json ReadObject(const std::string& path) {
  auto json = ParseJson<nlohmann::json>(ReadFile(path));
  if (json.is_object()) return json;
  throw BadFile({path, "content", "a JSON object", "something else", "fetch the file again"});
}

// What ends a text, which chat models often say here alone (<|eot_id|> of BitNet 2B-4T).
void AddEndsOfGeneration(const std::string& path, ModelConfig* c) {
  if (!std::filesystem::exists(path)) return;
  const nlohmann::json json = ReadObject(path);
  std::vector<int32_t>& ends = c->eos_token_ids;
  for (const int32_t id : HfFields(path, json).Ids("eos_token_id", c->vocab_size)) {
    if (std::find(ends.begin(), ends.end(), id) == ends.end()) ends.push_back(id);
  }
}

}  // namespace

HfConfig ReadHfConfig(const std::string& dir) {
  const std::string path = dir + "/config.json";
  const nlohmann::json json = ReadObject(path);
  const HfFields fields(path, json);
  const std::string type = fields.Text("model_type", "none");
  if (type != "bitnet" && type != "llama" && type != "qwen3")
    fields.Require("model_type", type, "bitnet, llama or qwen3");

  HfConfig config;
  ModelConfig& c = config.model;
  ReadSizes(fields, &c);
  ReadArchitecture(fields, type, &c);
  ReadLinears(fields, type, &config);
  ReadHfRope(fields, type == "bitnet" ? 0.0 : 10000.0, &c);  // transformers' default for the others
  c.rms_norm_eps = static_cast<float>(fields.Number("rms_norm_eps", 1e-12, 1.0));
  c.tie_word_embeddings = fields.Flag("tie_word_embeddings", false);
  const std::vector<int32_t> bos = fields.Ids("bos_token_id", c.vocab_size);
  if (!bos.empty()) c.bos_token_id = bos[0];
  c.eos_token_ids = fields.Ids("eos_token_id", c.vocab_size);
  AddEndsOfGeneration(dir + "/generation_config.json", &c);
  ValidateModelConfig(path, c);
  return config;
}

}  // namespace tern
