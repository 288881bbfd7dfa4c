// Reads Medusa heads from directories: config.json and medusa_lm_head.safetensors or .pt.
#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "engine/atomic_file.h"
#include "engine/draft_calibration.h"
#include "engine/draft_shortlist.h"
#include "engine/draft_successors.h"
#include "engine/error.h"
#include "engine/hash.h"
#include "engine/heads_tensors.h"
#include "engine/hf_fields.h"
#include "engine/json_text.h"
#include "engine/medusa_heads.h"

namespace tern {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr const char* kWeightsFile = kMedusaSafetensors;
constexpr const char* kTorchFile = kMedusaTorch;
constexpr char kTodo[] = "use heads that were trained for this model";

// What config.json says; fields that it lacks are empty.
struct HeadsConfig {
  std::string path;
  std::optional<int32_t> heads, layers, hidden_size, vocab_size;
  bool sees_root = false;
  MedusaHeadsInfo info;
};

HeadsConfig ReadConfig(const std::string& path) {
  const Json json = ParseJson<Json>(ReadFile(path));
  if (!json.is_object()) {
    throw BadFile({path, "configuration of heads", "a JSON object",
                   json.is_discarded() ? "something else" : json.dump().substr(0, 40),
                   "correct it or fetch the file again"});
  }
  const HfFields fields(path, json);
  HeadsConfig config;
  config.path = path;
  config.heads = fields.Count("medusa_num_heads");
  config.layers = fields.Count("medusa_num_layers");
  config.hidden_size = fields.Count("hidden_size");
  config.vocab_size = fields.Count("vocab_size");
  config.info.base_model = fields.Text("base_model_name_or_path", "");
  if (json.contains("tern") && json["tern"].is_object()) {
    const Json& own = json["tern"];
    config.info.backbone_fingerprint = HfFields(path, own).Text("backbone_fingerprint", "");
    if (own.contains("sees_root") && !own["sees_root"].is_boolean()) {
      throw BadFile({path, "field tern.sees_root", "true or false", own["sees_root"].dump(),
                     "correct it or fetch the file again"});
    }
    config.sees_root = own.value("sees_root", false);
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

void CheckRange(const HeadsConfig& config, const char* name, std::optional<int32_t> got,
                int32_t most) {
  if (!got || (*got >= 1 && *got <= most)) return;
  throw BadFile({config.path, std::string("field ") + name,
                 "an integer from 1 to " + std::to_string(most), std::to_string(*got),
                 "correct it or fetch the file again"});
}

void CheckConfig(const HeadsConfig& config, const Model& model) {
  if (!config.heads) {
    throw BadFile({config.path, "field medusa_num_heads",
                   "an integer from 1 to " + std::to_string(kMaxMedusaHeads), "none",
                   "give a directory of Medusa heads"});
  }
  CheckRange(config, "medusa_num_heads", config.heads, kMaxMedusaHeads);
  CheckRange(config, "medusa_num_layers", config.layers, kMaxMedusaLayers);
  CheckField(config, "hidden_size", config.hidden_size, model.config.hidden_size, "the model's");
  CheckField(config, "vocab_size", config.vocab_size, model.config.vocab_size, "the model's");
}

void AddReason(std::string& reasons, const std::string& reason) {
  if (!reasons.empty()) reasons += "; ";
  reasons += reason;
}

std::string Mismatch(const MedusaHeads& heads, const Model& model) {
  std::string reasons;
  const std::string& trained_for = heads.info.backbone_fingerprint;
  const std::string fingerprint = trained_for.empty() ? "" : BackboneFingerprint(model);
  if (trained_for != fingerprint) {
    AddReason(reasons, "heads were trained for a model with fingerprint " + trained_for +
                           ", this one has " + fingerprint);
  }
  if (const std::string sample = SampleMismatch(model, heads); !sample.empty())
    AddReason(reasons, sample);
  return reasons;
}

uint64_t HashMatrix(const TernaryMatrix& matrix, uint64_t hash) {
  const uint64_t shape[] = {matrix.rows, matrix.cols};
  hash = HashBytes(std::as_bytes(std::span(shape)), hash);
  hash = HashBytes(std::as_bytes(std::span(&matrix.scale, 1)), hash);
  if (matrix.group_scales.size() > 0)
    hash = HashBytes(std::as_bytes(matrix.group_scales.span()), hash);
  return HashBytes(std::as_bytes(CanonicalTernary(matrix.View()).span()), hash);
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
    for (const TernaryMatrix* matrix : Linears(w)) {
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

std::string HeadsBeside(const std::string& model) {
  std::error_code ignored;
  std::vector<fs::path> places;
  if (fs::is_regular_file(model, ignored)) {
    if (IsGgufWithHeads(model)) return model;
    places.push_back(fs::path(model).replace_extension(".medusa"));
    places.push_back(fs::path(model).replace_filename("medusa"));
  } else {
    places.push_back(fs::path(model) / "medusa");
  }
  for (const fs::path& dir : places) {
    if (fs::exists(dir / "config.json", ignored)) return dir.string();
  }
  return "";
}

MedusaHeads LoadMedusaHeads(const std::string& path, const Model& model) {
  std::error_code ignored;
  const bool is_dir = fs::is_directory(path, ignored);
  if (!is_dir && !fs::exists(path, ignored)) {
    throw NotFound(path + ": no such heads; give a directory with config.json and " + kWeightsFile +
                   ", or --heads none");
  }
  const fs::path dir = is_dir ? fs::path(path) : fs::path(path).parent_path();
  std::string weights = path;
  if (is_dir) {
    const bool torch =
        !fs::exists(dir / kWeightsFile, ignored) && fs::exists(dir / kTorchFile, ignored);
    weights = (dir / (torch ? kTorchFile : kWeightsFile)).string();
  }
  std::optional<HeadsConfig> config;
  if (is_dir || fs::exists(dir / "config.json", ignored)) {
    config = ReadConfig((dir / "config.json").string());
    // A lone file may lie beside the configuration of something else.
    if (!is_dir && !config->heads) config.reset();
  }
  if (config) CheckConfig(*config, model);
  HeadsShape shape;
  if (config) shape = {config->heads.value_or(0), config->layers.value_or(0)};
  MedusaHeads heads = ReadHeadsFile(weights, shape, model.config);
  if (!config) return heads;
  heads.shortlist = ReadShortlist(dir.string(), model.config.vocab_size);
  heads.info = config->info;
  if (config->sees_root)
    heads.root_weights = ReadRootWeights(dir.string(), heads.count, heads.hidden_size);
  try {
    heads.successors = ReadSuccessors(dir.string(), model.config.vocab_size);
  } catch (const Error& error) {
    AddReason(heads.warning, std::string(error.what()) + "; drafting without it");
  }
  try {
    heads.calibration = ReadCalibration(dir.string(), heads.count);
  } catch (const Error& error) {
    AddReason(heads.warning, std::string(error.what()) + "; drafting without it");
  }
  try {
    heads.sample = ReadSample(dir.string(), heads.count, model.config.vocab_size);
  } catch (const Error& error) {
    AddReason(heads.warning, error.what());
  }
  heads.mismatch = Mismatch(heads, model);
  if (!heads.mismatch.empty()) {
    AddReason(heads.warning, path + ": " + heads.mismatch +
                                 ": the text is right, but drafts will often be wrong; train heads "
                                 "for this model");
  }
  return heads;
}

}  // namespace tern
