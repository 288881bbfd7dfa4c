// Text from a prompt, one sequence: prefill, then draft -> verify -> accept until something ends
// it.
#ifndef TERN_ENGINE_GENERATOR_H_
#define TERN_ENGINE_GENERATOR_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/draft_control.h"
#include "engine/drafter.h"
#include "engine/generation_options.h"
#include "engine/kv_cache.h"
#include "engine/model.h"
#include "engine/planner.h"
#include "engine/sampler.h"
#include "engine/stats.h"
#include "engine/text_stream.h"
#include "engine/thread_choice.h"
#include "engine/token_counts.h"
#include "engine/tokenizer.h"
#include "engine/transformer.h"
#include "engine/workspace.h"

namespace tern {

// Where several hold at the same token, the first of these.
enum class FinishReason {
  kEos,         // an end-of-sequence token
  kStopString,  // one of GenerationOptions::stops
  kMaxTokens,   // GenerationOptions::max_tokens
  kContext,     // prompt and text fill the context
  kCancelled,   // the StepCallback asked for it
};
// The OpenAI API's names: "stop" for the first two, "length" for the next two; "cancelled".
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
  std::string_view piece;          // of the text, as a TextCallback gets it; may be empty
  const GenerationResult& so_far;  // tokens and logprobs are current; text and timings are not yet
};
// Called after every pass, also those of a long prompt. Returning false ends the text with
// kCancelled, unless that pass ended it by itself.
using StepCallback = std::function<bool(const StepProgress& progress)>;

// What a generator allocates for.
struct GeneratorLimits {
  int32_t max_context = 0;  // tokens of prompt and text together; 0 = the model's
  int32_t max_rows = kMaxRows;
  int32_t prefill_chunk = 256;
  // Every pass uses all of ThreadCount(), also of a small model where fewer are faster.
  bool fixed_threads = false;
};

// Throws Error(kInvalidArgument) where `tokenizer` has ids that `model` has no vectors for.
void RequireTokenizerFits(const Model& model, const Tokenizer& tokenizer);

// Ids of a prompt's text, behind the beginning-of-sequence token where both the model's
// configuration and the tokenizer have one. Throws Error(kInvalidArgument) where `text` is empty.
std::vector<TokenId> EncodePrompt(const ModelConfig& config, const Tokenizer& tokenizer,
                                  std::string_view text);

// Owns cache, workspace and drafters for one sequence at a time. Not thread-safe. Between the first
// token and the last it allocates nothing.
class Generator {
 public:
  // `model` and `tokenizer` outlive the generator. `drafters` propose beside the built-in n-gram
  // look-up. `planner` replaces the shape and the off switch of modes auto, tree and chain: it
  // decides alone.
  Generator(const Model& model, const Tokenizer& tokenizer, const GeneratorLimits& limits = {},
            std::vector<std::unique_ptr<Drafter>> drafters = {},
            std::unique_ptr<Planner> planner = nullptr);

  // token_ids, text, logprobs and finish_reason depend on the model, the prompt and the options
  // without draft, max_rows and prefill_chunk; never on drafters, threads or time. max_rows and
  // prefill_chunk are capped by the limits. Throws Error(kInvalidArgument) for options out of
  // range, an empty prompt, one that leaves no room in the context, or an id outside the
  // vocabulary.
  GenerationResult Generate(std::span<const TokenId> prompt, const GenerationOptions& options,
                            const TextCallback& on_text = {});
  GenerationResult Generate(std::span<const TokenId> prompt, const GenerationOptions& options,
                            const StepCallback& on_step);

  // Of all later texts; empty: none. Changes nothing else.
  void SetHiddenSink(HiddenSink sink) { hidden_sink_ = std::move(sink); }

  int32_t max_context() const { return max_context_; }

 private:
  void Begin(std::span<const TokenId> prompt, const GenerationOptions& options);
  void CheckPrompt(std::span<const TokenId> prompt) const;
  void Prefill(const StepCallback& on_step);
  void Step();
  const DraftTree& Propose();
  ForwardResult Verify(const DraftTree& draft);
  TokenId Choose(std::span<const float> hidden, int32_t at, const ForwardResult& verified);
  std::optional<TokenId> ChooseScreened(std::span<const float> hidden, int32_t at,
                                        const ForwardResult& verified);
  void Accept(const DraftTree& draft, const ForwardResult& verified);
  TokenId Sample(std::span<const float> logits);
  std::optional<FinishReason> Append(TokenId token);
  void Report(const StepCallback& on_step);
  void Count(const DraftTree& draft, int32_t emitted);
  void FinishTimings();
  bool IsEos(TokenId token) const;

  const Model& model_;
  const Tokenizer& tokenizer_;
  int32_t max_context_;
  int32_t max_rows_, max_chunk_;
  size_t max_piece_bytes_;  // longest PieceBytes of the tokenizer
  std::vector<TokenId> eos_;
  KvCache cache_;
  Workspace workspace_;
  int32_t sequence_;
  SamplerScratch scratch_;
  TextStream text_;
  TokenCounts counts_;  // sized on the first request with penalties

  DraftControl drafting_;
  bool fixed_threads_;
  ThreadChoice threads_;

  // Rows of the next verification: the root and the drafted nodes.
  std::vector<TokenId> row_tokens_;          // [max_rows]
  std::vector<int32_t> row_parents_, path_;  // [max_rows]
  std::vector<int32_t> logit_rows_;   // [<= max_rows] whose logits, or bounds, the pass computes
  std::vector<int32_t> logits_at_;    // [max_rows] place among them, or -1
  AlignedBuffer<float> late_logits_;  // [V] of a row that was not among them
  ScreenedLogits late_screened_;      // of such a row
  float logits_threshold_;            // a drafted row of a lower score is not among them

  // The current request.
  GenerationOptions options_;
  std::vector<TokenId> tokens_;  // prompt and text; all but the last are committed to the cache
  size_t prompt_size_ = 0;
  bool screens_ = false;           // bounds of the logits are enough: nobody asked for them
  std::span<const float> hidden_;  // of the last committed row, in the workspace
  std::optional<FinishReason> finish_;
  GenerationResult result_;
  HiddenSink hidden_sink_;
};

}  // namespace tern

#endif  // TERN_ENGINE_GENERATOR_H_
