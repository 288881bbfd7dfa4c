#include "engine/hf_writer.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "engine/error.h"
#include "engine/hf_names.h"
#include "engine/hf_rope.h"
#include "kernels/bfloat16.h"
#include "kernels/check.h"

namespace tern {
namespace {

constexpr size_t kCodesPerByte = 4;

struct ModelKind {
  const char* type;
  const char* architecture;
};

ModelKind KindOf(const ModelConfig& c) {
  if (c.activations != Activations::kInt8) {
    throw Unsupported(
        "the model is weight-only (float activations), and a packed Hugging Face directory means "
        "int8 activations and one scale per matrix; write GGUF as TQ2_0, or use the model as it "
        "is");
  }
  const bool relu2 = c.hidden_act == HiddenAct::kRelu2;
  if (c.attn_sub_norm && c.ffn_sub_norm && !c.qk_norm) {
    if (c.q_width() == c.hidden_size) return {"bitnet", "BitNetForCausalLM"};
    throw Unsupported("heads of " + std::to_string(c.q_width()) +
                      " values in all, and transformers' bitnet has "
                      "hidden_size (" +
                      std::to_string(c.hidden_size) + "); write GGUF");
  }
  if (!c.attn_sub_norm && !c.ffn_sub_norm && !relu2) {
    if (c.qk_norm) return {"qwen3", "Qwen3ForCausalLM"};
    return {"llama", "LlamaForCausalLM"};
  }
  throw Unsupported("no class of transformers has this model's mixture of norms and activation");
}

// The shortest text that reads as `value` again: 1e-05, not the nearest double of a float.
nlohmann::json Shortest(float value) {
  char text[32];
  const auto end = std::to_chars(std::begin(text), std::end(text), value).ptr;
  return nlohmann::json::parse(std::begin(text), end);
}

struct NamedGain {
  Gain gain;
  const AlignedBuffer<float>* values;
};
struct NamedLinear {
  Linear linear;
  const TernaryMatrix* matrix;
};

}  // namespace

std::string HfConfigJson(const ModelConfig& c, HfLinears linears) {
  TERN_CHECK(linears != HfLinears::kUnpacked) << "not written";
  const ModelKind kind = KindOf(c);
  nlohmann::ordered_json json;
  json["architectures"] = {kind.architecture};
  json["model_type"] = kind.type;
  json["vocab_size"] = c.vocab_size;
  json["hidden_size"] = c.hidden_size;
  json["intermediate_size"] = c.intermediate_size;
  json["num_hidden_layers"] = c.num_hidden_layers;
  json["num_attention_heads"] = c.num_attention_heads;
  json["num_key_value_heads"] = c.num_key_value_heads;
  json["head_dim"] = c.head_dim;
  json["hidden_act"] = c.hidden_act == HiddenAct::kRelu2 ? "relu2" : "silu";
  json["max_position_embeddings"] = c.max_position_embeddings;
  json["rms_norm_eps"] = Shortest(c.rms_norm_eps);
  json["rope_theta"] = c.rope_theta;
  if (const auto scaling = HfRopeScaling(c); !scaling.is_null()) json["rope_scaling"] = scaling;
  json["initializer_range"] = 0.02;
  json["attention_bias"] = false;
  json["attention_dropout"] = 0.0;
  json["tie_word_embeddings"] = c.tie_word_embeddings;
  json["use_cache"] = true;
  if (c.bos_token_id >= 0) json["bos_token_id"] = c.bos_token_id;
  if (c.eos_token_ids.size() == 1) json["eos_token_id"] = c.eos_token_ids[0];
  if (c.eos_token_ids.size() > 1) json["eos_token_id"] = c.eos_token_ids;
  json["torch_dtype"] = "bfloat16";
  json["quantization_config"] = {
      {"quant_method", "bitnet"},
      {"linear_class", "autobitlinear"},
      {"quantization_mode", linears == HfLinears::kPacked ? "offline" : "online"}};
  return json.dump(2) + "\n";
}

TensorToWrite HfRounded(std::string name, std::vector<size_t> shape,
                        std::span<const float> values) {
  return {std::move(name), "BF16", std::move(shape), [values](AtomicFile& file) {
            std::vector<BFloat16> rounded(values.size());
            std::transform(values.begin(), values.end(), rounded.begin(), BFloat16::FromFloat);
            file.Write(rounded.data(), rounded.size() * sizeof(BFloat16));
          }};
}

TensorToWrite HfExact(std::string name, std::vector<size_t> shape, std::vector<float> values) {
  const bool exact = std::all_of(values.begin(), values.end(),
                                 [](float value) { return RoundToBFloat16(value) == value; });
  return {std::move(name), exact ? "BF16" : "F32", std::move(shape),
          [exact, values = std::move(values)](AtomicFile& file) {
            for (const float value : values) {
              const BFloat16 half = BFloat16::FromFloat(value);
              exact ? file.Write(&half, sizeof(half)) : file.Write(&value, sizeof(value));
            }
          }};
}

TensorToWrite HfPackedLinear(std::string name, size_t rows, size_t cols,
                             std::function<void(MatView<int8_t>)> unpack) {
  if (rows % kCodesPerByte != 0) {
    throw Unsupported(name + ": packed rows go in fours, got " + std::to_string(rows) +
                      "; write GGUF");
  }
  return {std::move(name),
          "U8",
          {rows / kCodesPerByte, cols},
          [rows, cols, unpack = std::move(unpack)](AtomicFile& file) {
            AlignedBuffer<int8_t> codes(rows * cols);
            unpack(codes.View(rows, cols));
            AlignedBuffer<uint8_t> packed(rows / kCodesPerByte * cols);
            PackToHuggingFace(codes.View(rows, cols), packed.data());
            file.Write(packed.data(), packed.size());
          }};
}

TensorToWrite HfScale(const std::string& name, float scale) {
  return HfExact(name + "_scale", {1}, {scale});
}

std::vector<TensorToWrite> HfPackedTensors(const Model& model) {
  std::vector<TensorToWrite> tensors;
  const auto add_table = [&](Table which, const EmbeddingTable& table) {
    const auto rows = static_cast<size_t>(model.config.vocab_size);
    tensors.push_back(
        {HfTableName(which), "BF16", {rows, table.size() / rows}, [&table](AtomicFile& file) {
           file.Write(table.data(), table.size() * sizeof(BFloat16));
         }});
  };
  const auto add_gain = [&](Gain which, int32_t layer, const AlignedBuffer<float>& gain) {
    if (gain.size() == 0) return;
    tensors.push_back(
        HfExact(HfGainName(which, layer), {gain.size()}, {gain.span().begin(), gain.span().end()}));
  };
  const auto add_linear = [&](Linear which, int32_t layer, const TernaryMatrix& matrix) {
    const std::string name = HfLinearName(which, layer);
    if (!matrix.View().has_one_scale()) {
      throw Unsupported(name +
                        ": packed Hugging Face directories hold one scale per matrix, this "
                        "one has several; write GGUF as TQ2_0");
    }
    tensors.push_back(
        HfPackedLinear(name, matrix.rows, matrix.cols,
                       [&matrix](MatView<int8_t> codes) { UnpackTernary(matrix.View(), codes); }));
    tensors.push_back(HfScale(name, matrix.scale));
  };
  add_table(Table::kInput, model.embed_tokens);
  if (model.lm_head.size() > 0) add_table(Table::kOutput, model.lm_head);
  for (int32_t i = 0; i < model.config.num_hidden_layers; ++i) {
    const LayerWeights& w = model.layers[static_cast<size_t>(i)];
    for (const auto& [gain, values] : {NamedGain{Gain::kInput, &w.input_layernorm},
                                       {Gain::kQuery, &w.q_norm},
                                       {Gain::kKey, &w.k_norm},
                                       {Gain::kAttnSub, &w.attn_sub_norm},
                                       {Gain::kPostAttention, &w.post_attention_layernorm},
                                       {Gain::kFfnSub, &w.ffn_sub_norm}}) {
      add_gain(gain, i, *values);
    }
    for (const auto& [linear, matrix] : {NamedLinear{Linear::kQ, &w.q_proj},
                                         {Linear::kK, &w.k_proj},
                                         {Linear::kV, &w.v_proj},
                                         {Linear::kO, &w.o_proj},
                                         {Linear::kGate, &w.gate_proj},
                                         {Linear::kUp, &w.up_proj},
                                         {Linear::kDown, &w.down_proj}}) {
      add_linear(linear, i, *matrix);
    }
  }
  add_gain(Gain::kFinal, -1, model.norm);
  return tensors;
}

}  // namespace tern
