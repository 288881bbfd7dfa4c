#include "tools/generation_flags.h"

#include <CLI/CLI.hpp>

#include "engine/error.h"
#include "tools/cost_table_flag.h"
#include "tools/sampling_flags.h"

namespace tern {

GenerationOptions GenerationFlags::Checked(const CommonOptions& common) const {
  GenerationOptions checked = generation;
  checked.sampling.seed = common.seed;
  checked.draft = ParseDraftMode(draft);
  try {
    checked.Validate();
  } catch (const Error& error) {
    throw CLI::ValidationError(error.what());
  }
  return checked;
}

void AddGenerationOptions(CLI::App& command, GenerationFlags& flags) {
  GenerationOptions& generation = flags.generation;
  command.add_option("--max-tokens", generation.max_tokens, "Tokens to write at most")
      ->capture_default_str();
  AddSamplingOptions(command, generation.sampling);
  AddTypicalOption(command, generation.typical);
  command
      .add_option("--stop", generation.stops, "Ends the text before this string; may be repeated")
      ->allow_extra_args(false);
  command.add_flag("--ignore-eos", generation.ignore_eos, "Go on after an end-of-sequence token");
  command.add_option(
      "--logprobs", generation.logprobs,
      "With --json: log-probabilities of each token and of the N most probable ones");
  command
      .add_option("--draft", flags.draft,
                  "How tokens are drafted; the text never depends on it (but with --lossy-typical)")
      ->check(CLI::IsMember({"auto", "tree", "chain", "ngram", "off"}))
      ->capture_default_str();
  AddCostTable(command, flags.cost_table);
  command.add_option("--max-rows", generation.max_rows, "Rows of one verification at most")
      ->capture_default_str();
  command.add_option("--prefill-chunk", generation.prefill_chunk, "Prompt tokens per pass")
      ->capture_default_str();
}

}  // namespace tern
