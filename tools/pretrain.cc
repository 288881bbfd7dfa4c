// tern pretrain: trains a ternary backbone from packed text.
#include <CLI/CLI.hpp>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <memory>
#include <string>

#include "engine/atomic_file.h"
#include "engine/config.h"
#include "engine/error.h"
#include "engine/hash.h"
#include "engine/tokenizer.h"
#include "kernels/dispatch.h"
#include "kernels/parallel.h"
#include "tools/commands.h"
#include "tools/pretrain_options.h"
#include "tools/report.h"
#include "tools/train_page.h"
#include "trainer/backbone.h"
#include "trainer/machine.h"
#include "trainer/pretrain_benchmark.h"
#include "trainer/process_group.h"
#include "trainer/trainable.h"
#include "trainer/training_loop.h"

namespace tern {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

std::atomic<bool> g_stop{false};  // what a signal handler may touch
static_assert(std::atomic<bool>::is_always_lock_free);

extern "C" void RequestStop(int signal) {
  g_stop.store(true);
  std::signal(signal, SIG_DFL);  // a second one ends the process at once
}

std::string TokenizerModelPath(const std::string& given) {
  return fs::is_directory(given) ? (fs::path(given) / "tokenizer.model").string() : given;
}

bool IsTokenizerFile(const std::string& name) {
  return name.starts_with("tokenizer") || name == "special_tokens_map.json" ||
         name == "added_tokens.json" || name == "generation_config.json";
}

// The tokenizer's special ids go into the config.
void AdoptTokenizer(const PretrainOptions& options, uint64_t expected_hash, ModelConfig& config) {
  if (options.tokenizer.empty()) return;
  const std::string path = TokenizerModelPath(options.tokenizer);
  const std::string model = ReadFile(path);
  if (expected_hash != 0 && HashText(model) != expected_hash) {
    throw BadFile({path, "not the tokenizer that packed the data", HashName(expected_hash),
                   HashName(HashText(model)),
                   "give the tokenizer.model that `tern tokenize` used"});
  }
  const std::unique_ptr<Tokenizer> tokenizer = LoadSentencePiece(path);
  config.bos_token_id = tokenizer->bos();
  if (tokenizer->eos() >= 0) config.eos_token_ids = {tokenizer->eos()};
}

// Its files go into the output.
void CopyTokenizer(const PretrainOptions& options) {
  if (options.tokenizer.empty()) return;
  fs::create_directories(options.out);
  WriteFileAtomically(options.out + "/tokenizer.model",
                      ReadFile(TokenizerModelPath(options.tokenizer)));
  if (!fs::is_directory(options.tokenizer)) return;
  for (const fs::directory_entry& entry : fs::directory_iterator(options.tokenizer)) {
    const std::string name = entry.path().filename().string();
    if (!entry.is_regular_file() || !IsTokenizerFile(name)) continue;
    WriteFileAtomically(options.out + "/" + name, ReadFile(entry.path().string()));
  }
}

void PrintBenchmark(const BenchmarkResult& r, const LoopOptions& loop, double peak, bool as_json) {
  const double steps = static_cast<double>(loop.schedule.steps), eta = steps * r.step_seconds;
  const double mfu = r.gemm_macs_per_step / r.step_seconds / peak;
  if (as_json) {
    json out = {{"estimate", r.composed},
                {"method", r.composed ? "composed from one layer, embedding and loss, optimiser"
                                      : "whole steps"},
                {"parameters", r.parameters},
                {"step_seconds", r.step_seconds},
                {"tokens_per_second", r.tokens_per_second},
                {"mfu", mfu},
                {"peak_gmac_per_s", peak / 1e9},
                {"memory_needed_mb", r.memory_bytes / 1048576},
                {"memory_available_mb", r.available_bytes / 1048576},
                {"steps", loop.schedule.steps},
                {"tokens", loop.schedule.steps * loop.tokens_per_step()},
                {"eta_s", eta},
                {"threads", ThreadCount()},
                {"target", CurrentTarget()},
                {"peak_memory_mb", PeakMemoryMb()}};
    if (r.composed) {
      out["layer_seconds"] = r.layer_seconds;
      out["embedding_and_loss_seconds"] = r.embedding_and_loss_seconds;
      out["optimiser_seconds"] = r.optimiser_seconds;
    }
    std::cout << out.dump(2) << "\n";
    return;
  }
  if (r.composed) {
    std::printf(
        "ESTIMATE: %.0f MB needed, %.0f MB available, so this is composed from one layer (%.4g s), "
        "embedding "
        "and loss (%.4g s) per micro-batch, and the optimiser (%.4g s)\n",
        r.memory_bytes / 1048576, r.available_bytes / 1048576, r.layer_seconds,
        r.embedding_and_loss_seconds, r.optimiser_seconds);
  }
  std::printf(
      "%.2fM parameters, %.0f tok/s, %.4g s per step of %llu tokens, mfu %.1f%%, memory %.0f MB\n",
      r.parameters / 1e6, r.tokens_per_second, r.step_seconds,
      static_cast<unsigned long long>(loop.tokens_per_step()), 100 * mfu, r.memory_bytes / 1048576);
  std::printf(
      "%llu steps, %.4gM tokens: %s\n", static_cast<unsigned long long>(loop.schedule.steps),
      steps * static_cast<double>(loop.tokens_per_step()) / 1e6, FormatDuration(eta).c_str());
}

void RunBenchmark(const PretrainOptions& options, const CommonOptions& common) {
  uint32_t vocabulary = 0;
  if (!options.data.empty())
    vocabulary = TokenFile(ParseDataSource(options.data.front()).path).info().vocab_size;
  BenchmarkRequest request;
  request.config = ResolveConfig(options, vocabulary);
  request.backbone = ResolveBackbone(options);
  request.accumulate = options.loop.accumulate;
  request.seed = common.seed;
  request.timed_steps = options.benchmark_steps;
  const LoopOptions loop = ResolveLoop(options, request.config);
  GemmPeak peak(request.backbone.bfloat16);
  const BenchmarkResult result = BenchmarkPretraining(request);
  peak.Measure();
  peak.AtLeast(result.gemm_macs_per_step / result.step_seconds);
  PrintBenchmark(result, loop, peak.macs_per_second(), common.json);
}

void PrintSummary(const LoopSummary& s, const PretrainOptions& options, const ModelConfig& config,
                  bool as_json) {
  if (!as_json) {
    if (s.finished) std::printf("%s\n", options.out.c_str());
    return;
  }
  const auto or_null = [](const auto& value) { return value ? json(*value) : json(nullptr); };
  const json best = s.best_held_out
                        ? json{{"step", s.best_held_out->step}, {"loss", s.best_held_out->loss}}
                        : json();
  std::cout << json{{"finished", s.finished},
                    {"step", s.step},
                    {"tokens", s.tokens},
                    {"parameters", CountParameters(config)},
                    {"loss", s.loss},
                    {"held_out_loss", or_null(s.held_out)},
                    {"bits_per_byte", or_null(s.bits_per_byte)},
                    {"best_held_out", best},
                    {"tokens_per_second", s.tokens_per_second},
                    {"mfu", s.mfu},
                    {"rollbacks", s.rollbacks},
                    {"threads", ThreadCount()},
                    {"target", CurrentTarget()},
                    {"out", options.out},
                    {"peak_memory_mb", PeakMemoryMb()}}
                   .dump(2)
            << "\n";
}

void CheckArguments(const PretrainOptions& options) {
  if (options.must_resume && options.restart) {
    throw CLI::ValidationError("--resume", "and --restart contradict each other");
  }
  if (options.benchmark) return;
  if (options.data.empty()) throw CLI::RequiredError("--data");
  if (options.out.empty()) throw CLI::RequiredError("--out");
}

void AnnounceRun(const ModelConfig& config, const WindowSampler& data, const LoopOptions& loop) {
  const double tokens = static_cast<double>(loop.schedule.steps * loop.tokens_per_step());
  std::fprintf(stderr,
               "%.2fM parameters (hidden %d, %d layers, %d:%d heads, ffn %d, vocabulary %d); %.4gM "
               "tokens of data, "
               "%llu steps of %llu tokens = %.2f epochs; %d threads, %s, peak %.0f Gmac/s\n",
               CountParameters(config) / 1e6, config.hidden_size, config.num_hidden_layers,
               config.num_attention_heads, config.num_key_value_heads, config.intermediate_size,
               config.vocab_size, static_cast<double>(data.tokens()) / 1e6,
               static_cast<unsigned long long>(loop.schedule.steps),
               static_cast<unsigned long long>(loop.tokens_per_step()),
               tokens / static_cast<double>(data.tokens()), ThreadCount(), CurrentTarget().c_str(),
               loop.peak->macs_per_second() / 1e9);
}

void Train(const PretrainOptions& options, const CommonOptions& common) {
  RequireOneProcess("tern pretrain is for one: it has no way to share its work");
  std::vector<DataSource> sources;
  for (const std::string& text : options.data) sources.push_back(ParseDataSource(text));
  if (options.loop.sequence <= 0 || options.loop.batch <= 0) Validate(options.loop);  // throws
  const WindowSampler data(sources, options.loop.sequence, common.seed);
  std::unique_ptr<HeldOutSet> valid;
  if (!options.valid.empty()) {
    valid = std::make_unique<HeldOutSet>(options.valid, options.loop.sequence, options.loop.batch);
    data.CheckSameTokenizer(valid->file());
  }
  ModelConfig config = ResolveConfig(options, data.vocab_size());
  LoopOptions loop = ResolveLoop(options, config);
  const std::string run = options.run.empty() ? options.out + "/run" : options.run;
  AdoptTokenizer(options, data.tokenizer_hash(), config);
  const auto require_checkpoint = [&](bool there) {
    if (options.must_resume && !there)
      throw NotFound(run + ": no checkpoint to resume from; leave out --resume to start");
  };
  require_checkpoint(RunDirectory::HasCheckpoint(run));
  const BackboneOptions backbone_options = ResolveBackbone(options);
  RequireTrainingMemory(config, backbone_options);
  Backbone backbone(config, backbone_options);
  const auto begin = [&] {
    backbone.Initialise(common.seed);
    if (!options.init.empty()) ImportMasters(options.init, backbone);
  };
  const bool begins = options.restart || !RunDirectory::HasCheckpoint(run);
  if (begins) begin();
  GemmPeak peak(backbone_options.bfloat16);
  loop.peak = &peak;
  loop.stop = &g_stop;
  BackboneTrainable model(backbone);
  // Until here nothing was written: what was wrong so far leaves no trace.
  RunDirectory directory(run);
  require_checkpoint(directory.Newest().has_value());
  directory.SetTensorBoard(options.tensorboard);
  if (options.restart) directory.Clear();
  TrainingLoop trainer(model, data, valid.get(), loop, &directory,
                       RecordOptions(options, config, loop, data, common.seed));
  // Where another process has just removed the checkpoints, the run begins after all.
  if (!trainer.Resume(options.leniency) && !begins) begin();
  CopyTokenizer(options);
  AnnounceRun(config, data, loop);
  std::signal(SIGINT, RequestStop);
  std::signal(SIGTERM, RequestStop);
  const LoopSummary summary = trainer.Run();
  if (!options.html.empty()) WriteFileAtomically(options.html, TrainPage("tern pretrain", run));
  PrintSummary(summary, options, config, common.json);
}

}  // namespace

void AddPretrain(CLI::App& app, const CommonOptions& common) {
  auto options = std::make_shared<PretrainOptions>();
  CLI::App* command = app.add_subcommand("pretrain", "Trains a ternary backbone from packed text");
  BindPretrainOptions(*command, *options);
  command->callback([options, &common] {
    CheckArguments(*options);
    options->benchmark ? RunBenchmark(*options, common) : Train(*options, common);
  });
}

}  // namespace tern
