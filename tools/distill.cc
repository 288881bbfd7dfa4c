// `tern distill`: prompts in, the model's continuations with their hidden states out.
#include "trainer/distill.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/atomic_file.h"
#include "engine/error.h"
#include "engine/generator.h"
#include "engine/hash.h"
#include "engine/medusa_heads.h"
#include "kernels/dispatch.h"
#include "tools/commands.h"
#include "tools/model_path.h"
#include "tools/report.h"
#include "trainer/prompt_file.h"

namespace tern {
namespace {

using Json = nlohmann::ordered_json;

struct DistillArguments {
  std::string prompts, out;
  DistillOptions distill;
  uint64_t limit = 0;
  double shard_mb = 16;
};

std::vector<std::vector<TokenId>> EncodePrompts(const DistillArguments& arguments,
                                                const ModelConfig& config,
                                                const Tokenizer& tokenizer) {
  std::vector<std::vector<TokenId>> encoded;
  for (const Prompt& prompt : ReadPrompts(arguments.prompts, arguments.limit)) {
    std::vector<TokenId> ids = EncodePrompt(config, tokenizer, prompt.text);
    if (ids.size() >= static_cast<size_t>(config.max_position_embeddings)) {
      throw BadFile(
          {arguments.prompts + ":" + std::to_string(prompt.line), "prompt too long",
           "fewer tokens than the context's " + std::to_string(config.max_position_embeddings),
           std::to_string(ids.size()), "shorten the prompt"});
    }
    encoded.push_back(std::move(ids));
  }
  return encoded;
}

// The shards depend on these and on nothing else.
HiddenCacheInfo PlanCache(const DistillArguments& arguments, const Model& model,
                          const std::vector<std::vector<TokenId>>& prompts) {
  uint64_t hash = 0;
  for (const std::vector<TokenId>& prompt : prompts)
    hash = HashBytes(std::as_bytes(std::span(prompt)), hash);
  HiddenCacheInfo info;
  info.backbone_fingerprint = BackboneFingerprint(model);
  info.hidden_size = model.config.hidden_size;
  info.vocab_size = model.config.vocab_size;
  info.planned_sequences = prompts.size();
  const SamplingOptions& sampling = arguments.distill.sampling;
  info.made_by = {{"prompts", HashName(hash)},
                  {"--max-tokens", arguments.distill.max_tokens},
                  {"--temperature", sampling.temperature},
                  {"--top-p", sampling.top_p},
                  {"--seed", sampling.seed},
                  {"--shard-mb", arguments.shard_mb},
                  {"--max-isa", CurrentTarget()}};  // bits are promised within one target
  // Only where it is not what all caches once were: those keep resuming.
  if (arguments.distill.kv_type == KvType::kInt8) info.made_by["--kv-type"] = "int8";
  return info;
}

void PrintResult(const HiddenCacheInfo& info, const DistillCounts& counts, uint64_t first,
                 const DistillArguments& arguments, bool as_json) {
  const double rate =
      counts.seconds > 0 ? static_cast<double>(counts.generated_tokens) / counts.seconds : 0;
  if (!as_json) {
    std::fprintf(stderr, "%llu prompts, %llu tokens in %zu shards; this run: %.1f tokens/s\n",
                 static_cast<unsigned long long>(info.sequences()),
                 static_cast<unsigned long long>(info.tokens()), info.shards.size(), rate);
    std::printf("%s\n", arguments.out.c_str());
    return;
  }
  std::cout << Json{{"out", arguments.out},
                    {"prompts", info.sequences()},
                    {"tokens", info.tokens()},
                    {"shards", info.shards.size()},
                    {"hidden_size", info.hidden_size},
                    {"resumed_at", first},
                    {"generated_tokens", counts.generated_tokens},
                    {"tokens_per_second", rate},
                    {"seconds", counts.seconds},
                    {"peak_memory_mb", PeakMemoryMb()}}
                   .dump(2)
            << "\n";
}

void RunDistill(DistillArguments& arguments, const CommonOptions& common) {
  arguments.distill.sampling.seed = common.seed;
  arguments.distill.kv_type = common.Kv();
  try {
    arguments.distill.sampling.Validate();
  } catch (const Error& error) {
    throw CLI::ValidationError(error.what());
  }
  const std::string dir = ResolveModel(common.model);
  const std::unique_ptr<Tokenizer> tokenizer = LoadTokenizer(dir);
  const Model model = LoadModel(dir, common.I2s());
  const auto prompts = EncodePrompts(arguments, model.config, *tokenizer);
  HiddenCacheWriter writer(arguments.out, PlanCache(arguments, model, prompts),
                           static_cast<uint64_t>(arguments.shard_mb * 1048576));
  const uint64_t first = writer.sequences();
  if (first == prompts.size()) {
    std::fprintf(stderr, "%s: all %zu prompts are there\n", arguments.out.c_str(), prompts.size());
  } else if (first > 0) {
    std::fprintf(stderr, "%s: going on at prompt %llu of %zu\n", arguments.out.c_str(),
                 static_cast<unsigned long long>(first + 1), prompts.size());
  }
  Progress progress("distilling", "prompts", static_cast<double>(prompts.size()),
                    static_cast<double>(first));
  const DistillCounts counts =
      Distill(model, *tokenizer, prompts, arguments.distill, writer, [&](const DistillCounts& now) {
        char note[48];
        std::snprintf(note, sizeof(note), "%.1f tokens/s",
                      static_cast<double>(now.generated_tokens) / now.seconds);
        progress.Update(static_cast<double>(now.prompts), note);
      });
  PrintResult(writer.info(), counts, first, arguments, common.json);
}

}  // namespace

void AddDistill(CLI::App& app, const CommonOptions& common) {
  auto arguments = std::make_shared<DistillArguments>();
  DistillOptions& distill = arguments->distill;
  CLI::App* command = app.add_subcommand(
      "distill", "Continues prompts and keeps tokens and hidden states, to train draft heads on");
  command
      ->add_option("--prompts", arguments->prompts,
                   "File of prompts: JSONL, or plain text with one a line")
      ->required();
  command
      ->add_option("--out", arguments->out,
                   "Directory of the data; a run that was stopped goes on where it was")
      ->required();
  command->add_option("--max-tokens", distill.max_tokens, "Tokens to write for each prompt at most")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command
      ->add_option("--temperature", distill.sampling.temperature,
                   "0 takes the most probable token; 1 samples")
      ->capture_default_str();
  command->add_option("--top-p", distill.sampling.top_p, "Sample from this share of probability")
      ->capture_default_str();
  command
      ->add_option("--parallel", distill.parallel,
                   "Texts that are written at once; no text depends on it")
      ->check(CLI::Range(1, kMaxRows))
      ->capture_default_str();
  command->add_option("--limit", arguments->limit, "Prompts to use at most; 0 = all")
      ->capture_default_str();
  command
      ->add_option("--shard-mb", arguments->shard_mb,
                   "Hidden states of one file; what stopping loses at most")
      ->check(CLI::Range(0.001, 1e6))
      ->capture_default_str();
  command->callback([arguments, &common] { RunDistill(*arguments, common); });
}

}  // namespace tern
