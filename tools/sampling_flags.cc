#include "tools/sampling_flags.h"

#include <CLI/CLI.hpp>
#include <vector>

namespace tern {

void AddSamplingOptions(CLI::App& command, SamplingOptions& sampling) {
  command
      .add_option("--temperature", sampling.temperature,
                  "0 takes the most probable token; 1 samples")
      ->capture_default_str();
  command.add_option("--top-k", sampling.top_k, "Sample from the K most probable tokens; 0 = all")
      ->capture_default_str();
  command
      .add_option("--top-p", sampling.top_p,
                  "Sample from the smallest set of tokens with this probability")
      ->capture_default_str();
  command
      .add_option("--min-p", sampling.min_p,
                  "Drop tokens below this share of the best one's probability")
      ->capture_default_str();
  command
      .add_option("--repetition-penalty", sampling.repetition_penalty,
                  "Divides the logits of tokens in prompt and text; 1 = off")
      ->capture_default_str();
  command
      .add_option("--frequency-penalty", sampling.frequency_penalty,
                  "Subtracted from a token's logit each time the text has it")
      ->capture_default_str();
  command
      .add_option("--presence-penalty", sampling.presence_penalty,
                  "Subtracted from the logits of tokens that the text has")
      ->capture_default_str();
}

void AddTypicalOption(CLI::App& command, TypicalAcceptance& typical) {
  command
      .add_option_function<std::vector<float>>(
          "--lossy-typical",
          [&typical](const std::vector<float>& values) {
            typical.epsilon = values[0];
            typical.delta = values.size() > 1 ? values[1] : 0.0f;
          },
          "LOSSY: accept drafted tokens of p > min(E, D * exp(-entropy)) as well, Medusa's\n"
          "typical acceptance, e.g. 0.09,0.3 (D: sqrt(E)). The text is not plain decoding's\n"
          "and depends on what is drafted, with --draft auto and ngram also on time; needs a\n"
          "--temperature")
      ->type_name("E[,D]")
      ->delimiter(',')
      ->expected(1, 2);
}

}  // namespace tern
