#include "trainer/backbone_state.h"

#include <algorithm>

#include "engine/error.h"
#include "kernels/bfloat16.h"
#include "kernels/ternary_pack.h"
#include "kernels/training_rows.h"

namespace tern {
namespace {

constexpr size_t kAlign = 16;  // floats

void Require(bool condition, const std::string& what) {
  if (!condition) throw InvalidArgument("model for training: " + what);
}

void Validate(const ModelConfig& c, const BackboneOptions& options) {
  Require(
      c.vocab_size > 1 && c.hidden_size > 0 && c.intermediate_size > 0 && c.num_hidden_layers > 0,
      "vocab_size, hidden_size, intermediate_size and num_hidden_layers must be positive");
  Require(c.num_attention_heads > 0 && c.num_key_value_heads > 0 &&
              c.num_attention_heads % c.num_key_value_heads == 0,
          "num_attention_heads must be a multiple of num_key_value_heads");
  Require(
      c.head_dim > 0 && c.head_dim % 2 == 0 && c.num_attention_heads * c.head_dim == c.hidden_size,
      "hidden_size must be num_attention_heads times an even head_dim");
  // The packed format takes four rows to a byte.
  Require(c.hidden_size % 4 == 0 && c.intermediate_size % 4 == 0 && c.kv_width() % 4 == 0,
          "hidden_size, intermediate_size and key-value width must be multiples of 4");
  Require(c.hidden_act == HiddenAct::kRelu2 && c.activations == Activations::kInt8 &&
              c.attn_sub_norm && c.ffn_sub_norm && !c.qk_norm && c.rope_divisors.empty(),
          "only the BitNet kind (relu2, sub-norms, int8 activations) is trained");
  Require(c.tie_word_embeddings,
          "tie_word_embeddings must be true: an untied lm_head is not trained");
  Require(options.batch > 0 && options.sequence > 0, "batch and sequence must be positive");
  Require(options.sequence <= c.max_position_embeddings,
          "sequence " + std::to_string(options.sequence) +
              " is longer than max_position_embeddings " +
              std::to_string(c.max_position_embeddings));
}

// Appends slices and says where each went.
class LayoutBuilder {
 public:
  explicit LayoutBuilder(std::vector<ParameterSlice>* slices) : slices_(*slices) {}
  size_t Add(std::string name, int32_t layer, size_t rows, size_t cols, bool ternary, bool decays) {
    slices_.push_back({std::move(name), end_, rows, cols, layer, ternary, decays});
    end_ = (end_ + rows * cols + kAlign - 1) / kAlign * kAlign;
    return slices_.size() - 1;
  }
  size_t end() const { return end_; }

 private:
  std::vector<ParameterSlice>& slices_;
  size_t end_ = 0;
};

LayerSlices AddLayer(LayoutBuilder& layout, const ModelConfig& c, int32_t layer) {
  const auto d = static_cast<size_t>(c.hidden_size), f = static_cast<size_t>(c.intermediate_size);
  const auto kv = static_cast<size_t>(c.kv_width());
  const std::string prefix = "model.layers." + std::to_string(layer) + ".";
  const auto matrix = [&](const char* name, size_t rows, size_t cols) {
    return layout.Add(prefix + name + ".weight", layer, rows, cols, true, true);
  };
  const auto gain = [&](const char* name, size_t size) {
    return layout.Add(prefix + name + ".weight", layer, size, 1, false, false);
  };
  LayerSlices s{};
  s.q = matrix("self_attn.q_proj", d, d);
  s.k = matrix("self_attn.k_proj", kv, d);
  s.v = matrix("self_attn.v_proj", kv, d);
  s.o = matrix("self_attn.o_proj", d, d);
  s.gate = matrix("mlp.gate_proj", f, d);
  s.up = matrix("mlp.up_proj", f, d);
  s.down = matrix("mlp.down_proj", d, f);
  s.input_layernorm = gain("input_layernorm", d);
  s.attn_sub_norm = gain("self_attn.attn_sub_norm", d);
  s.post_attention_layernorm = gain("post_attention_layernorm", d);
  s.ffn_sub_norm = gain("mlp.ffn_sub_norm", f);
  return s;
}

}  // namespace

BackboneState::BackboneState(const ModelConfig& config_in, const BackboneOptions& options_in)
    : config(config_in), options(options_in) {
  Validate(config, options);
  LayoutBuilder layout(&slices);
  const auto d = static_cast<size_t>(config.hidden_size);
  embedding = layout.Add("model.embed_tokens.weight", -1, static_cast<size_t>(config.vocab_size), d,
                         false, true);
  for (int32_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    layers.push_back(AddLayer(layout, config, layer));
  }
  norm = layout.Add("model.norm.weight", -1, d, 1, false, false);
  parameters = AlignedBuffer<float>::Zeroed(layout.end());
  gradients = AlignedBuffer<float>::Zeroed(layout.end());

  size_t code_count = 0, gain_count = 0;
  for (const ParameterSlice& slice : slices) {
    code_offsets.push_back(code_count);
    gain_offsets.push_back(gain_count);
    if (slice.ternary) code_count += slice.size();
    if (!slice.decays) gain_count += slice.size();
  }
  codes = AlignedBuffer<int8_t>::Zeroed(code_count);
  gains = AlignedBuffer<float>::Zeroed(gain_count);
  weight_scales.assign(slices.size(), 1.0f);
  quantisation.resize(layers.size());
}

void BackboneState::Quantise() {
  for (size_t i = 0; i < slices.size(); ++i) {
    if (slices[i].ternary) {
      const MatView<int8_t> out(codes.data() + code_offsets[i], slices[i].rows, slices[i].cols);
      weight_scales[i] = RoundToBFloat16(TernarizeAbsMean(Parameter(i), out));
    } else if (!slices[i].decays) {
      RoundTo(Parameter(i).data, slices[i].size(), gains.data() + gain_offsets[i]);
    }
  }
}

}  // namespace tern
