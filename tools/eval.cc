// `tern eval`: what draft heads are worth on given prompts, or a model's perplexity on a text.
#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <iostream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/atomic_file.h"
#include "engine/error.h"
#include "engine/generator.h"
#include "engine/model.h"
#include "engine/tokenizer.h"
#include "kernels/parallel.h"
#include "tools/commands.h"
#include "tools/cost_table_flag.h"
#include "tools/documents.h"
#include "tools/eval_calibration.h"
#include "tools/eval_page.h"
#include "tools/heads.h"
#include "tools/machine.h"
#include "tools/model_path.h"
#include "tools/output_guard.h"
#include "tools/report.h"
#include "tools/sampling_flags.h"
#include "trainer/acceptance.h"
#include "trainer/head_rows.h"
#include "trainer/perplexity.h"
#include "trainer/prompt_file.h"

namespace tern {
namespace {

using Json = nlohmann::ordered_json;

struct EvalOptions {
  std::vector<std::string> prompts;
  std::string perplexity, html, draft = "auto";
  std::string cost_table;
  bool skip_long = false, write_calibration = false;
  double held_out = 1.0;
  size_t limit = 0;
  int32_t context = 0;
  AcceptanceOptions acceptance;
};

void PrintShares(const char* name, const std::vector<double>& shares) {
  std::printf("%-24s", name);
  for (double share : shares) std::printf(" %5.1f%%", 100.0 * share);
  std::printf("%s\n", shares.empty() ? " none" : "");
}

void PrintSteps(const AcceptanceReport& report) {
  const StepSums& steps = report.figures.drafted();
  std::printf("%-24s %.2f, expected by the drafts' scores %.2f\n", "tokens per step",
              steps.tokens_per_step(), steps.expected_per_step());
  std::printf("%-24s", "accepted by drafter");
  const char* separator = " ";
  for (size_t i = 0; i < kDrafterNames.size(); ++i) {
    const NodeSums& nodes = report.figures.drafters()[i];
    std::printf("%s%s %lld of %lld", separator, kDrafterNames[i],
                static_cast<long long>(nodes.accepted), static_cast<long long>(nodes.nodes));
    separator = ", ";
  }
  std::printf("\n");
  if (report.tasks.size() < 2) return;
  for (const TaskFigures& task : report.tasks) {
    std::printf("  %-22s %.2f tokens per step, speed-up %.2f\n", task.name.c_str(),
                task.steps.tokens_per_step(), task.speedup);
  }
}

void PrintText(const AcceptanceReport& report) {
  std::printf("%-24s %lld, %lld tokens\n", "prompts", static_cast<long long>(report.prompts),
              static_cast<long long>(report.tokens));
  std::printf("%-24s %.1f\n", "plain tokens/s", report.plain_tokens_per_second);
  std::printf("%-24s %.1f\n", "speculative tokens/s", report.speculative_tokens_per_second);
  std::printf("%-24s %.2f (median of prompts %.2f)\n", "speed-up", report.speedup,
              report.median_speedup);
  std::printf("%-24s %.2f tokens per verify step\n", "acceptance length", report.acceptance_length);
  const StepSums& steps = report.figures.drafted();
  std::printf("%-24s %.1f%% of the time; look-up and planning %.2f%%\n", "drafting",
              100.0 * report.draft_share,
              steps.seconds > 0.0 ? 100.0 * steps.plan_seconds / steps.seconds : 0.0);
  PrintShares("accepted at depth 1, 2..", report.accepted_per_depth);
  PrintShares("right head 1, 2..", report.head_top1);
  PrintSteps(report);
  if (report.lossy.empty()) {
    std::printf("%-24s %s\n", "identical", report.identical ? "yes" : "no");
  } else {
    std::printf("%-24s %s: other texts than plain decoding's\n", "LOSSY", report.lossy.c_str());
  }
  if (report.switched_off > 0) {
    std::printf("%-24s at the end of %lld texts\n", "drafting off",
                static_cast<long long>(report.switched_off));
  }
}

void CheckUsage(EvalOptions& options, const CommonOptions& common) {
  GenerationOptions& generation = options.acceptance.generation;
  generation.sampling.seed = common.seed;
  generation.draft = ParseDraftMode(options.draft);
  try {
    generation.Validate();
  } catch (const Error& error) {
    throw CLI::ValidationError(error.what());
  }
}

// As `tern tokenize` packs them: every document between a beginning and an end of sequence, but for
// the beginning of the first.
std::vector<TokenId> EncodeDocuments(const Model& model, const Tokenizer& tokenizer,
                                     std::string_view file, int64_t* bytes) {
  std::vector<TokenId> ids;
  for (const Document& document : SplitDocuments(file, kDocumentSeparator)) {
    if (!ids.empty() && model.config.bos_token_id >= 0) ids.push_back(model.config.bos_token_id);
    const std::vector<TokenId> text = tokenizer.Encode(document.text);
    ids.insert(ids.end(), text.begin(), text.end());
    *bytes += static_cast<int64_t>(document.text.size());
    if (document.end != Document::End::kNone && tokenizer.eos() >= 0)
      ids.push_back(tokenizer.eos());
  }
  return ids;
}

void RunPerplexity(const EvalOptions& options, const CommonOptions& common) {
  const std::string file = ReadFile(options.perplexity);
  const std::string dir = ResolveModel(common.model);
  const std::unique_ptr<Tokenizer> tokenizer = LoadTokenizer(dir);
  const Model model = LoadForDecoding(dir, common);
  RequireTokenizerFits(model, *tokenizer);
  int64_t bytes = 0;
  const std::vector<TokenId> ids = EncodeDocuments(model, *tokenizer, file, &bytes);
  PerplexityReport report;
  {
    Progress progress("eval", "tokens", static_cast<double>(ids.size()));
    report = MeasurePerplexity(
        model, ids, bytes, options.context, common.Kv(),
        [&progress](int64_t done) { progress.Update(static_cast<double>(done)); });
  }
  const auto tokens = static_cast<double>(report.tokens);
  const double rate = tokens / report.seconds;
  if (common.json) {
    Json json = {{"tokens", report.tokens},           {"bytes", report.bytes},
                 {"context", report.context},         {"loss", report.loss()},
                 {"perplexity", report.perplexity()}, {"bits_per_byte", report.bits_per_byte()},
                 {"tokens_per_second", rate},         {"threads", ThreadCount()},
                 {"kv_type", common.kv_type},         {"peak_memory_mb", PeakMemoryMb()}};
    if (report.bf16.has_value()) {
      json["bf16_perplexity"] = std::exp(report.bf16->nats / tokens);
      json["same_best_as_bf16"] = static_cast<double>(report.bf16->same_best) / tokens;
    }
    std::cout << json.dump(2) << std::endl;
    return;
  }
  std::printf(
      "%lld tokens of %lld bytes, windows of %d: perplexity %.4f, %.4f nats per token, "
      "%.4f bits per byte, %.1f tokens/s\n",
      static_cast<long long>(report.tokens), static_cast<long long>(report.bytes), report.context,
      report.perplexity(), report.loss(), report.bits_per_byte(), rate);
  if (report.bf16.has_value()) {
    std::printf("with a bf16 cache: perplexity %.4f; the most probable token is the same %.2f%%\n",
                std::exp(report.bf16->nats / tokens),
                100.0 * static_cast<double>(report.bf16->same_best) / tokens);
  }
}

// Those that `tern train --held-out` sets aside where the model's texts begin with all of them.
std::vector<Prompt> HeldOut(const std::vector<Prompt>& prompts, double share) {
  const uint64_t all = prompts.size();
  std::vector<Prompt> some;
  for (uint64_t i = all - HeldOutTexts(all, share); i < all; ++i)
    some.push_back(prompts[TextInOrder(i, all)]);
  return some;
}

std::vector<Prompt> ReadAll(const EvalOptions& options) {
  std::vector<Prompt> all;
  for (const std::string& path : options.prompts) {
    std::vector<Prompt> prompts = ReadPrompts(path, options.limit);
    std::move(prompts.begin(), prompts.end(), std::back_inserter(all));
  }
  if (options.held_out < 1.0) return HeldOut(all, options.held_out);
  return all;
}

// How many had no room in the model's context.
int64_t SkipLong(const Model& model, const Tokenizer& tokenizer, std::vector<Prompt>& prompts) {
  const auto context = static_cast<size_t>(model.config.max_position_embeddings);
  const size_t before = prompts.size();
  std::erase_if(prompts, [&](const Prompt& prompt) {
    return EncodePrompt(model.config, tokenizer, prompt.text).size() >= context;
  });
  if (prompts.empty()) {
    throw InvalidArgument("eval: all " + std::to_string(before) + " prompts are longer than the " +
                          std::to_string(context - 1) +
                          " tokens this model takes; give shorter ones");
  }
  return static_cast<int64_t>(before - prompts.size());
}

std::string UtcNow() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  ::gmtime_r(&now, &utc);
  char text[32];
  return {text, std::strftime(text, sizeof(text), "%Y-%m-%d %H:%M UTC", &utc)};
}

void RunEval(EvalOptions& options, const CommonOptions& common) {
  if (options.prompts.empty() == options.perplexity.empty())
    throw CLI::RequiredError("one of --prompts and --perplexity");
  if (!options.perplexity.empty()) return RunPerplexity(options, common);
  CheckUsage(options, common);
  options.acceptance.kv_type = common.Kv();
  options.acceptance.costs = CostTableAt(options.cost_table);
  std::vector<Prompt> prompts = ReadAll(options);
  std::optional<AtomicFile> page;
  if (!options.html.empty()) {
    RequireNotInput(options.html, options.prompts, "--html");
    page.emplace(options.html);
  }
  const std::string dir = ResolveModel(common.model);
  const std::unique_ptr<Tokenizer> tokenizer = LoadTokenizer(dir);
  const Model model = LoadForDecoding(dir, common);
  if (options.write_calibration) {
    if (options.skip_long) SkipLong(model, *tokenizer, prompts);
    return WriteFittedCalibration(model, *tokenizer, dir, prompts,
                                  {.max_tokens = options.acceptance.generation.max_tokens,
                                   .seed = common.seed,
                                   .kv_type = common.Kv()},
                                  common);
  }
  const std::shared_ptr<const MedusaHeads> heads = HeadsFor(common, dir, model);
  EvalRun run{.model = dir,
              .cpu = ReadMachine().cpu,
              .date = UtcNow(),
              .heads = heads == nullptr ? 0 : heads->count,
              .threads = ThreadCount(),
              .generation = options.acceptance.generation};
  if (options.skip_long) run.skipped = SkipLong(model, *tokenizer, prompts);
  AcceptanceReport report;
  {
    Progress progress("eval", "prompts", static_cast<double>(prompts.size()));
    report =
        MeasureAcceptance(model, *tokenizer, heads, prompts, options.acceptance,
                          [&progress](size_t done) { progress.Update(static_cast<double>(done)); });
  }
  if (page) {
    page->Write(EvalPage(run, report));
    page->Commit();
  }
  if (common.json) {
    std::cout << EvalJson(run, report).dump(2, ' ', false, Json::error_handler_t::replace)
              << std::endl;
  } else {
    PrintText(report);
  }
  if (!report.identical) {
    throw Error(Error::Kind::kInternal, "eval: speculative text differs from plain text: " +
                                            report.difference + "; this is a defect of tern");
  }
}

}  // namespace

void AddEval(CLI::App& app, const CommonOptions& common) {
  auto options = std::make_shared<EvalOptions>();
  GenerationOptions& generation = options->acceptance.generation;
  generation.max_tokens = 128;
  CLI::App* command = app.add_subcommand("eval",
                                         "Compares plain and speculative decoding: acceptance, "
                                         "speed, identical text; or measures perplexity");
  command->add_option("--prompts", options->prompts,
                      "JSONL (prompt, text, turns or messages) or one prompt a line; may be given\n"
                      "again: each file is a task, unless its lines name theirs (task, category)");
  command->add_option("--html", options->html, "Write the figures also as one page with charts");
  command->add_flag("--skip-long", options->skip_long,
                    "Leave out prompts that the model's context has no room for");
  command->add_option(
      "--perplexity", options->perplexity,
      "Measure how well the model predicts this text file instead (documents end with\n"
      "a line <|endoftext|>)");
  command
      ->add_option("--context", options->context,
                   "Tokens of a window of --perplexity; 0 = the model's context, at most 512")
      ->capture_default_str();
  command->add_option("--limit", options->limit, "Use the first N prompts of each file; 0 = all")
      ->capture_default_str();
  command
      ->add_option("--held-out", options->held_out,
                   "Use only the share of the prompts that tern train with this --held-out sets\n"
                   "aside from texts distilled from them; 1 = all")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  command->add_flag("--write-calibration", options->write_calibration,
                    "Instead, fit how far the heads' probabilities are to be believed, at greedy\n"
                    "and sampled temperatures, and store it beside them (tern_calibration.json).\n"
                    "Take prompts that the heads were not trained on");
  AddCostTable(*command, options->cost_table);
  command->add_option("--max-tokens", generation.max_tokens, "Tokens to write at most per prompt")
      ->capture_default_str();
  command->add_option("--repeats", options->acceptance.repeats, "Timed runs of each prompt")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  AddSamplingOptions(*command, generation.sampling);
  AddTypicalOption(*command, generation.typical);
  command->add_flag("--ignore-eos", generation.ignore_eos, "Go on after an end-of-sequence token");
  command->add_option("--draft", options->draft, "How the speculative texts are drafted")
      ->check(CLI::IsMember({"auto", "tree", "chain", "ngram", "off"}))
      ->capture_default_str();
  command->add_option("--max-rows", generation.max_rows, "Rows of one verification at most")
      ->capture_default_str();
  command->callback([options, &common] { RunEval(*options, common); });
}

}  // namespace tern
