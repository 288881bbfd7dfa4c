// What draft heads are worth: texts generated plainly and speculatively in one run, compared token
// by token and second by second.
#ifndef TERN_TRAINER_ACCEPTANCE_H_
#define TERN_TRAINER_ACCEPTANCE_H_

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/generation_options.h"
#include "engine/generator.h"
#include "engine/medusa_heads.h"
#include "engine/model.h"
#include "engine/tokenizer.h"
#include "trainer/prompt_file.h"
#include "trainer/step_figures.h"

namespace tern {

// The prompts of one task. Rates are as in AcceptanceReport.
struct TaskFigures {
  std::string name;
  int64_t prompts = 0, tokens = 0;
  double plain_tokens_per_second = 0.0, speculative_tokens_per_second = 0.0, speedup = 0.0;
  StepSums steps;  // of the speculative texts
};

// A text as its steps wrote it.
struct TextSample {
  struct Run {
    std::string text;       // UTF-8 where the model's tokens make it so
    int32_t emitted, rows;  // tokens that the step added, rows that it verified
  };
  std::string task, prompt, begin;  // `begin`: the first token's text, from the prompt's pass
  std::vector<Run> runs;
};

struct AcceptanceReport {
  static constexpr size_t kRanks = 8;  // a head's candidates that are counted
  int64_t prompts = 0;
  int64_t tokens = 0;  // generated, once per prompt; timed again for every repetition
  // Tokens emitted per verify step, over all of them; 1 where nothing was verified.
  double acceptance_length = 1.0;
  // [i] = share of verify steps that accepted a token at depth i + 1, up to the deepest that did.
  std::vector<double> accepted_per_depth;
  // [k-1] = share of the tokens generated that were head k's most probable one. Empty without
  // heads.
  std::vector<double> head_top1;
  // [k-1][r] = how often head k's candidate of rank r + 1 was the token generated, of the places
  // where every head before had the token among its candidates: what `tern bench --acceptance`
  // reads. Empty without heads.
  std::vector<std::vector<double>> acceptance;
  // The same by head k's probability of its most probable token, in bins of equal width: how often
  // it is in each, of those places, and the rates there. Empty without heads.
  static constexpr size_t kConfidenceBins = 10;
  struct ConfidenceRates {
    double share;
    std::array<double, kRanks> rates;  // [r]
  };
  std::vector<std::vector<ConfidenceRates>> acceptance_by_confidence;
  // [k-1][r] = share of them that head k ranked at place r.
  std::vector<std::array<double, kRanks>> head_ranks;
  // Tokens after the first, per second of decoding, over all texts.
  double plain_tokens_per_second = 0.0, speculative_tokens_per_second = 0.0;
  double speedup = 0.0;                 // their ratio
  double median_speedup = 0.0;          // of the prompts' own ratios
  int64_t steps = 0, verify_steps = 0;  // of the speculative texts
  int64_t switched_off = 0;             // texts at whose end drafting was off
  bool identical = true;                // ids, text and finish reason of every text
  double draft_share = 0.0;  // of the speculative texts' decoding time, spent on proposing drafts
  // The LOSSY mode of the speculative texts, as TypicalAcceptance::Label: they are not compared
  // then, and `identical` says nothing. Empty: lossless.
  std::string lossy;
  std::string difference;  // the first one, for the user; empty where identical

  // Of each prompt's first run; steps' seconds leave out what happens between them.
  StepFigures figures;
  std::vector<TaskFigures> tasks;   // in the order of their first prompts
  std::vector<TextSample> samples;  // the first text of each task, of the first few
  std::vector<double> step_cost;    // [i] = c(i + 1) as the planner sees it at the end
  double one_row_seconds = 0.0;     // c(1)
  CostTable cost_table;             // the same to freeze, and what drafting cost
  // By what the planner goes: tokens per step by the scores, over the mean c(rows) of the steps.
  double expected_speedup = 0.0;
};

struct AcceptanceOptions {
  // `draft` and `max_rows` are those of the speculative texts; plain ones draft nothing, and
  // are lossless whatever `typical` is. Prompt i
  // samples with stream i.
  GenerationOptions generation;
  KvType kv_type = KvType::kBFloat16;
  std::shared_ptr<const CostTable> costs;  // of both sides; null: measured
  int32_t repeats = 1;  // timed runs of each prompt, >= 1; the counts are of the first
};

// Their tokens. Throws Error(kBadFile) naming file and line of a prompt that leaves no room for a
// text in the model's context.
std::vector<std::vector<TokenId>> EncodePrompts(const Model& model, const Tokenizer& tokenizer,
                                                const std::vector<Prompt>& prompts);

// Where two texts part, e.g. "token 7 is 12 plainly and 15 with drafts"; empty where they have the
// same tokens, text and finish reason.
std::string TextDifference(const GenerationResult& plain, const GenerationResult& drafted);

// Called when another prompt is done.
using AcceptanceProgress = std::function<void(size_t prompts_done)>;

// Plain and speculative runs take turns, prompt by prompt, each with a generator of its own: the
// plain one has no drafters and no heads. `heads` may be null: then only the n-gram look-up drafts.
// Throws Error(kBadFile) naming file and line of a prompt that does not fit the context at all.
AcceptanceReport MeasureAcceptance(const Model& model, const Tokenizer& tokenizer,
                                   const std::shared_ptr<const MedusaHeads>& heads,
                                   const std::vector<Prompt>& prompts,
                                   const AcceptanceOptions& options,
                                   const AcceptanceProgress& progress = {});

}  // namespace tern

#endif  // TERN_TRAINER_ACCEPTANCE_H_
