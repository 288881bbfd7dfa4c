#include <algorithm>
#include <filesystem>
#include <sstream>
#include <utility>
#include <vector>

#include "engine/atomic_file.h"
#include "engine/error.h"
#include "engine/hf_config.h"
#include "engine/hf_writer.h"
#include "engine/safetensors.h"
#include "engine/safetensors_writer.h"
#include "kernels/bfloat16.h"
#include "kernels/ternary_pack.h"
#include "trainer/backbone.h"

namespace tern {
namespace {

std::vector<size_t> Shape(const ParameterSlice& slice) {
  if (slice.cols == 1) return {slice.rows};
  return {slice.rows, slice.cols};
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
  const auto write_config = [&](const std::string& folder, HfLinears linears) {
    WriteFileAtomically(folder + "/config.json", HfConfigJson(backbone.config(), linears));
  };
  std::vector<TensorToWrite> packed, masters;
  const int8_t* codes = backbone.TernaryCodes().data();
  for (size_t i = 0; i < backbone.slices().size(); ++i) {
    const ParameterSlice& slice = backbone.slices()[i];
    const TensorToWrite master = HfRounded(
        slice.name, Shape(slice), backbone.parameters().subspan(slice.offset, slice.size()));
    masters.push_back(master);
    if (!slice.ternary) {
      packed.push_back(master);
      continue;
    }
    const MatView<const int8_t> view(codes, slice.rows, slice.cols);
    packed.push_back(HfPackedLinear(slice.name, slice.rows, slice.cols, [view](MatView<int8_t> to) {
      std::copy_n(view.data, view.rows * view.cols, to.data);
    }));
    // In bf16, as transformers holds it.
    packed.push_back(HfScale(slice.name, RoundToBFloat16(backbone.WeightScales()[i])));
    codes += slice.size();
  }
  WriteSafetensors(masters_dir + "/model.safetensors", masters);
  write_config(masters_dir, HfLinears::kMasters);
  WriteSafetensors(dir + "/model.safetensors", packed);
  write_config(dir, HfLinears::kPacked);
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
