#include "engine/draft_control.h"

#include <chrono>
#include <cstdio>
#include <utility>

#include "engine/token_grammar.h"
#include "kernels/check.h"

namespace tern {
namespace {

using Clock = std::chrono::steady_clock;

// Nodes that all drafters together may propose for one step.
constexpr int32_t kMaxProposed = 512;

}  // namespace

DraftControl::DraftControl(int32_t max_context, int32_t max_rows, const StepCost& cost,
                           std::vector<std::unique_ptr<Drafter>> drafters,
                           std::unique_ptr<Planner> planner)
    : cost_(cost),
      ngram_(max_context),
      extra_drafters_(std::move(drafters)),
      custom_planner_(std::move(planner)),
      best_first_(kMaxProposed, cost_),
      static_tree_(max_rows),
      proposed_(kMaxProposed),
      kept_(max_rows) {
  drafters_.reserve(extra_drafters_.size() + 1);
}

void DraftControl::Begin(const GenerationOptions& options, GrammarText* grammar,
                         const AcceptanceReplay* replay) {
  grammar_ = grammar;
  drafters_.clear();
  kept_.Clear();
  mode_ = options.draft;
  sampling_ = options.sampling;
  lately_ = &by_range_[DraftCalibration::RangeOf(sampling_.temperature)];
  replay_ = replay;
  one_row_ = options.max_rows == 1;
  may_switch_off_ = false;
  if (mode_ == DraftMode::kOff || one_row_) return;
  if (mode_ != DraftMode::kNgram) {
    for (const auto& drafter : extra_drafters_) drafters_.push_back(drafter.get());
  }
  drafters_.push_back(&ngram_);
  for (Drafter* drafter : drafters_) drafter->Reset();
  contested_.Reset();
  lately_->alone.BeginText();
  planner_ = &best_first_;
  if (mode_ == DraftMode::kNgram) return;
  if (custom_planner_) {
    planner_ = custom_planner_.get();
  } else if (mode_ == DraftMode::kTree) {
    planner_ = &static_tree_;
  } else if (mode_ == DraftMode::kChain) {
    planner_ = &chain_;
  } else {
    may_switch_off_ = true;
    lately_->draft_switch.BeginText();
  }
}

const DraftTree& DraftControl::Propose(std::span<const TokenId> tokens,
                                       std::span<const float> hidden, int32_t max_depth,
                                       int32_t max_rows) {
  kept_.Clear();
  ran_drafters_ = false;
  drafter_seconds_ = 0.0;
  if (drafters_.empty() || max_depth < 1 || max_rows < 2) return kept_;
  if (may_switch_off_ && !lately_->draft_switch.ShouldDraft()) return kept_;
  proposed_.Clear();
  // The best-first planner goes by what rows cost, the others by shape.
  const StepCost* const cost = planner_ == &best_first_ ? &cost_ : nullptr;
  const bool sampled = sampling_.temperature > 0.0f;
  const double speed = lately_->speed.Value();
  best_first_.SetSpeed(speed);
  const DraftContext context{.tokens = tokens,
                             .hidden = hidden,
                             .max_depth = max_depth,
                             .max_rows = max_rows,
                             .cost = cost,
                             .sampling = sampled ? &sampling_ : nullptr,
                             .replay = replay_,
                             .speed = speed};
  contested_.Learn(tokens);
  lately_->alone.Learn(tokens);
  if (drafters_.size() == 1 || may_switch_off_) {
    ProposeBeside(context);
  } else {
    for (Drafter* drafter : drafters_) Run(*drafter, context);
    contested_.Weigh(tokens, proposed_);
    Plan(max_rows);
  }
  TERN_CHECK(kept_.size() < max_rows)
      << kept_.size() + 1 << " rows planned, expected at most " << max_rows;
  for (const DraftNode& node : kept_.nodes()) {
    TERN_CHECK(node.depth <= max_depth) << "node at depth " << node.depth << " of " << max_depth;
  }
  return kept_;
}

void DraftControl::Run(Drafter& drafter, const DraftContext& context) {
  const bool look_up = &drafter == &ngram_;
  proposed_.SetProposer(look_up ? kByLookUp : kByHeads);
  const Clock::time_point start = Clock::now();
  drafter.Propose(context, proposed_);
  const std::chrono::duration<double> seconds = Clock::now() - start;
  if (!look_up) drafter_seconds_ += seconds.count();
}

void DraftControl::Plan(int32_t max_rows) {
  if (grammar_ != nullptr) grammar_->Prune(proposed_);
  planner_->Plan(proposed_, max_rows, kept_);
}

void DraftControl::PlanAlone(const DraftContext& context) {
  lately_->alone.Weigh(context.tokens, proposed_);
  Plan(context.max_rows);
}

// Tokens that a step of kept_ is expected to emit, less those that its rows' time brings otherwise.
double DraftControl::ExpectedGain() const {
  double gain = 1.0 - lately_->speed.Value() * cost_.Relative(kept_.size() + 1);
  for (const DraftNode& node : kept_.nodes()) gain += static_cast<double>(node.score);
  return gain;
}

// What extra_drafters_ take, in this sequence's share of a pass of one row each.
double DraftControl::DrafterPasses() const {
  const double seconds = cost_.frozen() ? cost_.draft_seconds() : draft_seconds_.Median();
  return seconds / cost_.token_seconds();
}

// The look-up is nearly free and always proposes; the other drafters, where there are any, do where
// they are likely to gain more than they cost.
void DraftControl::ProposeBeside(const DraftContext& context) {
  Run(ngram_, context);
  const bool others = drafters_.size() > 1 && cost_.token_seconds() > 0.0;
  // A probe of the switch asks the heads as well: the gate counts no steps while that is off.
  const bool probing = may_switch_off_ && !lately_->draft_switch.on();
  if (!others || (!probing && !lately_->gate.ShouldDraft())) return PlanAlone(context);
  ran_drafters_ = true;
  Plan(context.max_rows);
  const double before = ExpectedGain();
  const Clock::time_point start = Clock::now();
  for (const auto& drafter : extra_drafters_) Run(*drafter, context);
  contested_.Weigh(context.tokens, proposed_);
  Plan(context.max_rows);
  const std::chrono::duration<double> seconds = Clock::now() - start;
  draft_seconds_.Add(seconds.count());
  lately_->gate.Report(ExpectedGain() - before - lately_->speed.Value() * DrafterPasses());
}

void DraftControl::Report(int32_t emitted, double step_seconds) {
  if (cost_.token_seconds() > 0.0) {
    const double passes =
        cost_.Relative(kept_.size() + 1) + (ran_drafters_ ? DrafterPasses() : 0.0);
    lately_->speed.Add(emitted, passes);
    if (cost_.frozen()) step_seconds = cost_.token_seconds() * passes;
  }
  if (may_switch_off_)
    lately_->draft_switch.Report(kept_.size() > 0 || ran_drafters_, emitted, step_seconds);
}

void DraftControl::Describe(Timings& timings) const {
  timings.draft_mode = ToString(drafters_.empty() ? DraftMode::kOff : mode_);
  timings.draft_reason.clear();
  if (drafters_.empty()) {
    if (mode_ != DraftMode::kOff && one_row_) timings.draft_reason = "max_rows is 1";
    return;
  }
  if (mode_ == DraftMode::kAuto) timings.draft_mode = extra_drafters_.empty() ? "ngram" : "tree";
  if (may_switch_off_ && !lately_->draft_switch.on()) {
    timings.draft_mode = "off";
    char reason[160];
    std::snprintf(reason, sizeof(reason), "drafting gave %.1f tokens/s, plain decoding %.1f",
                  lately_->draft_switch.draft_tokens_per_second(),
                  lately_->draft_switch.plain_tokens_per_second());
    timings.draft_reason = reason;
  }
  if (mode_ == DraftMode::kNgram) return;
  for (const auto& drafter : extra_drafters_) {
    const std::string problem = drafter->Problem();
    if (problem.empty()) continue;
    if (!timings.draft_reason.empty()) timings.draft_reason += "; ";
    timings.draft_reason += problem;
  }
}

}  // namespace tern
