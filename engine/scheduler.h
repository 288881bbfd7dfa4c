// Many texts at once: every step runs one pass of the model over a forest of all of them.
#ifndef TERN_ENGINE_SCHEDULER_H_
#define TERN_ENGINE_SCHEDULER_H_

#include <chrono>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <vector>

#include "engine/generation.h"
#include "engine/kv_cache.h"
#include "engine/model.h"
#include "engine/planner.h"
#include "engine/prefix_cache.h"
#include "engine/recent_median.h"
#include "engine/step_cost.h"
#include "engine/thread_choice.h"
#include "engine/tokenizer.h"
#include "engine/workspace.h"

namespace tern {

// What a scheduler allocates for.
struct SchedulerLimits {
  int32_t max_sequences = 1;  // texts that run at once, 1 to kMaxRows
  int32_t max_context = 0;    // tokens of a prompt and its text together; 0 = the model's
  // Blocks of 64 positions that all sequences and known prefixes share; 0 = as many as
  // max_sequences whole contexts take.
  int32_t kv_blocks = 0;
  int32_t max_rows = kMaxRows;         // of a sequence's verification
  int32_t prefill_chunk = 256;         // prompt rows of a pass
  KvType kv_type = KvType::kBFloat16;  // the texts depend on it
  bool reuse_prefixes = false;  // keep what finished texts leave in the cache for later prompts
  // Every pass uses all of ThreadCount(), also of a small model where fewer are faster.
  bool fixed_threads = false;
  std::shared_ptr<const CostTable> costs;  // null: what rows cost is measured
};

// What sequences draft with, made once for each; both may be empty.
struct DraftingParts {
  // Drafters that propose beside the built-in n-gram look-up.
  std::function<std::vector<std::unique_ptr<Drafter>>()> drafters;
  // Replaces the shape and the off switch of modes auto, tree and chain: it decides alone.
  std::function<std::unique_ptr<Planner>()> planner;
};

struct TextRequest {
  std::vector<TokenId> prompt;
  GenerationOptions options;
  StepCallback on_step;                                    // after every pass it took part in
  HiddenSink on_hidden;                                    // of every committed token
  std::function<void(GenerationResult result)> on_finish;  // last; never for a request that threw
  // Measurements only: its tokens are written instead of those that steps choose, after all the
  // work of choosing. Null: the model's text.
  std::shared_ptr<const AcceptanceReplay> replay;
};

// Texts run in the order of Submit as places and cache blocks become free: a request is only begun
// when the cache has room for all of it, so none is ever dropped for another. A pass has the roots
// and drafts of every running text and, where prompts wait, a chunk of them, sized so that a
// running text waits no longer than about four of its plain steps.
//
// token_ids, text, logprobs and finish_reason of a request depend on the model, its prompt and its
// options without draft, max_rows and prefill_chunk; never on other requests, drafters, threads or
// time: but for the LOSSY options.typical, which see.
//
// Not thread-safe. Callbacks run inside Step and must not call the scheduler, but for Submit and
// Cancel. A step allocates nothing where no request begins or ends.
class Scheduler {
 public:
  using Id = int64_t;

  // `model` and `tokenizer` outlive the scheduler. Throws Error(kInvalidArgument) for limits out of
  // range and for a tokenizer that does not fit the model.
  Scheduler(const Model& model, const Tokenizer& tokenizer, const SchedulerLimits& limits,
            const DraftingParts& drafting = {});

  // Throws what Generation::Check does. What that lets pass fits the cache, which has room for a
  // whole context.
  Id Submit(TextRequest request);
  // The text ends with kCancelled before the next pass, if it has not ended by then.
  void Cancel(Id id);
  // The same at once and without a callback. REQUIRES not to be inside Step.
  void Drop(Id id);
  // One pass. False where there was nothing to do. Rethrows the first exception of a callback after
  // the pass; the request it belonged to is gone then, the others go on.
  bool Step();

  size_t running() const { return running_.size(); }
  size_t waiting() const { return waiting_.size(); }
  const Model& model() const { return text_model_.model; }
  int32_t max_context() const { return max_context_; }
  const StepCost& cost() const { return cost_; }

 private:
  using Clock = std::chrono::steady_clock;
  struct Waiting {
    Id id;
    TextRequest request;
    bool cancelled = false;
  };
  struct Running {
    Id id = 0;
    size_t place = 0;
    TextRequest request;
    int32_t reserved = 0;    // blocks it may use in the end
    bool in_prompt = false;  // in this pass
    bool in_pass = false;
  };

  Generation& At(const Running& running) { return *places_[running.place]; }
  int32_t BlocksFor(const TextRequest& request) const;
  int32_t Unreserved() const;
  void Admit();
  bool Begin(Waiting& waiting);
  void AddSteps();
  void PlanJointly(int32_t roots);
  void AddPrompts();
  int32_t PromptRows(bool beside_steps) const;
  void Take(const ForwardResult& result);
  void Remember(const Generation& text);
  void ReportCosts(double pass_seconds, double step_seconds);
  template <class Fn>
  bool Guarded(const Fn& fn);
  void EndFinished();

  TextModel text_model_;
  int32_t max_context_, max_chunk_, max_rows_, step_rows_;
  KvCache cache_;
  std::unique_ptr<PrefixCache> prefixes_;  // null: none are kept
  Workspace workspace_;
  ChoiceScratch scratch_;
  StepCost cost_;
  JointPlanner joint_;
  bool fixed_threads_;
  ThreadChoices threads_;
  RecentMedian prompt_row_seconds_;  // of passes of many prompt rows, by row

  std::vector<std::unique_ptr<Generation>> places_;  // [max_sequences]
  std::vector<size_t> free_places_;
  std::vector<Running> running_;  // in the order of Submit
  std::deque<Waiting> waiting_;
  Id next_id_ = 1;

  // Of the pass under way.
  Forest forest_;
  int32_t step_count_ = 0, prompt_rows_ = 0;  // sequences with a step, rows of prompts
  std::vector<const DraftTree*> trees_;       // [<= max_sequences] that the joint plan may cut
  std::vector<Generation*> drafting_;
  std::vector<int32_t> counts_, blocks_;
  std::exception_ptr failure_;
};

}  // namespace tern

#endif  // TERN_ENGINE_SCHEDULER_H_
