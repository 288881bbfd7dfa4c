// What one sequence drafts: which drafters run in a step, which of their nodes are verified, and
// when drafting is off. Learns from what the steps cost and brought.
#ifndef TERN_ENGINE_DRAFT_CONTROL_H_
#define TERN_ENGINE_DRAFT_CONTROL_H_

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/draft_calibration.h"
#include "engine/draft_gate.h"
#include "engine/draft_switch.h"
#include "engine/drafter.h"
#include "engine/generation_options.h"
#include "engine/guess_share.h"
#include "engine/ngram_drafter.h"
#include "engine/planner.h"
#include "engine/recent_gain.h"
#include "engine/recent_median.h"
#include "engine/stats.h"
#include "engine/step_cost.h"
#include "engine/token_tree.h"

namespace tern {

class GrammarText;  // engine/token_grammar.h

// Begin, then Propose and Report in turns. Not thread-safe. Allocates nothing after the
// constructor, but for the strings of Describe.
class DraftControl {
 public:
  // For sequences of `max_context` tokens and steps of `max_rows` rows at most. `drafters` propose
  // beside the built-in n-gram look-up. `planner` replaces the shape and the off switch of modes
  // auto, tree and chain: it decides alone. `cost` outlives this.
  DraftControl(int32_t max_context, int32_t max_rows, const StepCost& cost,
               std::vector<std::unique_ptr<Drafter>> drafters, std::unique_ptr<Planner> planner);
  DraftControl(const DraftControl&) = delete;
  DraftControl& operator=(const DraftControl&) = delete;

  // A new text, drafted as options.draft and options.max_rows say. What `grammar` forbids is not
  // kept; it outlives the text. Null: nothing is forbidden. `replay` as in TextRequest; it outlives
  // the text.
  void Begin(const GenerationOptions& options, GrammarText* grammar = nullptr,
             const AcceptanceReplay* replay = nullptr);

  // The nodes to verify under the root, the last of `tokens`; none: a plain step. `hidden` as in
  // DraftContext. A path has `max_depth` nodes at most, the step `max_rows` rows, the root
  // included. The tree lives until the next call.
  const DraftTree& Propose(std::span<const TokenId> tokens, std::span<const float> hidden,
                           int32_t max_depth, int32_t max_rows);
  // Of that call, the time of the drafters beside the look-up: what is not planning.
  double drafter_seconds() const { return drafter_seconds_; }
  // What Propose returned, or Keep left of it.
  const DraftTree& kept() const { return kept_; }
  // Of the nodes proposed, only the first `nodes` are verified.
  void Keep(int32_t nodes) { kept_.Shrink(nodes); }
  // Whether Keep may leave nodes out: they are chosen by what they gain, not by shape.
  bool chooses_by_gain() const { return planner_ == &best_first_; }
  // What became of them: the tokens that the step emitted, and its seconds from before Propose to
  // the last token's sampling, or this sequence's part of them.
  void Report(int32_t emitted, double step_seconds);

  // Sets the mode in force and the reason where it is off.
  void Describe(Timings& timings) const;

 private:
  void Run(Drafter& drafter, const DraftContext& context);
  void ProposeBeside(const DraftContext& context);
  void Plan(int32_t max_rows);
  // Plans what the look-up alone has proposed.
  void PlanAlone(const DraftContext& context);
  double ExpectedGain() const;
  double DrafterPasses() const;

  // What was learned of texts in one of the calibration's ranges of temperatures.
  struct Lately {
    DraftSwitch draft_switch;
    DraftGate gate;  // of extra_drafters_ in mode auto
    RecentSpeed speed;
    // Of the look-up's guesses in steps without another drafter.
    GuessShare alone{GuessShare::Of::kAll, 1.0f};
  };

  const StepCost& cost_;
  NgramDrafter ngram_;
  std::vector<std::unique_ptr<Drafter>> extra_drafters_;
  std::unique_ptr<Planner> custom_planner_;
  BestFirstPlanner best_first_;
  ChainPlanner chain_;
  StaticTreePlanner static_tree_;
  // Of those that another drafter contests, in this text.
  GuessShare contested_{GuessShare::Of::kContested, 0.5f};
  RecentMedian draft_seconds_;  // of extra_drafters_
  std::array<Lately, DraftCalibration::kRanges> by_range_;
  Lately* lately_ = by_range_.data();  // of the current text
  std::vector<Drafter*> drafters_;     // of the current text; empty = plain decoding
  GrammarText* grammar_ = nullptr;
  Planner* planner_ = nullptr;
  DraftMode mode_ = DraftMode::kOff;
  SamplingOptions sampling_;  // of the current text
  const AcceptanceReplay* replay_ = nullptr;
  bool one_row_ = false;         // no room for drafts in a step
  bool may_switch_off_ = false;  // mode auto, without a planner of the caller's
  bool ran_drafters_ = false;    // extra_drafters_, in this step
  double drafter_seconds_ = 0.0;
  DraftTree proposed_, kept_;
};

}  // namespace tern

#endif  // TERN_ENGINE_DRAFT_CONTROL_H_
