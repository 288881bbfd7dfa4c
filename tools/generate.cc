// `tern generate`: text from a prompt.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "engine/atomic_file.h"
#include "engine/draft_heads.h"
#include "engine/error.h"
#include "engine/generator.h"
#include "engine/model.h"
#include "engine/token_grammar.h"
#include "engine/tokenizer.h"
#include "tools/commands.h"
#include "tools/cost_table_flag.h"
#include "tools/generation_flags.h"
#include "tools/heads.h"
#include "tools/json_output.h"
#include "tools/model_path.h"
#include "tools/text_output.h"

namespace tern {
namespace {

using Json = nlohmann::ordered_json;

struct GenerateOptions {
  std::string prompt, prompt_file;
  bool has_prompt = false;
  GenerationFlags flags;
  JsonOutput output;
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

std::shared_ptr<const TokenGrammar> OverTokens(Grammar grammar, const ModelConfig& config,
                                               const Tokenizer& tokenizer) {
  return std::make_shared<TokenGrammar>(
      std::move(grammar),
      std::make_shared<TokenTrie>(tokenizer, EosTokens(config, tokenizer), config.vocab_size));
}

void RunGenerate(const GenerateOptions& options, const CommonOptions& common) {
  GenerationOptions generation = options.flags.Checked(common);
  const std::string prompt = ReadPrompt(options);
  if (prompt.empty()) throw InvalidArgument("prompt is empty, expected at least one character");
  std::optional<Grammar> grammar = options.output.Read();
  const std::string dir = ResolveModel(common.model);
  const std::unique_ptr<Tokenizer> tokenizer = LoadTokenizer(dir);
  const Model model = LoadForDecoding(dir, common);
  const std::vector<TokenId> ids = EncodePrompt(model.config, *tokenizer, prompt);
  if (grammar) generation.grammar = OverTokens(std::move(*grammar), model.config, *tokenizer);
  // No more cache than this text can fill.
  const int64_t wanted = static_cast<int64_t>(ids.size()) + generation.max_tokens;
  GeneratorLimits limits;
  limits.max_context =
      static_cast<int32_t>(std::min<int64_t>(wanted, model.config.max_position_embeddings));
  limits.max_rows = generation.max_rows;
  limits.kv_type = common.Kv();
  limits.costs = CostTableAt(options.flags.cost_table);
  limits.prefill_chunk = static_cast<int32_t>(std::min<int64_t>(generation.prefill_chunk, wanted));
  const std::shared_ptr<const MedusaHeads> heads = HeadsFor(common, dir, model);
  Generator generator(model, *tokenizer, limits, MakeDrafters(model, heads, limits.max_rows));
  if (common.json) {
    const Json json = GenerationJson(*tokenizer, generation, generator.Generate(ids, generation));
    std::cout << json.dump(2, ' ', false, Json::error_handler_t::replace) << std::endl;
    return;
  }
  const GenerationResult result = generator.Generate(ids, generation, PrintPiece);
  PrintPiece("\n");
  PrintSummary(result);
}

}  // namespace

void AddGenerate(CLI::App& app, const CommonOptions& common) {
  auto options = std::make_shared<GenerateOptions>();
  CLI::App* command = app.add_subcommand("generate", "Writes text that continues a prompt");
  CLI::Option* prompt =
      command->add_option("--prompt", options->prompt, "The prompt (default: standard input)");
  command->add_option("--prompt-file", options->prompt_file, "A file with the prompt")
      ->excludes(prompt);
  AddGenerationOptions(*command, options->flags);
  AddJsonOutputOptions(*command, options->output);
  command->callback([options, prompt, &common] {
    options->has_prompt = prompt->count() > 0;
    RunGenerate(*options, common);
  });
}

}  // namespace tern
