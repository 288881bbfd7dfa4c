#include "engine/hf_names.h"

namespace tern {
namespace {

const char* LinearName(Linear linear) {
  switch (linear) {
    case Linear::kQ:
      return "self_attn.q_proj.weight";
    case Linear::kK:
      return "self_attn.k_proj.weight";
    case Linear::kV:
      return "self_attn.v_proj.weight";
    case Linear::kO:
      return "self_attn.o_proj.weight";
    case Linear::kGate:
      return "mlp.gate_proj.weight";
    case Linear::kUp:
      return "mlp.up_proj.weight";
    case Linear::kDown:
      break;
  }
  return "mlp.down_proj.weight";
}

std::string LayerPrefix(int32_t layer) { return "model.layers." + std::to_string(layer) + "."; }

}  // namespace

std::string HfTableName(Table table) {
  return table == Table::kInput ? "model.embed_tokens.weight" : "lm_head.weight";
}

std::string HfGainName(Gain gain, int32_t layer, bool old_names) {
  const std::string at = LayerPrefix(layer);
  switch (gain) {
    case Gain::kInput:
      return at + "input_layernorm.weight";
    case Gain::kAttnSub:
      return at + (old_names ? "self_attn.inner_attn_ln.weight" : "self_attn.attn_sub_norm.weight");
    case Gain::kQuery:
      return at + "self_attn.q_norm.weight";
    case Gain::kKey:
      return at + "self_attn.k_norm.weight";
    case Gain::kPostAttention:
      return at + "post_attention_layernorm.weight";
    case Gain::kFfnSub:
      return at + (old_names ? "mlp.ffn_layernorm.weight" : "mlp.ffn_sub_norm.weight");
    case Gain::kFinal:
      break;
  }
  return "model.norm.weight";
}

std::string HfLinearName(Linear linear, int32_t layer) {
  return LayerPrefix(layer) + LinearName(linear);
}

}  // namespace tern
