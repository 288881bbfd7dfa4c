// `tern generate`: text from a prompt.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>

#include "engine/atomic_file.h"
#include "engine/draft_heads.h"
#include "engine/error.h"
#include "engine/generator.h"
#include "engine/model.h"
#include "engine/tokenizer.h"
#include "server/response_codec.h"
#include "tools/commands.h"
#include "tools/cost_table_flag.h"
#include "tools/heads.h"
#include "tools/model_path.h"
#include "tools/report.h"
#include "tools/sampling_flags.h"

namespace tern {
namespace {

using Json = nlohmann::ordered_json;

struct GenerateOptions {
  std::string prompt, prompt_file;
  bool has_prompt = false;
  std::string draft = "auto", cost_table;
  GenerationOptions generation;
};

// A file or a pipe ends with a line feed that is not meant as text.
std::string WithoutFinalNewline(std::string text) {
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

std::string ReadPrompt(const GenerateOptions& options) {
  if (options.has_prompt) return options.prompt;
  if (!options.prompt_file.empty()) return WithoutFinalNewline(ReadFile(options.prompt_file));
  if (isatty(STDIN_FILENO) != 0) std::fputs("Prompt, ended by Ctrl-D:\n", stderr);
  return WithoutFinalNewline({std::istreambuf_iterator<char>(std::cin), {}});
}

// The text one token adds; bytes that are not UTF-8 alone are replaced when the JSON is written.
std::string PieceText(const Tokenizer& tokenizer, TokenId token) {
  return token < tokenizer.vocab_size() ? std::string(tokenizer.PieceBytes(token)) : std::string();
}

Json LogprobJson(const Tokenizer& tokenizer, const TokenLogprob& entry) {
  return {{"id", entry.token},
          {"token", PieceText(tokenizer, entry.token)},
          {"logprob", entry.logprob}};
}

Json LogprobsJson(const Tokenizer& tokenizer, const GenerationResult& result, int32_t top_count) {
  Json list = Json::array();
  for (size_t i = 0; i < result.token_ids.size(); ++i) {
    Json entry = LogprobJson(tokenizer, {result.token_ids[i], result.logprobs[i]});
    Json& top = entry["top_logprobs"] = Json::array();
    for (size_t j = 0; j < static_cast<size_t>(top_count); ++j) {
      top.push_back(
          LogprobJson(tokenizer, result.top_logprobs[i * static_cast<size_t>(top_count) + j]));
    }
    list.push_back(std::move(entry));
  }
  return list;
}

void PrintJson(const Tokenizer& tokenizer, const GenerationOptions& options,
               const GenerationResult& result) {
  const size_t completion = result.token_ids.size();
  const size_t prompt = static_cast<size_t>(result.timings.prompt_tokens);
  Json json = {{"text", result.text},
               {"token_ids", result.token_ids},
               {"finish_reason", ToString(result.finish_reason)},
               {"usage",
                {{"prompt_tokens", prompt},
                 {"completion_tokens", completion},
                 {"total_tokens", prompt + completion}}},
               {"timings", TimingsJson(result.timings)},
               {"memory", {{"peak_resident_mb", PeakMemoryMb()}}},
               {"peak_memory_mb", PeakMemoryMb()}};
  if (options.logprobs >= 0) json["logprobs"] = LogprobsJson(tokenizer, result, options.logprobs);
  std::cout << json.dump(2, ' ', false, Json::error_handler_t::replace) << std::endl;
}

// Text as it comes. Throws where stdout does not take it: a full disk ends the work at once.
void PrintPiece(std::string_view piece) {
  if (std::fwrite(piece.data(), 1, piece.size(), stdout) == piece.size() &&
      std::fflush(stdout) == 0) {
    return;
  }
  throw std::runtime_error("stdout: cannot write the text: " + std::string(std::strerror(errno)) +
                           "; free some space or write elsewhere");
}

void PrintSummary(const GenerationResult& result) {
  const Timings& t = result.timings;
  std::fprintf(stderr, "%d prompt tokens at %.1f/s, %zu tokens at %.1f/s (%s), draft %s",
               t.prompt_tokens, t.prompt_tokens_per_second(), result.token_ids.size(),
               t.decode_tokens_per_second(), std::string(ToString(result.finish_reason)).c_str(),
               t.draft_mode.c_str());
  if (t.verify_steps > 0)
    std::fprintf(stderr, ", %.2f tokens per verify step", t.acceptance_length());
  if (!t.lossy.empty()) std::fprintf(stderr, ", LOSSY: %s", t.lossy.c_str());
  if (!t.draft_reason.empty()) std::fprintf(stderr, " (%s)", t.draft_reason.c_str());
  std::fputc('\n', stderr);
}

void CheckUsage(GenerateOptions& options, const CommonOptions& common) {
  options.generation.sampling.seed = common.seed;
  options.generation.draft = ParseDraftMode(options.draft);
  try {
    options.generation.Validate();
  } catch (const Error& error) {
    throw CLI::ValidationError(error.what());
  }
}

void RunGenerate(GenerateOptions& options, const CommonOptions& common) {
  CheckUsage(options, common);
  const std::string prompt = ReadPrompt(options);
  if (prompt.empty()) throw InvalidArgument("prompt is empty, expected at least one character");
  const std::string dir = ResolveModel(common.model);
  const std::unique_ptr<Tokenizer> tokenizer = LoadTokenizer(dir);
  const Model model = LoadForDecoding(dir, common);
  const std::vector<TokenId> ids = EncodePrompt(model.config, *tokenizer, prompt);
  const GenerationOptions& generation = options.generation;
  // No more cache than this text can fill.
  const int64_t wanted = static_cast<int64_t>(ids.size()) + generation.max_tokens;
  GeneratorLimits limits;
  limits.max_context =
      static_cast<int32_t>(std::min<int64_t>(wanted, model.config.max_position_embeddings));
  limits.max_rows = generation.max_rows;
  limits.kv_type = common.Kv();
  limits.costs = CostTableAt(options.cost_table);
  limits.prefill_chunk = static_cast<int32_t>(std::min<int64_t>(generation.prefill_chunk, wanted));
  const std::shared_ptr<const MedusaHeads> heads = HeadsFor(common, dir, model);
  Generator generator(model, *tokenizer, limits, MakeDrafters(model, heads, limits.max_rows));
  if (common.json) {
    PrintJson(*tokenizer, generation, generator.Generate(ids, generation));
    return;
  }
  const GenerationResult result = generator.Generate(ids, generation, PrintPiece);
  PrintPiece("\n");
  PrintSummary(result);
}

}  // namespace

void AddGenerate(CLI::App& app, const CommonOptions& common) {
  auto options = std::make_shared<GenerateOptions>();
  GenerationOptions& generation = options->generation;
  CLI::App* command = app.add_subcommand("generate", "Writes text that continues a prompt");
  CLI::Option* prompt =
      command->add_option("--prompt", options->prompt, "The prompt (default: standard input)");
  command->add_option("--prompt-file", options->prompt_file, "A file with the prompt")
      ->excludes(prompt);
  command->add_option("--max-tokens", generation.max_tokens, "Tokens to write at most")
      ->capture_default_str();
  AddSamplingOptions(*command, generation.sampling);
  AddTypicalOption(*command, generation.typical);
  command
      ->add_option("--stop", generation.stops, "Ends the text before this string; may be repeated")
      ->allow_extra_args(false);
  command->add_flag("--ignore-eos", generation.ignore_eos, "Go on after an end-of-sequence token");
  command->add_option(
      "--logprobs", generation.logprobs,
      "With --json: log-probabilities of each token and of the N most probable ones");
  command
      ->add_option(
          "--draft", options->draft,
          "How tokens are drafted; the text never depends on it (but with --lossy-typical)")
      ->check(CLI::IsMember({"auto", "tree", "chain", "ngram", "off"}))
      ->capture_default_str();
  AddCostTable(*command, options->cost_table);
  command->add_option("--max-rows", generation.max_rows, "Rows of one verification at most")
      ->capture_default_str();
  command->add_option("--prefill-chunk", generation.prefill_chunk, "Prompt tokens per pass")
      ->capture_default_str();
  command->callback([options, prompt, &common] {
    options->has_prompt = prompt->count() > 0;
    RunGenerate(*options, common);
  });
}

}  // namespace tern
