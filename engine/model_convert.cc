#include "engine/model_convert.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <system_error>

#include "engine/atomic_file.h"
#include "engine/atomic_folder.h"
#include "engine/disk_space.h"
#include "engine/error.h"
#include "engine/gguf.h"
#include "engine/gguf_export.h"
#include "engine/gguf_tokenizer_writer.h"
#include "engine/gguf_writer.h"
#include "engine/hf_tokenizer_writer.h"
#include "engine/hf_writer.h"
#include "engine/tokenizer_compare.h"

namespace tern {
namespace {

namespace fs = std::filesystem;

// Of a Hugging Face directory: what is not its weights and configuration.
constexpr const char* kTextFiles[] = {"tokenizer.json",
                                      "tokenizer.model",
                                      "tokenizer_config.json",
                                      "special_tokens_map.json",
                                      "added_tokens.json",
                                      "vocab.json",
                                      "merges.txt",
                                      "chat_template.jinja",
                                      "generation_config.json"};
constexpr uint64_t kSlack = 16 << 20;  // bytes of headers, tokenizers and file systems' own

bool IsModelFile(const std::string& name) {
  return name == "config.json" || name == "model.safetensors.index.json" ||
         name.ends_with(".safetensors") ||
         std::find(std::begin(kTextFiles), std::end(kTextFiles), name) != std::end(kTextFiles);
}

// Replacing must not take anything along that is no model.
void RequireReplaceable(const std::string& target) {
  std::error_code ignored;
  if (!fs::is_directory(target, ignored)) {
    if (IsGgufFile(target)) return;
    throw InvalidArgument(target + ": is no GGUF file; move it away or write elsewhere");
  }
  for (const fs::directory_entry& entry : fs::directory_iterator(target)) {
    const std::string name = entry.path().filename().string();
    if (entry.is_regular_file() && IsModelFile(name)) continue;
    throw InvalidArgument(target + ": holds " + name + ", which is no file of a packed model; " +
                          "move it away or write elsewhere");
  }
}

void CheckTarget(const std::string& source, const std::string& target,
                 const ConvertOptions& options) {
  std::error_code ignored;
  if (target.empty()) throw InvalidArgument("the path to write the model to is empty; give one");
  if (!fs::exists(fs::symlink_status(target, ignored))) return;
  if (fs::is_directory(target, ignored) && fs::is_empty(target, ignored)) return;
  if (fs::equivalent(source, target, ignored)) {
    throw InvalidArgument(target + ": is the model itself; write elsewhere");
  }
  if (!options.replace) {
    throw InvalidArgument(target +
                          ": exists already; give --force to replace it, or write "
                          "elsewhere");
  }
  const bool is_folder = fs::is_directory(target, ignored);
  if (is_folder != (options.format == ModelFormat::kHuggingFace)) {
    throw InvalidArgument(target + ": is a " + (is_folder ? "folder" : "file") +
                          ", and the other kind would be written; remove it or write elsewhere");
  }
  RequireReplaceable(target);
}

void RequireDisk(const std::string& target, uint64_t bytes) {
  const std::optional<uint64_t> free = FreeDiskBytes(target);
  if (!free || bytes + kSlack <= *free) return;
  throw Error(Error::Kind::kInternal,
              target + ": the model needs " + std::to_string((bytes + kSlack) >> 20) +
                  " MiB of disk, and " + std::to_string(*free >> 20) + " are free; make room");
}

// Wraps the writing of tensors so that progress is reported behind each.
class ProgressReport {
 public:
  ProgressReport(const ConvertOptions& options, uint64_t total)
      : report_(options.progress), total_(total) {}
  void Add(uint64_t bytes) {
    done_ += bytes;
    if (report_) report_(done_, total_);
  }

 private:
  const std::function<void(uint64_t, uint64_t)>& report_;
  uint64_t total_, done_ = 0;
};

template <class Tensor>
uint64_t TotalBytes(const std::vector<Tensor>& tensors) {
  uint64_t bytes = 0;
  for (const Tensor& tensor : tensors) bytes += tensor.ByteSize();
  return bytes;
}

// `written` lies at `path`, where LoadTokenizer reads it.
void RequireSameTokenizer(const std::string& source, const std::string& written) {
  const std::string difference =
      TokenizerDifference(*LoadTokenizer(source), *LoadTokenizer(written));
  if (difference.empty()) return;
  throw Unsupported(source + ": the tokenizer cannot be converted exactly: " + difference +
                    "; keep the model in its own format, or leave the tokenizer out");
}

void CopyTextFiles(const std::string& from, const std::string& to) {
  for (const char* name : kTextFiles) {
    const fs::path path = fs::path(from) / name;
    std::error_code code;
    if (!fs::exists(path, code)) continue;
    fs::copy_file(path, fs::path(to) / name, code);  // what a link of the hub's cache leads to
    if (code) throw SystemError(path.string() + ": cannot copy to " + to, code.value());
  }
}

std::string GenerationConfig(const ModelConfig& config) {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  if (config.bos_token_id >= 0) json["bos_token_id"] = config.bos_token_id;
  if (config.eos_token_ids.size() == 1) json["eos_token_id"] = config.eos_token_ids[0];
  if (config.eos_token_ids.size() > 1) json["eos_token_id"] = config.eos_token_ids;
  return json.dump(2) + "\n";
}

Converted ToHuggingFace(const Model& model, const std::string& source, const std::string& target,
                        const ConvertOptions& options) {
  const std::string config = HfConfigJson(model.config, HfLinears::kPacked);
  std::vector<TensorToWrite> tensors = HfPackedTensors(model);
  const uint64_t total = TotalBytes(tensors);
  RequireDisk(target, total);
  AtomicFolder folder(target, options.replace);
  folder.Write("config.json", config);
  if (IsGgufFile(source)) {
    if (options.tokenizer) WriteHfTokenizer(GgufFile(source), folder.path());
    folder.Write("generation_config.json", GenerationConfig(model.config));
  } else if (options.tokenizer) {
    CopyTextFiles(source, folder.path());
  }
  const bool has_tokenizer = fs::exists(folder.path() + "/tokenizer.json") ||
                             fs::exists(folder.path() + "/tokenizer.model");
  if (has_tokenizer && IsGgufFile(source)) RequireSameTokenizer(source, folder.path());
  ProgressReport progress(options, total);
  for (TensorToWrite& tensor : tensors) {
    tensor.write = [write = std::move(tensor.write), bytes = tensor.ByteSize(),
                    &progress](AtomicFile& file) {
      write(file);
      progress.Add(bytes);
    };
  }
  WriteSafetensors(folder.path() + "/model.safetensors", tensors);
  folder.Commit();
  return {total, tensors.size(), has_tokenizer};
}

// The name of the model, for people.
std::string ModelName(const std::string& source) {
  if (IsGgufFile(source)) {
    const GgufFile file(source);
    if (const auto name = file.Text("general.name")) return std::string(*name);
    return fs::path(source).stem().string();
  }
  const fs::path path = fs::absolute(source).lexically_normal();
  return (path.has_filename() ? path : path.parent_path()).filename().string();
}

Converted ToGguf(const Model& model, const std::string& source, const std::string& target,
                 const ConvertOptions& options) {
  GgufExport exported = MakeGgufExport(model, options.linears, options.tables);
  const uint64_t total = TotalBytes(exported.tensors);
  RequireDisk(target, total);
  const GgufMetadataToWrite tokenizer = options.tokenizer
                                            ? GgufTokenizerMetadata(source, model.config)
                                            : GgufSpecialTokens(model.config);
  exported.metadata.emplace_back("general.name",
                                 options.name.empty() ? ModelName(source) : options.name);
  exported.metadata.insert(exported.metadata.end(), tokenizer.begin(), tokenizer.end());
  const bool has_tokenizer = std::any_of(tokenizer.begin(), tokenizer.end(), [](const auto& entry) {
    return entry.first == "tokenizer.ggml.model";
  });
  if (has_tokenizer && !IsGgufFile(source)) {
    const AtomicFolder scratch(target + ".tokenizer");  // never committed
    const std::string file = scratch.path() + "/tokenizer.gguf";
    WriteGguf(file, exported.metadata, {});
    RequireSameTokenizer(source, file);
  }
  std::error_code code;  // as a folder's writer does
  fs::create_directories(fs::absolute(target).parent_path(), code);
  if (code) throw SystemError(target + ": cannot create its folder", code.value());
  ProgressReport progress(options, total);
  for (GgufTensorToWrite& tensor : exported.tensors) {
    tensor.bytes = [encode = std::move(tensor.bytes), &progress] {
      std::vector<uint8_t> bytes = encode();
      progress.Add(bytes.size());
      return bytes;
    };
  }
  WriteGguf(target, exported.metadata, exported.tensors);
  return {total, exported.tensors.size(), has_tokenizer};
}

}  // namespace

Converted ConvertModel(const Model& model, const std::string& source, const std::string& target,
                       const ConvertOptions& options) {
  CheckTarget(source, target, options);
  return options.format == ModelFormat::kGguf ? ToGguf(model, source, target, options)
                                              : ToHuggingFace(model, source, target, options);
}

}  // namespace tern
