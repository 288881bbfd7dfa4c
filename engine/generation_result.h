// What a request for text gives back, and how it is told of progress.
#ifndef TERN_ENGINE_GENERATION_RESULT_H_
#define TERN_ENGINE_GENERATION_RESULT_H_

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/sampler.h"
#include "engine/stats.h"

namespace tern {

struct StepFacts;  // engine/step_facts.h

// Where several hold at the same token, the first of these.
enum class FinishReason {
  kEos,         // an end-of-sequence token
  kStopString,  // one of GenerationOptions::stops
  kGrammar,     // GenerationOptions::grammar: the text is whole and nothing may follow
  kMaxTokens,   // GenerationOptions::max_tokens
  kContext,     // prompt and text fill the context
  kCancelled,   // the StepCallback asked for it
};
// The OpenAI API's names: "stop" for the first three, "length" for the next two; "cancelled".
std::string_view ToString(FinishReason reason);

struct GenerationResult {
  // Everything sampled, up to and including the token that ended the text (also an end-of-sequence
  // token).
  std::vector<TokenId> token_ids;
  // Bytes of the text, ending before a stop string. Valid UTF-8 where the model's tokens make it
  // so.
  std::string text;
  std::vector<float> logprobs;             // [token_ids.size()] of each token, where asked for
  std::vector<TokenLogprob> top_logprobs;  // [token_ids.size(), options.logprobs]
  FinishReason finish_reason = FinishReason::kMaxTokens;
  Timings timings;
};

// Receives the text as it grows; the pieces end at UTF-8 boundaries and add up to the text.
using TextCallback = std::function<void(std::string_view piece)>;

// Receives the hidden state (post-final-norm, [d]) of every committed token, prompt included, in
// order of positions. A text's last token is sampled but never run, so it has none. The view lives
// until the call returns.
using HiddenSink = std::function<void(int32_t position, std::span<const float> hidden)>;

// What a pass of the model added.
struct StepProgress {
  std::string_view piece;           // of the text, as a TextCallback gets it; may be empty
  const GenerationResult& so_far;   // tokens and logprobs are current; text and timings are not yet
  const StepFacts* step = nullptr;  // what a step behind the prompt did; null in the prompt
};
// Called after every pass, also those of a long prompt. Returning false ends the text with
// kCancelled, unless that pass ended it by itself.
using StepCallback = std::function<bool(const StepProgress& progress)>;

}  // namespace tern

#endif  // TERN_ENGINE_GENERATION_RESULT_H_
