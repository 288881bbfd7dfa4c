#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>
#include <utility>
#include <vector>

#include "engine/atomic_file.h"
#include "engine/error.h"
#include "engine/hf_config.h"
#include "engine/safetensors.h"
#include "engine/safetensors_writer.h"
#include "kernels/bfloat16.h"
#include "kernels/ternary_pack.h"
#include "trainer/backbone.h"

namespace tern {
namespace {

constexpr size_t kCodesPerByte = 4;

void WriteConfig(const ModelConfig& c, bool packed, const std::string& dir) {
  nlohmann::ordered_json json;
  json["architectures"] = {"BitNetForCausalLM"};
  json["model_type"] = "bitnet";
  json["vocab_size"] = c.vocab_size;
  json["hidden_size"] = c.hidden_size;
  json["intermediate_size"] = c.intermediate_size;
  json["num_hidden_layers"] = c.num_hidden_layers;
  json["num_attention_heads"] = c.num_attention_heads;
  json["num_key_value_heads"] = c.num_key_value_heads;
  json["head_dim"] = c.head_dim;
  json["hidden_act"] = "relu2";
  json["max_position_embeddings"] = c.max_position_embeddings;
  // As text of the value's own precision: 1e-05, not the nearest double of a float.
  json["rms_norm_eps"] = nlohmann::json::parse((std::ostringstream() << c.rms_norm_eps).str());
  json["rope_theta"] = c.rope_theta;
  json["initializer_range"] = 0.02;
  json["attention_bias"] = false;
  json["attention_dropout"] = 0.0;
  json["tie_word_embeddings"] = true;
  json["use_cache"] = true;
  if (c.bos_token_id >= 0) json["bos_token_id"] = c.bos_token_id;
  if (c.eos_token_ids.size() == 1) json["eos_token_id"] = c.eos_token_ids[0];
  if (c.eos_token_ids.size() > 1) json["eos_token_id"] = c.eos_token_ids;
  json["torch_dtype"] = "bfloat16";
  json["quantization_config"] = {{"quant_method", "bitnet"},
                                 {"linear_class", "autobitlinear"},
                                 {"quantization_mode", packed ? "offline" : "online"}};
  WriteFileAtomically(dir + "/config.json", json.dump(2) + "\n");
}

void WriteBFloat16(std::span<const float> values, AtomicFile& file) {
  std::vector<BFloat16> rounded(values.size());
  for (size_t i = 0; i < values.size(); ++i) rounded[i] = BFloat16::FromFloat(values[i]);
  file.Write(rounded.data(), rounded.size() * sizeof(BFloat16));
}

std::vector<size_t> Shape(const ParameterSlice& slice) {
  if (slice.cols == 1) return {slice.rows};
  return {slice.rows, slice.cols};
}

TensorToWrite PlainTensor(const ParameterSlice& slice, std::span<const float> values) {
  return {slice.name, "BF16", Shape(slice),
          [values](AtomicFile& file) { WriteBFloat16(values, file); }};
}

TensorToWrite PackedTensor(const ParameterSlice& slice, const int8_t* codes) {
  const MatView<const int8_t> view(codes, slice.rows, slice.cols);
  return {slice.name, "U8", {slice.rows / kCodesPerByte, slice.cols}, [view](AtomicFile& file) {
            std::vector<uint8_t> packed(view.rows / kCodesPerByte * view.cols);
            PackToHuggingFace(view, packed.data());
            file.Write(packed.data(), packed.size());
          }};
}

TensorToWrite ScaleTensor(const ParameterSlice& slice, float scale) {
  return {slice.name + "_scale", "BF16", {1}, [scale](AtomicFile& file) {
            WriteBFloat16({&scale, 1}, file);
          }};
}

// Everything that decides what the weights mean. Context length may differ: no weight depends on
// it.
void RequireSame(const std::string& path, const ModelConfig& got, const ModelConfig& want) {
  const auto require = [&](const char* field, double got_value, double want_value) {
    if (got_value == want_value) return;
    const auto text = [](double value) { return (std::ostringstream() << value).str(); };
    throw BadFile({path, field, text(want_value), text(got_value),
                   "train with the size of the model that --init names"});
  };
  require("vocab_size", got.vocab_size, want.vocab_size);
  require("hidden_size", got.hidden_size, want.hidden_size);
  require("intermediate_size", got.intermediate_size, want.intermediate_size);
  require("num_hidden_layers", got.num_hidden_layers, want.num_hidden_layers);
  require("num_attention_heads", got.num_attention_heads, want.num_attention_heads);
  require("num_key_value_heads", got.num_key_value_heads, want.num_key_value_heads);
  require("rms_norm_eps", got.rms_norm_eps, want.rms_norm_eps);
  require("rope_theta", got.rope_theta, want.rope_theta);
  require("head_dim", got.head_dim, want.head_dim);
  require("attn_sub_norm", got.attn_sub_norm, want.attn_sub_norm);
  require("qk_norm", got.qk_norm, want.qk_norm);
  require("hidden_act is relu2", got.hidden_act == HiddenAct::kRelu2,
          want.hidden_act == HiddenAct::kRelu2);
  require("rope_scaling", !got.rope_divisors.empty(), !want.rope_divisors.empty());
  require("tie_word_embeddings", got.tie_word_embeddings, want.tie_word_embeddings);
}

void MakeFolder(const std::string& dir) {
  std::error_code code;
  std::filesystem::create_directories(dir, code);
  if (code) throw SystemError("cannot create folder " + dir, code.value());
}

}  // namespace

void ExportBackbone(const Backbone& backbone, const std::string& dir) {
  const std::string masters_dir = dir + "/masters";
  MakeFolder(masters_dir);
  std::vector<TensorToWrite> packed, masters;
  const int8_t* codes = backbone.TernaryCodes().data();
  for (size_t i = 0; i < backbone.slices().size(); ++i) {
    const ParameterSlice& slice = backbone.slices()[i];
    const TensorToWrite master =
        PlainTensor(slice, backbone.parameters().subspan(slice.offset, slice.size()));
    masters.push_back(master);
    if (!slice.ternary) {
      packed.push_back(master);
      continue;
    }
    packed.push_back(PackedTensor(slice, codes));
    packed.push_back(ScaleTensor(slice, backbone.WeightScales()[i]));
    codes += slice.size();
  }
  WriteSafetensors(masters_dir + "/model.safetensors", masters);
  WriteConfig(backbone.config(), /*packed=*/false, masters_dir);
  WriteSafetensors(dir + "/model.safetensors", packed);
  WriteConfig(backbone.config(), /*packed=*/true, dir);
}

void ImportMasters(const std::string& dir, Backbone& backbone) {
  const std::string path = dir + "/config.json";
  const HfConfig config = ReadHfConfig(dir);
  if (config.linears == HfLinears::kPacked) {
    throw BadFile({path, "quantization_mode", "online (bf16 masters)", "offline (packed ternary)",
                   "give the folder of the masters, for example " + dir + "/masters"});
  }
  RequireSame(path, config.model, backbone.config());
  const Checkpoint checkpoint(dir);
  for (const ParameterSlice& slice : backbone.slices()) {
    ReadFloats(checkpoint.Get(slice.name, Shape(slice)),
               backbone.parameters().subspan(slice.offset, slice.size()));
  }
  backbone.RefreshWeights();
}

}  // namespace tern
