// tern convert: a model in another format.
#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "engine/atomic_folder.h"
#include "engine/model_convert.h"
#include "engine/synthetic_tokenizer.h"
#include "engine/synthetic_weights.h"
#include "engine/tokenizer_json_writer.h"
#include "tools/commands.h"
#include "tools/model_path.h"
#include "tools/report.h"

namespace tern {
namespace {

struct ConvertCommand {
  std::string synthetic;
  std::string out, to, type = "i2_s", tables = "bf16";
  bool force = false, no_tokenizer = false;
  CLI::Option* type_option = nullptr;
  CLI::Option* tables_option = nullptr;
};

ConvertOptions Options(const ConvertCommand& command) {
  static const std::map<std::string, GgmlType> kTypes = {{"i2_s", GgmlType::kI2_S},
                                                         {"tq2_0", GgmlType::kTQ2_0},
                                                         {"bf16", GgmlType::kBF16},
                                                         {"f16", GgmlType::kF16},
                                                         {"f32", GgmlType::kF32}};
  ConvertOptions options;
  const bool gguf = command.to.empty() ? command.out.ends_with(".gguf") : command.to == "gguf";
  options.format = gguf ? ModelFormat::kGguf : ModelFormat::kHuggingFace;
  options.linears = kTypes.at(command.type);
  options.tables = kTypes.at(command.tables);
  options.replace = command.force;
  options.tokenizer = !command.no_tokenizer;
  if (!gguf && (command.type_option->count() > 0 || command.tables_option->count() > 0)) {
    throw CLI::ValidationError("--type and --tables are of GGUF files; give --to gguf");
  }
  return options;
}

// The folder of a model of random weights: its tokenizer alone.
void WriteSyntheticTokenizer(const ModelConfig& config, const AtomicFolder& folder) {
  const BpeVocabulary vocabulary = MakeSyntheticTokenizer(config);
  const auto token = [&](TokenId id) { return vocabulary.tokens.at(static_cast<size_t>(id)); };
  const nlohmann::ordered_json json = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                                       {"bos_token", token(vocabulary.bos)},
                                       {"eos_token", token(vocabulary.eos)}};
  folder.Write("tokenizer.json", ByteLevelTokenizerJson(vocabulary));
  folder.Write("tokenizer_config.json", json.dump(2) + "\n");
}

Converted Convert(const ConvertCommand& command, const CommonOptions& common,
                  ConvertOptions& options) {
  if (command.synthetic.empty()) {
    const std::string path = ResolveModel(common.model);
    return ConvertModel(LoadModel(path, common.I2s()), path, command.out, options);
  }
  const Model model = MakeModel(*MakeSyntheticWeights(command.synthetic, {.seed = common.seed}));
  const AtomicFolder folder(command.out + ".synthetic");  // never committed
  WriteSyntheticTokenizer(model.config, folder);
  options.name = command.synthetic;
  return ConvertModel(model, folder.path(), command.out, options);
}

void RunConvert(const ConvertCommand& command, const CommonOptions& common) {
  if (!command.synthetic.empty() && !common.model.empty())
    throw CLI::ValidationError("--synthetic", "does not go with --model");
  ConvertOptions options = Options(command);
  const auto start = std::chrono::steady_clock::now();
  std::unique_ptr<Progress> progress;
  options.progress = [&](uint64_t done, uint64_t total) {
    constexpr double kMega = 1e6;
    if (!progress) {
      progress = std::make_unique<Progress>(command.out, "MB", static_cast<double>(total) / kMega);
    }
    progress->Update(static_cast<double>(done) / kMega);
  };
  const Converted converted = Convert(command, common, options);
  progress.reset();
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  if (!converted.has_tokenizer && !command.no_tokenizer) {
    std::fprintf(stderr, "tern: warning: the model has no tokenizer; %s is written without one\n",
                 command.out.c_str());
  }
  if (common.json) {
    const nlohmann::ordered_json result = {
        {"path", command.out},
        {"format", options.format == ModelFormat::kGguf ? "gguf" : "hf"},
        {"tensors", converted.tensors},
        {"bytes", converted.bytes},
        {"tokenizer", converted.has_tokenizer},
        {"seconds", seconds.count()},
        {"peak_memory_mb", PeakMemoryMb()}};
    std::printf("%s\n", result.dump().c_str());
  } else {
    std::printf("%s: %zu tensors, %.1f MB, %.1f s\n", command.out.c_str(), converted.tensors,
                static_cast<double>(converted.bytes) / 1e6, seconds.count());
  }
}

}  // namespace

void AddConvert(CLI::App& app, const CommonOptions& common) {
  auto options = std::make_shared<ConvertCommand>();
  CLI::App* command = app.add_subcommand(
      "convert", "Writes a model as a packed Hugging Face directory or as a GGUF file");
  command->add_option("--out", options->out, "The directory or .gguf file to write")->required();
  std::string shapes;
  for (const std::string& shape : SyntheticShapes()) shapes += (shapes.empty() ? "" : ", ") + shape;
  command
      ->add_option("--synthetic", options->synthetic,
                   "In place of a model: random weights (--seed) in the shape of a known one, and "
                   "a made-up tokenizer: " +
                       shapes)
      ->check(CLI::IsMember(SyntheticShapes()));
  command->add_option("--to", options->to, "Format (default: gguf where --out ends in .gguf)")
      ->check(CLI::IsMember({"hf", "gguf"}));
  options->type_option =
      command
          ->add_option("--type", options->type,
                       "GGUF: type of the ternary matrices; tq2_0 also holds several scales")
          ->check(CLI::IsMember({"i2_s", "tq2_0"}))
          ->capture_default_str();
  options->tables_option = command
                               ->add_option("--tables", options->tables,
                                            "GGUF: type of the embeddings; bf16 and f32 are exact")
                               ->check(CLI::IsMember({"bf16", "f16", "f32"}))
                               ->capture_default_str();
  command->add_flag("--no-tokenizer", options->no_tokenizer,
                    "Leave the tokenizer out, where it cannot be converted");
  command->add_flag("--force", options->force, "Replace a model that is at --out already");
  command->callback([options, &common] { RunConvert(*options, common); });
}

}  // namespace tern
