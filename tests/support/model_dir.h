// Writes Hugging Face folders for loader tests, right ones and wrong ones: the writer checks
// nothing.
#ifndef TERN_TESTS_SUPPORT_MODEL_DIR_H_
#define TERN_TESTS_SUPPORT_MODEL_DIR_H_

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "engine/hf_config.h"
#include "engine/model.h"

namespace tern {

struct RawTensor {
  std::string dtype;
  std::vector<size_t> shape;
  std::string bytes;
};
using RawTensors = std::map<std::string, RawTensor>;

template <class T>
RawTensor Raw(const char* dtype, std::vector<size_t> shape, std::span<const T> values) {
  return {
      dtype, std::move(shape), {reinterpret_cast<const char*>(values.data()), values.size_bytes()}};
}

inline void WriteBytes(const std::string& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary)
      .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

// The header of `tensors`, laid out one behind the other in order of names.
inline nlohmann::json SafetensorsHeader(const RawTensors& tensors) {
  nlohmann::json header;
  size_t offset = 0;
  for (const auto& [name, tensor] : tensors) {
    header[name] = {{"dtype", tensor.dtype},
                    {"shape", tensor.shape},
                    {"data_offsets", {offset, offset + tensor.bytes.size()}}};
    offset += tensor.bytes.size();
  }
  return header;
}

inline std::string SafetensorsBytes(const std::string& header, const RawTensors& tensors) {
  const uint64_t length = header.size();
  std::string bytes(reinterpret_cast<const char*>(&length), sizeof(length));
  bytes += header;
  for (const auto& [name, tensor] : tensors) bytes += tensor.bytes;
  return bytes;
}

inline nlohmann::json ConfigJson(const ModelConfig& c, HfLinears linears = HfLinears::kPacked,
                                 bool scale_multiplies = true) {
  return {{"architectures", {"BitNetForCausalLM"}},
          {"model_type", "bitnet"},
          {"vocab_size", c.vocab_size},
          {"hidden_size", c.hidden_size},
          {"intermediate_size", c.intermediate_size},
          {"num_hidden_layers", c.num_hidden_layers},
          {"num_attention_heads", c.num_attention_heads},
          {"num_key_value_heads", c.num_key_value_heads},
          {"hidden_act", "relu2"},
          {"max_position_embeddings", c.max_position_embeddings},
          {"rms_norm_eps", c.rms_norm_eps},
          {"rope_theta", c.rope_theta},
          {"tie_word_embeddings", c.tie_word_embeddings},
          {"bos_token_id", 1},
          {"eos_token_id", 2},
          {"quantization_config",
           {{"quant_method", "bitnet"},
            {"linear_class", scale_multiplies ? "autobitlinear" : "bitlinear"},
            {"quantization_mode", linears == HfLinears::kPacked ? "offline" : "online"}}}};
}

// A model's tensors as a packed checkpoint: U8 codes, F32 scales and gains, BF16 embeddings.
inline RawTensors PackedTensors(const Model& model, bool scale_multiplies = true) {
  const size_t v = static_cast<size_t>(model.config.vocab_size);
  const size_t d = static_cast<size_t>(model.config.hidden_size);
  RawTensors tensors;
  const auto gain = [&](const std::string& name, const AlignedBuffer<float>& values) {
    tensors[name] = Raw("F32", {values.size()}, values.span());
  };
  const auto table = [&](const std::string& name, const EmbeddingTable& values) {
    tensors[name] = Raw("BF16", {v, d}, values.span());
  };
  const auto linear = [&](const std::string& name, const TernaryMatrix& w) {
    std::vector<int8_t> weights(w.rows * w.cols);
    UnpackTernary(w.View(), {weights.data(), w.rows, w.cols});
    std::vector<uint8_t> packed(w.rows / 4 * w.cols);
    PackToHuggingFace({weights.data(), w.rows, w.cols}, packed.data());
    tensors[name] = Raw("U8", {w.rows / 4, w.cols}, std::span<const uint8_t>(packed));
    const float scale = scale_multiplies ? w.scale : 1.0f / w.scale;
    tensors[name + "_scale"] = Raw("F32", {1}, std::span<const float>(&scale, 1));
  };
  table("model.embed_tokens.weight", model.embed_tokens);
  if (model.lm_head.size() > 0) table("lm_head.weight", model.lm_head);
  gain("model.norm.weight", model.norm);
  for (size_t i = 0; i < model.layers.size(); ++i) {
    const LayerWeights& w = model.layers[i];
    const std::string at = "model.layers." + std::to_string(i) + ".";
    linear(at + "self_attn.q_proj.weight", w.q_proj);
    linear(at + "self_attn.k_proj.weight", w.k_proj);
    linear(at + "self_attn.v_proj.weight", w.v_proj);
    linear(at + "self_attn.o_proj.weight", w.o_proj);
    linear(at + "mlp.gate_proj.weight", w.gate_proj);
    linear(at + "mlp.up_proj.weight", w.up_proj);
    linear(at + "mlp.down_proj.weight", w.down_proj);
    gain(at + "input_layernorm.weight", w.input_layernorm);
    gain(at + "self_attn.attn_sub_norm.weight", w.attn_sub_norm);
    gain(at + "post_attention_layernorm.weight", w.post_attention_layernorm);
    gain(at + "mlp.ffn_sub_norm.weight", w.ffn_sub_norm);
  }
  return tensors;
}

inline void WriteModelDir(const std::string& dir, const nlohmann::json& config,
                          const RawTensors& tensors) {
  std::filesystem::create_directories(dir);
  WriteBytes(dir + "/config.json", config.dump(2));
  WriteBytes(dir + "/model.safetensors",
             SafetensorsBytes(SafetensorsHeader(tensors).dump(), tensors));
}

}  // namespace tern

#endif  // TERN_TESTS_SUPPORT_MODEL_DIR_H_
