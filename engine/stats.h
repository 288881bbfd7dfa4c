// What a generation cost: the `timings` of every result.
#ifndef TERN_ENGINE_STATS_H_
#define TERN_ENGINE_STATS_H_

#include <array>
#include <cstdint>
#include <string>

#include "engine/token_tree.h"

namespace tern {

// Drafted tokens of one kind.
struct DraftCounts {
  int64_t drafted = 0, accepted = 0;
};

struct Timings {
  int32_t prompt_tokens = 0;
  int32_t cached_tokens = 0;    // of those, found in the cache instead of run through the model
  double prompt_seconds = 0.0;  // until the first token is sampled
  int32_t decode_tokens = 0;    // tokens after the first
  double decode_seconds = 0.0;
  double draft_seconds = 0.0;  // of those, spent on proposing drafts
  double plan_seconds = 0.0;   // of those, all but draft heads: look-up, and the choice of nodes
  int64_t steps = 0;           // passes of the backbone after the prompt
  int64_t verify_steps = 0;    // those that verified at least one drafted token
  int64_t drafted = 0;         // tokens verified, roots excluded
  int64_t accepted = 0;        // of those, tokens that became text
  // [DrafterIndex of a node's proposers]; they add up to `drafted` and `accepted`.
  std::array<DraftCounts, kDrafterNames.size()> by_drafter{};
  // [i] = verify steps that accepted a token at depth i + 1; they add up to `accepted`.
  std::array<int64_t, 64> accepted_at_depth{};
  int64_t screened = 0;            // tokens chosen, or tried, from bounds of the logits
  int64_t screen_fallbacks = 0;    // of those, what the bounds did not decide: took all logits
  int32_t threads = 0;             // that decoding had chosen at the end
  std::string draft_mode = "off";  // in force at the end: off, ngram, tree or chain
  // The LOSSY mode in which drafts were accepted, as TypicalAcceptance::Label; empty: lossless.
  std::string lossy;
  // Why drafting is off, empty where it is on or off was asked for; what is wrong with draft heads.
  std::string draft_reason;

  double prompt_tokens_per_second() const {
    return Rate(prompt_tokens - cached_tokens, prompt_seconds);
  }
  double decode_tokens_per_second() const { return Rate(decode_tokens, decode_seconds); }
  // Tokens emitted per verify step, accepted + 1 each; 1 where there was none.
  double acceptance_length() const {
    return verify_steps == 0
               ? 1.0
               : 1.0 + static_cast<double>(accepted) / static_cast<double>(verify_steps);
  }

 private:
  static double Rate(int32_t tokens, double seconds) {
    return seconds > 0.0 ? tokens / seconds : 0.0;
  }
};

}  // namespace tern

#endif  // TERN_ENGINE_STATS_H_
