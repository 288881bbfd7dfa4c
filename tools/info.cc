// tern info: what a file is.
#include "tools/info.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <set>
#include <vector>

#include "engine/atomic_file.h"
#include "engine/error.h"
#include "engine/gguf.h"
#include "engine/hash.h"
#include "engine/tensor_listing.h"
#include "engine/token_file.h"
#include "tools/commands.h"
#include "tools/model_path.h"
#include "tools/report.h"

namespace tern {
namespace {

namespace fs = std::filesystem;

struct InfoOptions {
  std::string path;
  bool tensors = false;
};

InfoJson ReadJsonIfThere(const std::string& path) {
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return InfoJson::object();
  InfoJson json = InfoJson::parse(ReadFile(path), nullptr, false);
  return json.is_object() ? json : InfoJson::object();
}

bool Has(const std::vector<TensorEntry>& tensors, std::string_view part) {
  return std::any_of(tensors.begin(), tensors.end(), [part](const TensorEntry& tensor) {
    return tensor.name.find(part) != std::string::npos;
  });
}

// Heads of any format: what the names and shapes of the tensors say.
InfoJson HeadsInfo(const std::string& path, const std::vector<TensorEntry>& tensors) {
  InfoJson info = {{"kind", "draft heads"}, {"path", path}};
  const fs::path dir = fs::is_directory(path) ? fs::path(path) : fs::path(path).parent_path();
  const InfoJson config = ReadJsonIfThere((dir / "config.json").string());
  std::set<std::string> heads, blocks;
  bool own_vocabulary = false;
  size_t width = 0;
  uint64_t parameters = 0;
  for (const TensorEntry& tensor : tensors) {
    uint64_t values = 1;
    for (const size_t extent : tensor.shape) values *= extent;
    parameters += values;
    if (tensor.shape.empty()) continue;
    std::vector<std::string> parts;
    for (size_t at = 0; at <= tensor.name.size();) {
      const size_t end = std::min(tensor.name.find('.', at), tensor.name.size());
      parts.push_back(tensor.name.substr(at, end - at));
      at = end + 1;
    }
    if (tensor.name.ends_with(".linear.weight") && parts.size() >= 4) {  // k.l.linear.weight
      heads.insert(parts[parts.size() - 4]);
      blocks.insert(parts[parts.size() - 3]);
      width = tensor.shape.back();
    } else if (tensor.name.starts_with("medusa.head.") && parts.size() >= 5) {
      heads.insert(parts[2]);
      blocks.insert(parts[4]);
      width = tensor.shape.back();
    } else if (tensor.name.ends_with("w_in") && tensor.shape.size() == 4) {  // [L, K, d, d]
      for (size_t l = 0; l < tensor.shape[0]; ++l) blocks.insert(std::to_string(l));
      for (size_t k = 0; k < tensor.shape[1]; ++k) heads.insert(std::to_string(k));
      width = tensor.shape.back();
    } else if (tensor.shape.size() == 2 && tensor.shape[0] != tensor.shape[1]) {
      own_vocabulary = true;  // k.L.weight [V, d]
    }
  }
  const bool two_matrices = Has(tensors, "w_in") || Has(tensors, "w_out");
  info["format"] = two_matrices     ? "MedusaBitNet"
                   : own_vocabulary ? "Medusa, version 1"
                                    : "Medusa, version 2";
  info["heads"] = heads.size();
  info["blocks"] = blocks.size();
  info["hidden_size"] = width;
  info["own_vocabularies"] = own_vocabulary;
  info["parameters"] = parameters;
  if (config.contains("medusa_num_heads")) {
    if (config.contains("base_model_name_or_path"))
      info["base_model"] = config["base_model_name_or_path"];
    if (config.contains("vocab_size")) info["vocab_size"] = config["vocab_size"];
    if (config.contains("tern") && config["tern"].is_object()) {
      for (const auto& [key, value] : config["tern"].items()) info[key] = value;
    }
    const InfoJson shortlist = ReadJsonIfThere((dir / "tern_shortlist.json").string());
    if (shortlist.contains("tokens") && shortlist["tokens"].is_array())
      info["shortlist_tokens"] = shortlist["tokens"].size();
    const InfoJson calibration = ReadJsonIfThere((dir / "tern_calibration.json").string());
    if (calibration.contains("tokens")) info["calibrated_on_tokens"] = calibration["tokens"];
  }
  return info;
}

InfoJson TokenInfo(const std::string& path) {
  const TokenFile file(path);
  const TokenFileInfo& header = file.info();
  InfoJson info = {{"kind", "token file"},
                   {"path", path},
                   {"bytes", file.bytes().size()},
                   {"tokens", header.tokens},
                   {"vocab_size", header.vocab_size},
                   {"tokenizer_hash", HashName(header.tokenizer_hash)}};
  if (header.text_bytes > 0) {
    info["text_bytes"] = header.text_bytes;
    info["bytes_per_token"] =
        static_cast<double>(header.text_bytes) / static_cast<double>(header.tokens);
  }
  std::vector<uint64_t> counts(header.vocab_size);
  uint64_t wrong = 0;
  for (const uint32_t token : file.tokens()) token < counts.size() ? ++counts[token] : ++wrong;
  const auto used =
      counts.size() - static_cast<size_t>(std::count(counts.begin(), counts.end(), uint64_t{0}));
  info["tokens_used"] = used;
  std::vector<size_t> order(counts.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  const size_t most = std::min<size_t>(5, order.size());
  std::partial_sort(order.begin(), order.begin() + static_cast<ptrdiff_t>(most), order.end(),
                    [&](size_t a, size_t b) { return counts[a] > counts[b]; });
  info["most_frequent"] = InfoJson::array();
  for (size_t i = 0; i < most; ++i) {
    info["most_frequent"].push_back({{"id", order[i]}, {"count", counts[order[i]]}});
  }
  info["unusual"] = InfoJson::array();
  if (wrong > 0) {
    info["unusual"].push_back(std::to_string(wrong) + " tokens are outside the vocabulary");
  }
  return info;
}

bool IsHeadsFolder(const std::string& path) {
  return ReadJsonIfThere(path + "/config.json").contains("medusa_num_heads");
}

std::string WeightsOfHeads(const std::string& dir) {
  for (const char* name : {"medusa_lm_head.safetensors", "medusa_lm_head.pt"}) {
    if (fs::exists(dir + "/" + name)) return dir + "/" + name;
  }
  throw NotFound(dir + ": no medusa_lm_head.safetensors and no medusa_lm_head.pt; fetch one");
}

InfoJson FileInfo(const std::string& path, const InfoOptions& options, I2sOrder order) {
  const bool folder = fs::is_directory(path);
  if (IsDistilledData(path)) return DistilledDataInfo(path);
  if (folder && !IsHeadsFolder(path) && !fs::exists(path + "/config.json")) {
    if (const std::string run = RunFolderOf(path); !run.empty()) return RunFolderInfo(run);
  }
  if (folder && !IsHeadsFolder(path)) {
    InfoJson info = ModelInfo(path, order);
    AddTensors(path, options.tensors, info);
    return info;
  }
  if (!folder && IsTokenFileOrEmpty(path) && fs::file_size(path) > 0) return TokenInfo(path);
  const std::string file = folder ? WeightsOfHeads(path) : path;
  const std::vector<TensorEntry> tensors = ListTensors(file);
  InfoJson info;
  if (IsGgufFile(file) && GgufFile(file).Find("token_embd.weight") != nullptr) {
    info = ModelInfo(path, order);
  } else if (Has(tensors, "linear.weight") || Has(tensors, "w_in") || Has(tensors, "medusa.")) {
    info = HeadsInfo(path, tensors);
  } else {
    info = {{"kind", "tensors"}, {"path", path}};
  }
  AddTensors(file, options.tensors, info);
  return info;
}

void RunInfo(const InfoOptions& options, const CommonOptions& common) {
  const std::string path = ResolveModel(options.path.empty() ? common.model : options.path);
  InfoJson info = FileInfo(path, options, common.I2s());
  if (common.json) {
    info["peak_memory_mb"] = PeakMemoryMb();
    std::printf("%s\n", info.dump(2, ' ', false, InfoJson::error_handler_t::replace).c_str());
  } else {
    PrintInfo(info);
  }
}

}  // namespace

void AddTensors(const std::string& path, bool all, InfoJson& info) {
  const std::vector<TensorEntry> tensors = ListTensors(path);
  const auto entry = [](const TensorEntry& tensor) {
    return InfoJson{{"name", tensor.name},
                    {"type", tensor.type},
                    {"shape", tensor.shape},
                    {"bytes", tensor.bytes}};
  };
  InfoJson list = InfoJson::array();
  if (all) {
    for (const TensorEntry& tensor : tensors) list.push_back(entry(tensor));
  } else {
    for (const TensorGroup& group : GroupTensors(tensors)) {
      list.push_back(entry(group.first));
      list.back()["count"] = group.count;
    }
  }
  info[all ? "tensors" : "tensor_groups"] = std::move(list);
}

void AddInfo(CLI::App& app, const CommonOptions& common) {
  auto options = std::make_shared<InfoOptions>();
  CLI::App* command = app.add_subcommand(
      "info",
      "Says what a file or folder is, and what is in it: a model, draft heads, packed tokens, "
      "distilled data, or a training run");
  command->add_option("path", options->path,
                      "Model directory, .gguf, heads (directory, .pt or .safetensors), token file, "
                      "folder of tern distill, folder of a run, or org/name (default: --model)");
  command->add_flag("--tensors", options->tensors, "List every tensor, not only kinds of them");
  command->callback([options, &common] { RunInfo(*options, common); });
}

}  // namespace tern
