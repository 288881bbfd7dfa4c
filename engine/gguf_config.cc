#include "engine/gguf_config.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/error.h"
#include "engine/ggml_blocks.h"
#include "engine/hf_fields.h"
#include "engine/hf_rope.h"
#include "engine/safetensors.h"

namespace tern {
namespace {

constexpr int32_t kLlama3Vocab = 128256;
constexpr double kDefaultTheta = 10000.0;  // ggml's, where the file gives none

// Reads fields of one architecture: "ARCH.NAME".
class Fields {
 public:
  Fields(const GgufFile& file, std::string_view arch) : file_(file), prefix_(arch) {
    prefix_ += '.';
  }

  std::string Key(const char* name) const { return prefix_ + name; }
  [[nodiscard]] Error Wrong(const char* name, const std::string& expected,
                            const std::string& got) const {
    return BadFile({file_.path(), Key(name), expected, got, "correct it or fetch the file again"});
  }
  bool Has(const char* name) const { return file_.metadata().contains(Key(name)); }
  int32_t Size(const char* name) const {
    const std::optional<int64_t> value = file_.Integer(Key(name));
    if (!value || *value < 1 || *value > std::numeric_limits<int32_t>::max()) {
      throw Wrong(name, "a size from 1 on", value ? std::to_string(*value) : "none");
    }
    return static_cast<int32_t>(*value);
  }
  int32_t SizeOr(const char* name, int32_t missing) const {
    return Has(name) ? Size(name) : missing;
  }
  std::optional<double> Number(const char* name) const { return file_.Number(Key(name)); }
  std::string Text(const char* name, const char* missing) const {
    return std::string(file_.Text(Key(name)).value_or(missing));
  }

 private:
  const GgufFile& file_;
  std::string prefix_;
};

void ReadSizes(const GgufFile& file, const Fields& fields, ModelConfig* c) {
  c->hidden_size = fields.Size("embedding_length");
  c->intermediate_size = fields.Size("feed_forward_length");
  c->num_hidden_layers = fields.Size("block_count");
  c->num_attention_heads = fields.Size("attention.head_count");
  c->num_key_value_heads = fields.SizeOr("attention.head_count_kv", c->num_attention_heads);
  c->max_position_embeddings = fields.Size("context_length");
  c->head_dim = fields.SizeOr("attention.key_length", c->hidden_size / c->num_attention_heads);
  if (!fields.Has("attention.key_length") && c->hidden_size % c->num_attention_heads != 0) {
    throw fields.Wrong("attention.head_count",
                       "a divisor of embedding_length (" + std::to_string(c->hidden_size) + ")",
                       std::to_string(c->num_attention_heads));
  }
  if (fields.SizeOr("attention.value_length", c->head_dim) != c->head_dim) {
    throw Unsupported(file.path() + ": " + fields.Key("attention.value_length") +
                      ": expected the size of keys; tern does not run such models");
  }
  // The table decides: `vocab_size` is missing from many files.
  const GgufTensor* table = file.Find("token_embd.weight");
  const bool valid = table != nullptr && table->shape.size() == 2 &&
                     table->shape[1] == static_cast<size_t>(c->hidden_size);
  if (!valid || table->shape[0] > static_cast<size_t>(kMaxVocab)) {
    throw BadFile({file.path(), "tensor token_embd.weight",
                   "shape [V, " + std::to_string(c->hidden_size) + "]",
                   table != nullptr ? ShapeText(table->shape) : "none",
                   "check that this is a language model"});
  }
  c->vocab_size = static_cast<int32_t>(table->shape[0]);
}

// rope_freqs.weight, which ggml divides frequencies by, or a scaling that the metadata names.
void ReadRope(const GgufFile& file, const Fields& fields, ModelConfig* c) {
  c->rope_theta = fields.Number("rope.freq_base").value_or(kDefaultTheta);
  if (fields.SizeOr("rope.dimension_count", c->head_dim) != c->head_dim) {
    throw Unsupported(file.path() + ": " + fields.Key("rope.dimension_count") + ": expected " +
                      std::to_string(c->head_dim) + ", the whole head, got another size");
  }
  const std::string type = fields.Text("rope.scaling.type", "none");
  if (const GgufTensor* freqs = file.Find("rope_freqs.weight"); freqs != nullptr) {
    if (type != "none") {
      throw Unsupported(file.path() + ": rope_freqs.weight and " + fields.Key("rope.scaling.type") +
                        ": expected one of them");
    }
    std::vector<float> divisors(static_cast<size_t>(c->head_dim) / 2);
    ReadGgmlRow(file.Get("rope_freqs.weight", std::array{divisors.size()}), 0, divisors);
    c->rope_divisors.assign(divisors.begin(), divisors.end());
    return;
  }
  if (type == "none") return;
  if (type != "linear" && type != "yarn") {
    throw Unsupported(file.path() + ": " + fields.Key("rope.scaling.type") +
                      ": expected none, linear or yarn, got " + Printable(type));
  }
  // The same formulas as in a config.json, under other names.
  nlohmann::json scaling = {{"type", type},
                            {"factor", fields.Number("rope.scaling.factor").value_or(1.0)}};
  if (const auto context = fields.Number("rope.scaling.original_context_length")) {
    scaling["original_max_position_embeddings"] = *context;
  }
  const nlohmann::json rope = {{"rope_theta", c->rope_theta}, {"rope_scaling", scaling}};
  ReadHfRope(HfFields(file.path(), rope), 0, c);
}

bool NamesTriLm(std::string_view name) {
  std::string lower(name);
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return lower.find("trilm") != std::string::npos;
}

void ReadArchitecture(const GgufFile& file, std::string_view arch, ModelConfig* c) {
  const bool relabelled = arch == "bitnet" && c->vocab_size == kLlama3Vocab;
  const bool relu2 = arch == "bitnet-b1.58" || arch == "bitnet-25" || relabelled;
  c->hidden_act = relu2 ? HiddenAct::kRelu2 : HiddenAct::kSilu;
  const bool weight_only = arch == "qwen3" || NamesTriLm(file.Text("general.name").value_or(""));
  // What tern writes itself, where a file's types and names would not tell.
  const bool told = file.Text(kActivationsKey).has_value();
  const bool is_float = told ? file.Text(kActivationsKey) == "float" : weight_only;
  c->activations = is_float ? Activations::kFloat : Activations::kInt8;
  c->qk_norm = arch == "qwen3";
  c->attn_sub_norm = file.Find("blk.0.attn_sub_norm.weight") != nullptr;
  c->ffn_sub_norm = file.Find("blk.0.ffn_sub_norm.weight") != nullptr;
  c->tie_word_embeddings = file.Find("output.weight") == nullptr;
  for (const auto& [name, tensor] : file.tensors()) {
    if (!name.ends_with(".bias") && !name.ends_with("_exps.weight")) continue;
    throw Unsupported(file.path() + ": tensor " + Printable(name) +
                      ": tern runs models without biases and experts only");
  }
}

// tokenizer.ggml.KEY as a token id below `vocab_size`; -1 where there is none.
int32_t TokenIdOf(const GgufFile& file, const char* key, int32_t vocab_size) {
  const std::string name = std::string("tokenizer.ggml.") + key;
  const std::optional<int64_t> id = file.Integer(name);
  // Converters write the largest number for "none".
  if (!id || *id == std::numeric_limits<uint32_t>::max() || *id == -1) return -1;
  if (*id < 0 || *id >= vocab_size) {
    throw BadFile({file.path(), name,
                   "a token id below the vocabulary's size (" + std::to_string(vocab_size) + ")",
                   std::to_string(*id), "correct it or fetch the file again"});
  }
  return static_cast<int32_t>(*id);
}

// How end-of-turn tokens are spelled, from llama.cpp's list and the chat templates of the ternary
// models.
bool EndsTurn(std::string_view token) {
  static constexpr std::string_view kEnds[] = {
      "<|eot_id|>",    "<|eom_id|>",      "<|im_end|>", "<|end|>", "<end_of_turn>",
      "<|endoftext|>", "<|end_of_text|>", "<EOT>",      "<|EOT|>", "_<EOT>",
  };
  return std::find(std::begin(kEnds), std::end(kEnds), token) != std::end(kEnds);
}

void ReadSpecialTokens(const GgufFile& file, std::string_view arch, ModelConfig* c) {
  if (file.Bool("tokenizer.ggml.add_bos_token").value_or(true)) {
    c->bos_token_id = TokenIdOf(file, "bos_token_id", c->vocab_size);
  }
  std::vector<int32_t>& ends = c->eos_token_ids;
  const auto add = [&](int32_t id) {
    if (id >= 0 && std::find(ends.begin(), ends.end(), id) == ends.end()) ends.push_back(id);
  };
  for (const char* key : {"eos_token_id", "eot_token_id", "eom_token_id"}) {
    add(TokenIdOf(file, key, c->vocab_size));
  }
  const std::span<const std::string_view> tokens = file.Texts("tokenizer.ggml.tokens");
  const size_t known = std::min(tokens.size(), static_cast<size_t>(c->vocab_size));
  for (size_t id = 0; id < known; ++id) {
    if (EndsTurn(tokens[id])) add(static_cast<int32_t>(id));
  }
  // Chat with 2B-4T ends in <|eot_id|>, whatever the vocabulary of the file spells.
  if (arch.starts_with("bitnet") && c->vocab_size == kLlama3Vocab) add(128009);
}

}  // namespace

ModelConfig ReadGgufConfig(const GgufFile& file) {
  const std::string_view arch = file.Text("general.architecture").value_or("none");
  static constexpr std::string_view kArchs[] = {"bitnet-b1.58", "bitnet-25", "bitnet", "llama",
                                                "qwen3"};
  if (std::find(std::begin(kArchs), std::end(kArchs), arch) == std::end(kArchs)) {
    throw Unsupported(file.path() + ": general.architecture: expected bitnet-b1.58, bitnet-25, " +
                      "bitnet, llama or qwen3, got " + Printable(arch));
  }
  const Fields fields(file, arch);
  ModelConfig config;
  ReadSizes(file, fields, &config);
  const std::optional<double> eps = fields.Number("attention.layer_norm_rms_epsilon");
  if (!eps) throw fields.Wrong("attention.layer_norm_rms_epsilon", "a number", "none");
  config.rms_norm_eps = static_cast<float>(*eps);
  ReadArchitecture(file, arch, &config);
  ReadSpecialTokens(file, arch, &config);
  ReadRope(file, fields, &config);
  ValidateModelConfig(file.path(), config);
  return config;
}

}  // namespace tern
