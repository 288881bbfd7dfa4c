// What `tern info` tells about a model.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>

#include "engine/atomic_file.h"
#include "engine/chat_template.h"
#include "engine/error.h"
#include "engine/gguf.h"
#include "engine/kv_cache.h"
#include "engine/medusa_heads.h"
#include "engine/model.h"
#include "engine/tensor_listing.h"
#include "engine/tokenizer.h"
#include "engine/weight_report.h"
#include "tools/info.h"
#include "tools/report.h"

namespace tern {
namespace {

namespace fs = std::filesystem;

// 1e-05 and not the nearest double of a float.
double Shortened(float value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.7g", static_cast<double>(value));
  return std::strtod(text, nullptr);
}

InfoJson Architecture(const ModelConfig& c) {
  InfoJson rope = {{"theta", c.rope_theta}};
  if (!c.rope_divisors.empty()) {
    const auto [least, most] = std::minmax_element(c.rope_divisors.begin(), c.rope_divisors.end());
    rope["stretched_by"] = {*least, *most};
  }
  if (c.rope_magnitude != 1.0) rope["magnitude"] = c.rope_magnitude;
  InfoJson norms = InfoJson::array();
  if (c.attn_sub_norm) norms.push_back("attention sub-norm");
  if (c.ffn_sub_norm) norms.push_back("feed-forward sub-norm");
  if (c.qk_norm) norms.push_back("norms of q and k");
  return {{"layers", c.num_hidden_layers},
          {"hidden_size", c.hidden_size},
          {"intermediate_size", c.intermediate_size},
          {"attention_heads", c.num_attention_heads},
          {"key_value_heads", c.num_key_value_heads},
          {"head_dim", c.head_dim},
          {"vocab_size", c.vocab_size},
          {"context", c.max_position_embeddings},
          {"hidden_act", c.hidden_act == HiddenAct::kRelu2 ? "relu2" : "silu"},
          {"activations", c.activations == Activations::kInt8 ? "int8" : "float"},
          {"extra_norms", norms},
          {"rms_norm_eps", Shortened(c.rms_norm_eps)},
          {"rope", rope},
          {"tied_embeddings", c.tie_word_embeddings},
          {"bos_token_id", c.bos_token_id},
          {"eos_token_ids", c.eos_token_ids}};
}

bool IsLinearTensor(const std::string& name) {
  constexpr const char* kParts[] = {"_proj.weight",  ".attn_q.",   ".attn_k.", ".attn_v.",
                                    ".attn_output.", ".ffn_gate.", ".ffn_up.", ".ffn_down."};
  return std::any_of(std::begin(kParts), std::end(kParts),
                     [&](const char* part) { return name.find(part) != std::string::npos; });
}

// Parameters by what they are, and the bits that the file spends on them.
void AddSizes(const std::string& path, const ModelConfig& c, InfoJson& info) {
  const auto n = [](int64_t value) { return static_cast<uint64_t>(value); };
  const uint64_t d = n(c.hidden_size), f = n(c.intermediate_size), q = n(c.q_width());
  const uint64_t kv = n(c.kv_width()), layers = n(c.num_hidden_layers);
  const uint64_t ternary = layers * (2 * d * q + 2 * d * kv + 3 * d * f);
  const uint64_t tables = d * n(c.vocab_size) * (c.tie_word_embeddings ? 1 : 2);
  const uint64_t gains = d + layers * (2 * d + (c.qk_norm ? 2 * n(c.head_dim) : 0) +
                                       (c.attn_sub_norm ? q : 0) + (c.ffn_sub_norm ? f : 0));
  uint64_t linear_bytes = 0, bytes = 0;
  std::string type;
  for (const TensorEntry& tensor : ListTensors(path)) {
    bytes += tensor.bytes;
    if (!IsLinearTensor(tensor.name)) continue;
    linear_bytes += tensor.bytes;
    const bool scale = tensor.name.ends_with("scale");
    if (!scale && type.find(tensor.type) == std::string::npos)
      type += (type.empty() ? "" : ", ") + tensor.type;
  }
  const uint64_t total = ternary + tables + gains;
  info["parameters"] = {
      {"total", total}, {"ternary", ternary}, {"embedding", tables}, {"gains", gains}};
  info["stored"] = {
      {"linears_as", type},
      {"tensor_bytes", bytes},
      {"bits_per_ternary_weight",
       8.0 * static_cast<double>(linear_bytes) / static_cast<double>(ternary)},
      {"bits_per_parameter", 8.0 * static_cast<double>(bytes) / static_cast<double>(total)}};
  info["memory"] = {
      {"model_bytes", ModelBytes(c)},
      {"kv_cache_bytes_per_token", KvCache::Bytes(c, 1, KvType::kBFloat16) / kKvBlock},
      {"kv_cache_bytes_per_token_int8", KvCache::Bytes(c, 1, KvType::kInt8) / kKvBlock}};
}

std::string TokenizerKind(const std::string& path) {
  if (IsGgufFile(path)) {
    const GgufFile file(path);
    const std::string pre(file.Text("tokenizer.ggml.pre").value_or(""));
    return std::string(file.Text("tokenizer.ggml.model").value_or("")) +
           (pre.empty() ? "" : " (" + pre + ")");
  }
  return HasSentencePieceModel(path) ? "sentencepiece (tokenizer.model)" : "BPE (tokenizer.json)";
}

std::string Spelled(const Tokenizer& tokenizer, TokenId id) {
  for (const AddedToken& token : tokenizer.ControlTokens()) {
    if (token.id == id) return token.text;
  }
  return id >= 0 && id < tokenizer.vocab_size() ? std::string(tokenizer.PieceBytes(id)) : "";
}

InfoJson TokenInfo(const Tokenizer& tokenizer, TokenId id) {
  return {{"id", id}, {"text", Spelled(tokenizer, id)}};
}

void AddTokenizer(const std::string& path, const ModelConfig& c, InfoJson& info) {
  InfoJson& out = info["tokenizer"] = InfoJson::object();
  try {
    const std::unique_ptr<Tokenizer> tokenizer = LoadTokenizer(path);
    out["kind"] = TokenizerKind(path);
    out["vocab_size"] = tokenizer->vocab_size();
    out["control_tokens"] = tokenizer->ControlTokens().size();
    out["bos"] = tokenizer->bos() >= 0 ? TokenInfo(*tokenizer, tokenizer->bos()) : InfoJson();
    out["ends"] = InfoJson::array();
    for (const int32_t id : c.eos_token_ids) out["ends"].push_back(TokenInfo(*tokenizer, id));
    if (tokenizer->vocab_size() > c.vocab_size) {
      info["unusual"].push_back("the tokenizer has " + std::to_string(tokenizer->vocab_size()) +
                                " tokens and the model " + std::to_string(c.vocab_size));
    }
  } catch (const Error& error) {
    out["problem"] = error.what();
  }
  try {
    const ChatTemplate chat = ChatTemplate::Load(path);
    if (chat.present()) {
      out["chat_template"] = chat.family().empty() ? "unknown" : chat.family();
    } else {
      out["chat_template"] = nullptr;
    }
  } catch (const Error& error) {
    out["chat_template_problem"] = error.what();
  }
}

InfoJson Shares(uint64_t minus, uint64_t zero, uint64_t plus) {
  const double all = std::max<double>(1, static_cast<double>(minus + zero + plus));
  return {{"minus", static_cast<double>(minus) / all},
          {"zero", static_cast<double>(zero) / all},
          {"plus", static_cast<double>(plus) / all}};
}

// Sums over matrices that `wanted` takes.
template <class Wanted>
InfoJson Summary(const std::vector<LinearReport>& linears, const Wanted& wanted) {
  uint64_t minus = 0, zero = 0, plus = 0;
  size_t count = 0, zero_rows = 0, scales = 0;
  float least = 0, most = 0;
  for (const LinearReport& r : linears) {
    if (!wanted(r)) continue;
    minus += r.minus, zero += r.zero, plus += r.plus;
    zero_rows += r.zero_rows;
    scales = std::max(scales, r.scales);
    least = count == 0 ? r.least_scale : std::min(least, r.least_scale);
    most = std::max(most, r.most_scale);
    ++count;
  }
  InfoJson summary = Shares(minus, zero, plus);
  summary["matrices"] = count;
  summary["scales_per_matrix"] = scales;
  summary["least_scale"] = least;
  summary["most_scale"] = most;
  summary["zero_rows"] = zero_rows;
  return summary;
}

void AddWeights(const WeightReport& report, const ModelConfig& c, InfoJson& info) {
  InfoJson& linears = info["linears"] = InfoJson::array();
  for (const LinearReport& first : report.linears) {
    if (first.layer != report.linears.front().layer) break;
    InfoJson entry = {{"name", ShortName(first.linear)}, {"shape", {first.rows, first.cols}}};
    entry.update(
        Summary(report.linears, [&](const LinearReport& r) { return r.linear == first.linear; }));
    linears.push_back(std::move(entry));
  }
  // In at most eight ranges, so that a trend over the layers shows.
  InfoJson& layers = info["layers"] = InfoJson::array();
  const int32_t step = (c.num_hidden_layers + 7) / 8;
  for (int32_t from = 0; from < c.num_hidden_layers; from += step) {
    const int32_t to = std::min(from + step, c.num_hidden_layers);
    InfoJson entry = {{"from", from}, {"to", to - 1}};
    entry.update(Summary(report.linears,
                         [&](const LinearReport& r) { return r.layer >= from && r.layer < to; }));
    layers.push_back(std::move(entry));
  }
  info["gains"] = info["tables"] = InfoJson::array();  // printed also where none could be read
  info["all_linears"] = Summary(report.linears, [](const LinearReport&) { return true; });
  for (const GainReport& r : report.gains) {
    info["gains"].push_back({{"name", ShortName(r.gain)}, {"least", r.least}, {"most", r.most}});
  }
  for (const TableReport& r : report.tables) {
    info["tables"].push_back({{"name", ShortName(r.table)},
                              {"rms", r.rms},
                              {"largest", r.largest},
                              {"zero_rows", r.zero_rows}});
  }
  for (const std::string& line : report.unusual) info["unusual"].push_back(line);
}

void AddSource(const std::string& path, InfoJson& info) {
  if (IsGgufFile(path)) {
    const GgufFile file(path);
    info["format"] = "GGUF";
    info["architecture_name"] = std::string(file.Text("general.architecture").value_or("none"));
    if (const auto name = file.Text("general.name")) info["name"] = std::string(*name);
    info["metadata_keys"] = file.metadata().size();
    return;
  }
  info["format"] = "Hugging Face directory";
  const auto config = nlohmann::json::parse(ReadFile(path + "/config.json"), nullptr, false);
  if (!config.is_object()) return;
  for (const auto& [key, name] : {std::pair{"model_type", "architecture_name"},
                                  {"quantization_config", "quantization_config"}}) {
    if (config.contains(key)) info[name] = config[key];
  }
}

}  // namespace

InfoJson ModelInfo(const std::string& path, I2sOrder order) {
  InfoJson info = {{"kind", "model"}, {"path", path}};
  AddSource(path, info);
  std::unique_ptr<WeightSource> source;
  try {
    source = OpenWeights(path, order);
  } catch (const Error& error) {
    info["problem"] = error.what();
    return info;
  }
  const ModelConfig& c = source->config();
  info["unusual"] = InfoJson::array();
  Progress progress(path, "layers", c.num_hidden_layers);
  const WeightReport report = ReportWeights(*source, [&](int32_t done) { progress.Update(done); });
  ModelConfig config = c;
  const bool several = std::any_of(report.linears.begin(), report.linears.end(),
                                   [](const LinearReport& r) { return r.scales > 1; });
  if (several) config.activations = Activations::kFloat;  // as MakeModel has it
  info["architecture"] = Architecture(config);
  AddSizes(path, config, info);
  AddTokenizer(path, config, info);
  const std::string heads = HeadsBeside(path);
  info["heads"] = heads.empty() ? InfoJson() : InfoJson(heads);
  AddWeights(report, config, info);
  return info;
}

}  // namespace tern
