// Medusa heads as files: config.json and medusa_lm_head.safetensors.
#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "engine/atomic_file.h"
#include "engine/draft_shortlist.h"
#include "engine/error.h"
#include "engine/hash.h"
#include "engine/medusa_heads.h"
#include "engine/safetensors.h"
#include "engine/safetensors_writer.h"

namespace tern {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr char kWeightsFile[] = "medusa_lm_head.safetensors";
constexpr char kTodo[] = "use heads that were trained for this model";

std::string WeightName(int32_t head) { return std::to_string(head) + ".0.linear.weight"; }
std::string BiasName(int32_t head) { return std::to_string(head) + ".0.linear.bias"; }

// What config.json says; fields that it lacks are empty.
struct HeadsConfig {
  std::string path;
  std::optional<int32_t> heads, layers, hidden_size, vocab_size;
  MedusaHeadsInfo info;
};

std::optional<int32_t> Integer(const std::string& path, const Json& json, const char* name) {
  if (!json.contains(name) || json[name].is_null()) return std::nullopt;
  if (!json[name].is_number_unsigned() || json[name].get<uint64_t>() > INT32_MAX) {
    throw BadFile({path, std::string("field ") + name, "an integer from 0 to 2147483647",
                   json[name].dump().substr(0, 80), "correct it or fetch the file again"});
  }
  return json[name].get<int32_t>();
}

std::string Text(const std::string& path, const Json& json, const char* name) {
  if (!json.contains(name) || json[name].is_null()) return {};
  if (!json[name].is_string()) {
    throw BadFile({path, std::string("field ") + name, "a string", json[name].dump().substr(0, 80),
                   "correct it or fetch the file again"});
  }
  return json[name].get<std::string>();
}

HeadsConfig ReadConfig(const std::string& path) {
  const Json json = Json::parse(ReadFile(path), nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) {
    throw BadFile({path, "configuration of heads", "a JSON object",
                   json.is_discarded() ? "something else" : json.dump().substr(0, 40),
                   "correct it or fetch the file again"});
  }
  HeadsConfig config;
  config.path = path;
  config.heads = Integer(path, json, "medusa_num_heads");
  config.layers = Integer(path, json, "medusa_num_layers");
  config.hidden_size = Integer(path, json, "hidden_size");
  config.vocab_size = Integer(path, json, "vocab_size");
  config.info.base_model = Text(path, json, "base_model_name_or_path");
  if (json.contains("tern") && json["tern"].is_object()) {
    const Json& own = json["tern"];
    config.info.backbone_fingerprint = Text(path, own, "backbone_fingerprint");
    if (own.contains("trained_tokens") && own["trained_tokens"].is_number_unsigned()) {
      config.info.trained_tokens = own["trained_tokens"].get<int64_t>();
    }
  }
  return config;
}

void CheckField(const HeadsConfig& config, const char* name, std::optional<int32_t> got,
                int32_t expected, const char* reason) {
  if (!got || *got == expected) return;
  throw BadFile({config.path, std::string("field ") + name,
                 std::to_string(expected) + " (" + reason + ")", std::to_string(*got), kTodo});
}

void CheckConfig(const HeadsConfig& config, const Model& model) {
  if (!config.heads) {
    throw BadFile({config.path, "field medusa_num_heads",
                   "an integer from 1 to " + std::to_string(kMaxMedusaHeads), "none",
                   "give a directory of Medusa heads"});
  }
  if (*config.heads < 1 || *config.heads > kMaxMedusaHeads) {
    throw BadFile({config.path, "field medusa_num_heads",
                   "an integer from 1 to " + std::to_string(kMaxMedusaHeads),
                   std::to_string(*config.heads), "correct it or fetch the file again"});
  }
  CheckField(config, "medusa_num_layers", config.layers, 1, "what tern runs");
  CheckField(config, "hidden_size", config.hidden_size, model.config.hidden_size, "the model's");
  CheckField(config, "vocab_size", config.vocab_size, model.config.vocab_size, "the model's");
}

// Heads that a file without configuration holds: as far as their weights are numbered.
int32_t CountHeads(const SafetensorsFile& file) {
  int32_t count = 0;
  while (count < kMaxMedusaHeads && file.tensors().contains(WeightName(count))) ++count;
  return std::max(count, 1);  // so that the first one's tensor is what is missing
}

const SafetensorsTensor& Tensor(const SafetensorsFile& file, const std::string& path,
                                const std::string& name, std::span<const size_t> shape) {
  const auto found = file.tensors().find(name);
  if (found == file.tensors().end()) {
    throw BadFile({path, "tensor " + name, ShapeText(shape), "no such tensor", kTodo});
  }
  const SafetensorsTensor& tensor = found->second;
  if (!std::equal(tensor.shape.begin(), tensor.shape.end(), shape.begin(), shape.end())) {
    throw BadFile({path, "tensor " + name, ShapeText(shape), ShapeText(tensor.shape), kTodo});
  }
  return tensor;
}

void CheckNothingElse(const SafetensorsFile& file, const std::string& path, int32_t count) {
  for (const auto& [name, tensor] : file.tensors()) {
    bool known = false;
    for (int32_t k = 0; k < count; ++k) known |= name == WeightName(k) || name == BiasName(k);
    if (known) continue;
    const std::string expected = "the weights and biases of " + std::to_string(count) + " heads";
    const bool own_vocabulary = name.ends_with(".1.weight");
    throw BadFile({path, "tensor " + name, expected, ShapeText(tensor.shape),
                   own_vocabulary ? "heads with a vocabulary projection of their own (version 1) "
                                    "are not supported: use version 2"
                                  : kTodo});
  }
}

MedusaHeads ReadHeads(const std::string& path, std::optional<int32_t> count, int32_t hidden_size) {
  const SafetensorsFile file(path);
  MedusaHeads heads = ZeroMedusaHeads(count ? *count : CountHeads(file), hidden_size);
  const size_t d = static_cast<size_t>(hidden_size);
  AlignedBuffer<float> row(d);
  for (int32_t k = 0; k < heads.count; ++k) {
    const SafetensorsTensor& weight = Tensor(file, path, WeightName(k), std::array{d, d});
    const SafetensorsTensor& bias = Tensor(file, path, BiasName(k), std::array{d});
    const size_t first = static_cast<size_t>(k) * d;
    ReadFloats(bias, heads.biases.span().subspan(first, d));
    for (size_t r = 0; r < d; ++r) {
      ReadFloats(weight, row.span(), r * d);
      for (size_t c = 0; c < d; ++c)
        heads.weights[(first + r) * d + c] = BFloat16::FromFloat(row[c]);
    }
  }
  CheckNothingElse(file, path, heads.count);
  return heads;
}

uint64_t HashMatrix(const TernaryMatrix& matrix, uint64_t hash) {
  const uint64_t shape[] = {matrix.rows, matrix.cols};
  hash = HashBytes(std::as_bytes(std::span(shape)), hash);
  hash = HashBytes(std::as_bytes(std::span(&matrix.scale, 1)), hash);
  if (matrix.group_scales.size() > 0)
    hash = HashBytes(std::as_bytes(matrix.group_scales.span()), hash);
  return HashBytes(
      std::as_bytes(matrix.data.span().first(PackedTernaryBytes(matrix.rows, matrix.cols))), hash);
}

}  // namespace

std::string BackboneFingerprint(const Model& model) {
  const ModelConfig& c = model.config;
  const int64_t sizes[] = {c.vocab_size,          c.hidden_size, c.num_hidden_layers,
                           c.num_attention_heads, c.head_dim,    c.num_key_value_heads};
  const double reals[] = {c.rope_theta, static_cast<double>(c.rms_norm_eps)};
  uint64_t hash = HashBytes(std::as_bytes(std::span(sizes)));
  hash = HashBytes(std::as_bytes(std::span(reals)), hash);
  hash = HashBytes(std::as_bytes(model.embed_tokens.span()), hash);
  hash = HashBytes(std::as_bytes(model.lm_head.span()), hash);
  hash = HashBytes(std::as_bytes(model.norm.span()), hash);
  for (const LayerWeights& w : model.layers) {
    for (const TernaryMatrix* matrix :
         {&w.q_proj, &w.k_proj, &w.v_proj, &w.o_proj, &w.gate_proj, &w.up_proj, &w.down_proj}) {
      hash = HashMatrix(*matrix, hash);
    }
    for (const AlignedBuffer<float>* gain :
         {&w.input_layernorm, &w.attn_sub_norm, &w.post_attention_layernorm, &w.ffn_sub_norm}) {
      hash = HashBytes(std::as_bytes(gain->span()), hash);
    }
    for (const AlignedBuffer<float>* gain : {&w.q_norm, &w.k_norm}) {
      if (c.qk_norm) hash = HashBytes(std::as_bytes(gain->span()), hash);
    }
  }
  return HashName(hash);
}

std::string HeadsBeside(const std::string& model_dir) {
  const fs::path dir = fs::path(model_dir) / "medusa";
  std::error_code ignored;
  return fs::exists(dir / "config.json", ignored) ? dir.string() : std::string();
}

MedusaHeads LoadMedusaHeads(const std::string& path, const Model& model) {
  std::error_code ignored;
  const bool is_dir = fs::is_directory(path, ignored);
  if (!is_dir && !fs::exists(path, ignored)) {
    throw NotFound(path + ": no such heads; give a directory with config.json and " + kWeightsFile +
                   ", or --heads none");
  }
  const fs::path dir = is_dir ? fs::path(path) : fs::path(path).parent_path();
  const std::string weights = is_dir ? (dir / kWeightsFile).string() : path;
  std::optional<HeadsConfig> config;
  if (is_dir || fs::exists(dir / "config.json", ignored)) {
    config = ReadConfig((dir / "config.json").string());
    // A lone file may lie beside the configuration of something else.
    if (!is_dir && !config->heads) config.reset();
  }
  if (config) CheckConfig(*config, model);
  MedusaHeads heads =
      ReadHeads(weights, config ? config->heads : std::nullopt, model.config.hidden_size);
  if (!config) return heads;
  heads.shortlist = ReadShortlist(dir.string(), model.config.vocab_size);
  heads.info = config->info;
  const std::string& trained_for = heads.info.backbone_fingerprint;
  if (trained_for.empty()) return heads;
  const std::string fingerprint = BackboneFingerprint(model);
  if (trained_for != fingerprint) {
    heads.warning = path + ": heads were trained for a model with fingerprint " + trained_for +
                    ", this one has " + fingerprint +
                    ": the text is right, but drafts will often be wrong; train heads for this "
                    "model";
  }
  return heads;
}

void SaveMedusaHeads(const std::string& dir, const MedusaHeads& heads, int32_t vocab_size) {
  std::error_code error;
  fs::create_directories(dir, error);
  if (error) throw SystemError(dir + ": cannot create the directory", error.value());
  const size_t d = static_cast<size_t>(heads.hidden_size);
  std::vector<TensorToWrite> tensors;
  for (int32_t k = 0; k < heads.count; ++k) {
    const size_t first = static_cast<size_t>(k) * d;
    tensors.push_back({WeightName(k), "BF16", {d, d}, [&heads, first, d](AtomicFile& file) {
                         file.Write(heads.weights.data() + first * d, d * d * sizeof(BFloat16));
                       }});
    tensors.push_back({BiasName(k), "BF16", {d}, [&heads, first, d](AtomicFile& file) {
                         for (float value : heads.biases.span().subspan(first, d)) {
                           const BFloat16 rounded = BFloat16::FromFloat(value);
                           file.Write(&rounded, sizeof(rounded));
                         }
                       }});
  }
  WriteSafetensors((fs::path(dir) / kWeightsFile).string(), tensors);
  WriteShortlist(dir, heads.shortlist);
  nlohmann::ordered_json config = {{"medusa_num_heads", heads.count},
                                   {"medusa_num_layers", 1},
                                   {"hidden_size", heads.hidden_size},
                                   {"vocab_size", vocab_size},
                                   {"version", "2"},
                                   {"base_model_name_or_path", heads.info.base_model},
                                   {"tern",
                                    {{"backbone_fingerprint", heads.info.backbone_fingerprint},
                                     {"trained_tokens", heads.info.trained_tokens}}}};
  WriteFileAtomically((fs::path(dir) / "config.json").string(), config.dump(2) + "\n");
}

}  // namespace tern
