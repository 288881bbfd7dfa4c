// `tern distill`: prompts in, the model's continuations with their hidden states out.
#include "trainer/distill.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/chat_template.h"
#include "engine/error.h"
#include "engine/generation_options.h"
#include "engine/hash.h"
#include "engine/medusa_heads.h"
#include "kernels/dispatch.h"
#include "tools/commands.h"
#include "tools/distill_remote.h"
#include "tools/distill_report.h"
#include "tools/http_request.h"
#include "tools/model_path.h"
#include "trainer/distill_prompts.h"
#include "trainer/prompt_file.h"

namespace tern {
namespace {

struct DistillArguments {
  std::string prompts, out;
  DistillOptions distill;
  uint64_t limit = 0;
  double shard_mb = 16;
  bool chat = false, raw = false;
  bool no_hidden = false, any_disk = false;
  int32_t teacher_top_k = 0;
  CompletionServer server;
};

ConversationUse UseOf(const DistillArguments& arguments) {
  if (arguments.raw) return ConversationUse::kRaw;
  return arguments.chat ? ConversationUse::kAllAnswers : ConversationUse::kFirstAnswer;
}

std::string HashOf(std::span<const DistillPrompt> prompts) {
  uint64_t hash = 0;
  for (const DistillPrompt& prompt : prompts) {
    hash = HashBytes(std::as_bytes(std::span(prompt.tokens)), hash);
    for (const std::vector<TokenId>& reply : prompt.replies)
      hash = HashBytes(std::as_bytes(std::span(reply)), hash);
  }
  return HashName(hash);
}

// The shards depend on these and on nothing else.
HiddenCacheInfo PlanCache(const DistillArguments& arguments, const Model& model,
                          std::span<const DistillPrompt> prompts) {
  HiddenCacheInfo info;
  info.backbone_fingerprint = BackboneFingerprint(model);
  info.hidden_size = model.config.hidden_size;
  info.vocab_size = model.config.vocab_size;
  info.planned_sequences = prompts.size();
  info.hidden_stored = !arguments.no_hidden;
  info.teacher_top_k = arguments.teacher_top_k;
  const SamplingOptions& sampling = arguments.distill.sampling;
  info.made_by = {{"prompts", HashOf(prompts)},
                  {"--max-tokens", arguments.distill.max_tokens},
                  {"--temperature", sampling.temperature},
                  {"--top-p", sampling.top_p},
                  {"--seed", sampling.seed},
                  {"--shard-mb", arguments.shard_mb},
                  {"--max-isa", CurrentTarget()}};  // bits are promised within one target
  // Only where it is not what all caches once were: those keep resuming.
  if (arguments.distill.kv_type == KvType::kInt8) info.made_by["--kv-type"] = "int8";
  if (arguments.chat) info.made_by["--chat"] = true;
  if (!arguments.server.url.empty()) {
    info.made_by["--url"] = arguments.server.url;
    info.made_by["--url-model"] = arguments.server.model;
  }
  return info;
}

// Before anything is written: texts as long as those so far, or the longest that they can get.
void RequireDisk(const DistillArguments& arguments, const HiddenCacheInfo& plan,
                 std::span<const DistillPrompt> prompts, const ModelConfig& config) {
  HiddenCacheInfo begun;
  if (std::filesystem::exists(HiddenManifestPath(arguments.out)))
    begun = ReadHiddenCacheInfo(arguments.out);
  const uint64_t done = begun.sequences(), all = prompts.size();
  const uint64_t tokens = done == 0 ? MostTokens(prompts, arguments.distill.max_tokens, config)
                                    : begun.tokens() / done * (all - std::min(all, done));
  RequireDistillDisk(arguments.out, plan, tokens);
}

CompletionServer ReachServer(CompletionServer server) {
  server.key = EnvironmentVariable("OPENAI_API_KEY");
  CompletionClient client(std::move(server));
  client.ChooseModel();
  return client.server();
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
  const std::vector<Prompt> lines = ReadPrompts(arguments.prompts, arguments.limit);
  const std::vector<DistillPrompt> prompts =
      EncodePrompts(model.config, *tokenizer, ChatTemplate::Load(dir), lines, UseOf(arguments));
  if (!arguments.server.url.empty()) arguments.server = ReachServer(arguments.server);
  const HiddenCacheInfo plan = PlanCache(arguments, model, prompts);
  if (!arguments.any_disk) RequireDisk(arguments, plan, prompts, model.config);
  HiddenCacheWriter writer(arguments.out, plan,
                           static_cast<uint64_t>(arguments.shard_mb * 1048576));
  const uint64_t first = writer.sequences();
  if (first == prompts.size()) {
    std::fprintf(stderr, "%s: all %zu prompts are there\n", arguments.out.c_str(), prompts.size());
  } else if (first > 0) {
    std::fprintf(stderr, "%s: going on at prompt %llu of %zu\n", arguments.out.c_str(),
                 static_cast<unsigned long long>(first + 1), prompts.size());
  }
  DistillProgress progress(writer, prompts.size());
  const auto on_text = [&](const DistillCounts& now) { progress.Update(now); };
  const DistillCounts counts =
      arguments.server.url.empty()
          ? Distill(model, *tokenizer, prompts, arguments.distill, writer, on_text)
          : DistillRemote(arguments.server, model, *tokenizer, {lines, prompts, UseOf(arguments)},
                          arguments.distill, writer, on_text);
  PrintDistillResult({arguments.out, writer.info(), counts, first}, common.json);
}

void BindFiles(CLI::App& command, DistillArguments& arguments) {
  command
      .add_option("--prompts", arguments.prompts,
                  "File of prompts: JSONL of texts or of conversations (OpenAI messages, ShareGPT, "
                  "Alpaca, MT-bench), or plain text with one a line")
      ->required();
  command
      .add_option("--out", arguments.out,
                  "Directory of the data; a run that was stopped goes on where it was")
      ->required();
  command.add_option("--limit", arguments.limit, "Prompts to use at most; 0 = all")
      ->capture_default_str();
}

void BindTexts(CLI::App& command, DistillArguments& arguments) {
  DistillOptions& distill = arguments.distill;
  CLI::Option* chat = command.add_flag(
      "--chat", arguments.chat, "Answer every turn of a conversation; else the first one only");
  command
      .add_flag("--raw", arguments.raw,
                "Continue a conversation's first message as it stands, without chat template")
      ->excludes(chat);
  command.add_option("--max-tokens", distill.max_tokens, "Tokens to write for each answer at most")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command
      .add_option("--temperature", distill.sampling.temperature,
                  "0 takes the most probable token; 1 samples")
      ->capture_default_str();
  command.add_option("--top-p", distill.sampling.top_p, "Sample from this share of probability")
      ->capture_default_str();
  command
      .add_option("--parallel", distill.parallel,
                  "Texts that are written at once, or requests to --url; no text depends on it")
      ->check(CLI::Range(1, kMaxRows))
      ->capture_default_str();
}

void BindStorage(CLI::App& command, DistillArguments& arguments) {
  command.add_flag("--no-hidden", arguments.no_hidden,
                   "Store no hidden states: tern train then computes them");
  command
      .add_option("--teacher-top-k", arguments.teacher_top_k,
                  "Store the probabilities of so many tokens in place of each; 0 = none")
      ->check(CLI::Range(0, kMaxLogprobs))
      ->capture_default_str();
  command
      .add_option("--shard-mb", arguments.shard_mb,
                  "Hidden states of one file, stored or not; what stopping loses at most")
      ->check(CLI::Range(0.001, 1e6))
      ->capture_default_str();
  command.add_flag("--any-disk", arguments.any_disk,
                   "Begin also where the disk has no room for the longest texts");
}

void BindServer(CLI::App& command, DistillArguments& arguments) {
  CLI::Option* url = command.add_option(
      "--url", arguments.server.url,
      "Take the texts from this server of OpenAI's API instead, as http://host:port/v1; its key is "
      "OPENAI_API_KEY. Hidden states are the local model's");
  command.add_option("--url-model", arguments.server.model, "Its model; else the first it lists")
      ->needs(url);
  command.add_option("--url-retries", arguments.server.retries, "Of a request that failed")
      ->needs(url)
      ->check(CLI::Range(0, 1000))
      ->capture_default_str();
}

}  // namespace

void AddDistill(CLI::App& app, const CommonOptions& common) {
  auto arguments = std::make_shared<DistillArguments>();
  CLI::App* command = app.add_subcommand(
      "distill", "Continues prompts and keeps tokens and hidden states, to train draft heads on");
  BindFiles(*command, *arguments);
  BindTexts(*command, *arguments);
  BindStorage(*command, *arguments);
  BindServer(*command, *arguments);
  command->callback([arguments, &common] { RunDistill(*arguments, common); });
}

}  // namespace tern
