// What one request for text may ask, with defaults.
#ifndef TERN_ENGINE_GENERATION_OPTIONS_H_
#define TERN_ENGINE_GENERATION_OPTIONS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/sampler.h"
#include "engine/typical_acceptance.h"

namespace tern {

class TokenGrammar;  // engine/token_grammar.h

// How drafted tokens are proposed and how many are verified at once. The text never depends on it
// (but for GenerationOptions::typical).
enum class DraftMode {
  kAuto,  // whatever drafter there is, as a tree of the best nodes; off while measured to be slower
          // than none
  kTree,  // whatever drafter there is, in the fixed shape StaticTopology(max_rows)
  kChain,  // whatever drafter there is, one path
  kNgram,  // n-gram look-up only, as a tree of the best nodes
  kOff,    // one token a step
};
std::string_view ToString(DraftMode mode);
// Throws Error(kInvalidArgument) listing the names.
DraftMode ParseDraftMode(std::string_view name);

struct GenerationOptions {
  SamplingOptions sampling;
  int32_t max_tokens = 256;  // tokens to write at most, >= 1; the context ends the text as well
  std::vector<std::string>
      stops;                // the text ends before the first of these, none empty, at most 64
  bool ignore_eos = false;  // go on after an end-of-sequence token
  // What the text must be, and where it may end; null: anything. Of the model's own vocabulary. Not
  // together with ignore_eos.
  std::shared_ptr<const TokenGrammar> grammar;
  int32_t logprobs = -1;  // top tokens to report per token, 0 to 20; -1 = no log-probabilities
  DraftMode draft = DraftMode::kAuto;
  int32_t max_rows = 8;         // rows of a verification at most, root included, 1 to 64
  int32_t prefill_chunk = 256;  // prompt tokens per pass, 1 to 4096
  TypicalAcceptance typical;    // LOSSY where on; the text then depends on what is drafted
  // Throws Error(kInvalidArgument) naming field, value and range.
  void Validate() const;
};

inline constexpr int32_t kMaxRows = 64;
inline constexpr int32_t kMaxPrefillChunk = 4096;
inline constexpr int32_t kMaxLogprobs = 20;

}  // namespace tern

#endif  // TERN_ENGINE_GENERATION_OPTIONS_H_
