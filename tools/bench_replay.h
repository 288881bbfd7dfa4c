// What draft heads of given acceptance would bring on this machine: the full engine beside its own
// plain decoding, with only the decision what is accepted drawn (engine/acceptance_replay.h).
#ifndef TERN_TOOLS_BENCH_REPLAY_H_
#define TERN_TOOLS_BENCH_REPLAY_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/acceptance_replay.h"
#include "engine/cost_table.h"
#include "engine/generation_options.h"
#include "engine/model.h"
#include "kernels/kv_block.h"
#include "tools/bench_predict.h"

namespace tern {

struct ReplayBenchOptions {
  std::shared_ptr<const AcceptanceRates> rates;
  uint64_t seed = 0;
  int32_t tokens = 64;    // that each sequence writes
  int32_t sequences = 1;  // at once
  int32_t rounds = 3;
  int32_t max_rows = 8;  // of a sequence's verification
  DraftMode draft = DraftMode::kAuto;
  KvType kv_type = KvType::kBFloat16;
  std::shared_ptr<const CostTable> costs;  // null: measured
};

struct ReplayReport {
  // Of all sequences together, medians of the rounds; `speedup` is the median of their ratios.
  double tokens_per_second = 0.0, plain_tokens_per_second = 0.0, speedup = 0.0;
  std::vector<double> speedups;  // [rounds]
  // Of the speculative runs; a step is a sequence's part in a pass.
  double acceptance_length = 1.0;          // tokens per step that verified drafts
  std::vector<double> accepted_per_depth;  // shares of those steps
  double tokens_per_step = 1.0, rows_per_step = 1.0;
  double verify_share = 0.0;  // of steps, those that verified drafts
  double draft_share = 0.0;   // of the time, spent on proposing
  double plan_share = 0.0;    // of the time, on look-up and choice of nodes: all but heads
  std::string draft_mode, draft_reason;
  // [rows - 1] a pass in passes of one row, as the planner sees it in the end.
  std::vector<double> pass_costs;
  // What the predictions below go by, and what they give for this very machine: to be held against
  // what was measured.
  MachineFigures here;
  Prediction own;
  std::vector<Prediction> predictions;  // for machines that are not this one
  CostTable cost_table;                 // the same to freeze, and what drafting costs
};

// Random heads, as many as there are rates, with a shortlist. Plain and speculative runs take turns
// in one scheduler after a run of each that does not count. Throws kInvalidArgument for options out
// of range or a vocabulary too small.
ReplayReport BenchReplay(const Model& model, const ReplayBenchOptions& options,
                         const std::function<void(double)>& progress);

}  // namespace tern

#endif  // TERN_TOOLS_BENCH_REPLAY_H_
