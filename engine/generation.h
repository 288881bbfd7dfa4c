// One text on its way from prompt to last token: everything that belongs to a request but the cache
// and the passes it takes part in, which are the scheduler's.
#ifndef TERN_ENGINE_GENERATION_H_
#define TERN_ENGINE_GENERATION_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "engine/acceptance_replay.h"
#include "engine/draft_control.h"
#include "engine/generation_options.h"
#include "engine/generation_result.h"
#include "engine/kv_cache.h"
#include "engine/model.h"
#include "engine/sampler.h"
#include "engine/screened_sampler.h"
#include "engine/text_model.h"
#include "engine/text_stream.h"
#include "engine/token_counts.h"
#include "engine/token_grammar.h"
#include "engine/transformer.h"
#include "engine/typical_path.h"

namespace tern {

// What texts need for a moment while a token is chosen; one serves all of them.
struct ChoiceScratch {
  explicit ChoiceScratch(const ModelConfig& config)
      : sampler(config.vocab_size),
        logits(static_cast<size_t>(config.vocab_size)),
        screened(1, static_cast<size_t>(config.vocab_size),
                 static_cast<size_t>(config.hidden_size)) {}
  SamplerScratch sampler;
  AlignedBuffer<float> logits;  // [V] of a row that the pass did not compute them for
  ScreenedLogits screened;      // of such a row
};

// The rows of a pass, of all sequences that take part.
struct Forest {
  std::vector<TokenId> tokens;
  std::vector<int32_t> sequences, parents;
  std::vector<int32_t> logit_rows, screened_rows;

  void Reserve(size_t rows);
  void Clear();
  int32_t rows() const { return static_cast<int32_t>(tokens.size()); }
  Batch batch() const { return {tokens, sequences, parents, logit_rows, screened_rows}; }
};

// A place for one text at a time; not thread-safe. Begin allocates what the text needs; nothing
// does between its first token and its last.
class Generation {
 public:
  // For texts of up to `max_context` tokens, steps of up to `max_rows` rows and up to `max_chunk`
  // rows of a prompt at a time. All references outlive this.
  Generation(const TextModel& text_model, int32_t max_context, int32_t max_rows, int32_t max_chunk,
             const StepCost& cost, ChoiceScratch& scratch,
             std::vector<std::unique_ptr<Drafter>> drafters, std::unique_ptr<Planner> planner);

  // Throws Error(kInvalidArgument) for what Begin does not take: options out of range, an empty
  // prompt, one that leaves no room in `max_context`, or an id outside the vocabulary.
  static void Check(const ModelConfig& config, std::span<const TokenId> prompt,
                    const GenerationOptions& options, int32_t max_context);
  // A new text in the cache's `sequence`, its first `cached` tokens committed already. `replay` as
  // in TextRequest; it outlives the text. REQUIRES what Check, with this place's context, lets by.
  void Begin(std::span<const TokenId> prompt, const GenerationOptions& options, int32_t sequence,
             int32_t cached, const AcceptanceReplay* replay = nullptr);

  // --- The prompt. ---
  int32_t PromptLeft() const { return static_cast<int32_t>(prompt_size_) - committed_; }
  // Adds the next `count` prompt tokens, with a choice behind the last of them.
  void AddPromptRows(int32_t count, Forest& forest);
  // --- After it, a step: the root and drafted nodes. ---
  // Drafts for at most `max_rows` rows, the root included; how many nodes.
  int32_t Propose(int32_t max_rows);
  DraftControl& drafting() { return drafting_; }
  const DraftTree& draft() const { return drafting_.kept(); }
  // The planning of all texts together took this, for each of them.
  void AddPlanSeconds(double seconds);
  void AddStepRows(Forest& forest);

  // Takes what the pass says of the rows added last, commits to `cache` and goes on to the next
  // token or tokens; the hidden states of committed rows go to `sink`.
  void TakePrompt(const ForwardResult& result, KvCache& cache, const HiddenSink& sink);
  void TakeStep(const ForwardResult& result, KvCache& cache, const HiddenSink& sink);
  // The step's whole seconds, or this text's part of them, for the choice whether to draft.
  void ReportStep(double seconds);

  // Tells of the pass, with its seconds as StepFacts has them; a caller that wants no more ends the
  // text with kCancelled.
  void Report(const StepCallback& on_step, double pass_seconds, double seconds);
  void Cancel();
  bool finished() const { return finish_.has_value(); }
  // The result; the place is free again.
  GenerationResult Finish();

  int32_t sequence() const { return sequence_; }
  int32_t committed() const { return committed_; }
  std::span<const TokenId> tokens() const { return tokens_; }
  int32_t rows() const { return rows_; }  // of this text in the pass
  Timings& timings() { return result_.timings; }

 private:
  using Clock = std::chrono::steady_clock;

  void AddRow(TokenId token, int32_t parent, bool chooses, Forest& forest);
  TokenId Choose(int32_t row, int32_t at, const ForwardResult& result);
  std::optional<TokenId> ChooseScreened(std::span<const float> hidden, int32_t at,
                                        const ForwardResult& result);
  std::span<const float> Logits(int32_t row, int32_t at, const ForwardResult& result);
  TokenId Sample(std::span<const float> logits);
  void RecordLogprobs(std::span<const float> logits, TokenId token);
  std::span<const int32_t> TypicalPathOf(const ForwardResult& result);
  const TokenMask* Allowed() { return grammar_ ? &grammar_->Allowed() : nullptr; }
  std::optional<FinishReason> Append(TokenId token);
  void Count(int32_t emitted);
  std::span<const float> Hidden(int32_t row, const ForwardResult& result) const {
    return result.hidden.RowSpan(static_cast<size_t>(first_row_ + row));
  }

  const TextModel& text_model_;
  ChoiceScratch& scratch_;
  int32_t max_context_, max_rows_;
  float logits_threshold_;  // a drafted row of a lower score gets no logits in the pass
  TextStream text_;
  TokenCounts counts_;                  // sized on the first request with penalties
  std::optional<GrammarText> grammar_;  // of a text that has one
  DraftControl drafting_;

  // The rows in the pass under way.
  int32_t first_row_ = 0, rows_ = 0;
  std::vector<int32_t> choice_at_;  // [rows] place among the pass's logits or bounds, or -1
  std::vector<int32_t> path_;       // [max_rows]
  TypicalPath typical_path_;
  int32_t emitted_ = 0;  // 0 where it was the prompt's
  double draft_seconds_ = 0.0, plan_seconds_ = 0.0;

  GenerationOptions options_;
  const AcceptanceReplay* replay_ = nullptr;  // null: the model's own choices
  int32_t sequence_ = -1;
  std::vector<TokenId> tokens_;  // prompt and text
  size_t prompt_size_ = 0;
  int32_t committed_ = 0;      // tokens in the cache
  bool screens_ = false;       // bounds of the logits are enough: nobody asked for them
  std::vector<float> hidden_;  // [d] of the last committed row
  std::optional<FinishReason> finish_;
  GenerationResult result_;
  Clock::time_point start_, decode_start_;
};

}  // namespace tern

#endif  // TERN_ENGINE_GENERATION_H_
