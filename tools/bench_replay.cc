#include "tools/bench_replay.h"

#include <algorithm>
#include <chrono>
#include <numeric>
#include <utility>

#include "engine/draft_logits.h"
#include "engine/error.h"
#include "engine/replay_drafter.h"
#include "engine/scheduler.h"
#include "engine/step_facts.h"
#include "engine/synthetic_heads.h"
#include "engine/synthetic_tokenizer.h"
#include "tools/bench_machine.h"
#include "trainer/step_figures.h"

namespace tern {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int32_t kPromptTokens = 16;
constexpr float kHeadScale = 0.02f;

// The machines that are predicted: desktops and servers of a common size.
constexpr MachineShape kMachines[] = {{8, 60e9}, {8, 100e9}, {16, 60e9}, {16, 100e9}};
constexpr int32_t kPredictRounds = 9;
constexpr double kReplayShare = 0.8;  // of the progress; the rest are passes for the predictions

// What became of the sequences of one run, or of several.
struct Counts {
  double tokens = 0.0, seconds = 0.0;  // while all of them wrote
  StepSums drafted, plain;             // steps that verified drafts, and the others

  double rate() const { return tokens / seconds; }
  void Add(const StepFacts& step) { (step.nodes.empty() ? plain : drafted).Add(RecordOf(step)); }
  void Add(const Counts& run) {
    tokens += run.tokens;
    seconds += run.seconds;
    drafted.Add(run.drafted);
    plain.Add(run.plain);
  }
};

// A step's mean time outside of its pass.
double RestSeconds(const StepSums& sum) {
  return (sum.seconds - sum.pass_seconds) / static_cast<double>(sum.steps);
}

class ReplayBench {
 public:
  ReplayBench(const Model& model, const ReplayBenchOptions& options)
      : options_(options),
        vocab_size_(model.config.vocab_size),
        tokenizer_(MakeBpeTokenizer(MakeSyntheticTokenizer(model.config))),
        scheduler_(model, *tokenizer_, Limits(model, options), Drafting(model, options)) {}

  // All sequences at once, until the first of them ends: the time from when all of them had their
  // first token, and the tokens written in it.
  Counts Run(DraftMode mode, Timings* last) {
    const auto n = static_cast<size_t>(options_.sequences);
    std::vector<size_t> written(n);
    std::vector<Scheduler::Id> ids;
    Counts counts;
    bool ended = false;
    for (size_t i = 0; i < n; ++i) {
      ids.push_back(scheduler_.Submit({.prompt = Prompt(),
                                       .options = Options(mode),
                                       .on_step =
                                           [&, i](const StepProgress& progress) {
                                             written[i] = progress.so_far.token_ids.size();
                                             if (progress.step != nullptr)
                                               counts.Add(*progress.step);
                                             return true;
                                           },
                                       .on_finish =
                                           [&](const GenerationResult& result) {
                                             *last = result.timings;
                                             ended = true;
                                           },
                                       .replay = Replay(++streams_)}));
    }
    while (std::ranges::find(written, size_t{0}) != written.end() && scheduler_.Step()) {
    }
    const Clock::time_point start = Clock::now();
    const size_t before = std::reduce(written.begin(), written.end());
    while (!ended && scheduler_.Step()) {
    }
    counts.seconds = std::chrono::duration<double>(Clock::now() - start).count();
    counts.tokens = static_cast<double>(std::reduce(written.begin(), written.end()) - before);
    for (const Scheduler::Id id : ids) scheduler_.Cancel(id);
    while (scheduler_.Step()) {
    }
    return counts;
  }

  const StepCost& cost() const { return scheduler_.cost(); }

 private:
  static SchedulerLimits Limits(const Model& model, const ReplayBenchOptions& options) {
    const int32_t most = model.config.max_position_embeddings;
    if (options.tokens > most - kPromptTokens) {
      throw InvalidArgument("tokens is " + std::to_string(options.tokens) + ", expected at most " +
                            std::to_string(most - kPromptTokens) + " in this model's context");
    }
    return {.max_sequences = options.sequences,
            .max_context = std::min(most, kPromptTokens + options.tokens + options.max_rows),
            .max_rows = options.max_rows,
            .kv_type = options.kv_type,
            .costs = options.costs};
  }

  static DraftingParts Drafting(const Model& model, const ReplayBenchOptions& options) {
    const ModelConfig& config = model.config;
    if (config.vocab_size <= static_cast<int32_t>(AcceptanceRates::kMaxRanks)) {
      throw InvalidArgument("vocabulary has " + std::to_string(config.vocab_size) +
                            " tokens, expected more than " +
                            std::to_string(AcceptanceRates::kMaxRanks) + " to replay acceptance");
    }
    MedusaHeads heads =
        MakeSyntheticHeads(options.rates->heads(), config.hidden_size, kHeadScale, options.seed);
    heads.shortlist.resize(static_cast<size_t>(config.vocab_size));
    std::iota(heads.shortlist.begin(), heads.shortlist.end(), 0);
    const auto logits = std::make_shared<DraftLogits>(model, heads);
    return {.drafters = [logits, max_nodes = 2 * options.max_rows] {
      std::vector<std::unique_ptr<Drafter>> drafters;
      drafters.push_back(std::make_unique<ReplayDrafter>(logits, max_nodes));
      return drafters;
    }};
  }

  std::shared_ptr<const AcceptanceReplay> Replay(uint32_t stream) const {
    return std::make_shared<const AcceptanceReplay>(options_.rates, vocab_size_, options_.seed,
                                                    stream);
  }
  std::vector<TokenId> Prompt() const {
    std::vector<TokenId> prompt;
    for (int32_t i = 0; i < kPromptTokens; ++i) prompt.push_back(Replay(0)->Candidate(i, 0));
    return prompt;
  }
  GenerationOptions Options(DraftMode mode) const {
    GenerationOptions options;
    options.max_tokens = options_.tokens;
    options.ignore_eos = true;
    options.draft = mode;
    options.max_rows = options_.max_rows;
    return options;
  }

  const ReplayBenchOptions& options_;
  int32_t vocab_size_;
  std::unique_ptr<Tokenizer> tokenizer_;
  Scheduler scheduler_;
  uint32_t streams_ = 0;
};

void Describe(const Counts& sum, ReplayReport& report) {
  StepSums all = sum.drafted;
  all.Add(sum.plain);
  if (all.steps > 0) {
    const auto steps = static_cast<double>(all.steps);
    report.tokens_per_step = all.tokens_per_step();
    report.rows_per_step = 1.0 + static_cast<double>(all.drafted) / steps;
    report.verify_share = static_cast<double>(all.verify_steps) / steps;
  }
  report.draft_share = all.draft_seconds / sum.seconds;
  report.plan_share = all.plan_seconds / sum.seconds;
  report.acceptance_length = all.acceptance_length();
  report.accepted_per_depth = all.AcceptedPerDepth();
}

// Steps that never drafted leave as much outside of their passes as plain ones.
void AddPredictions(const Model& model, const ReplayBenchOptions& options, const Counts& sum,
                    const Counts& plain, const std::function<void(double)>& progress,
                    ReplayReport& report) {
  const int32_t most = std::min(kMaxRows, options.sequences * options.max_rows);
  const int32_t context = kPromptTokens + options.tokens / 2;
  MachineFigures& here = report.here = MeasureMachine(
      model, most, std::min(context, model.config.max_position_embeddings - most), options.kv_type,
      kPredictRounds,
      [&progress](double share) { progress(kReplayShare + (1.0 - kReplayShare) * share); });
  here.plain_rest_seconds = RestSeconds(plain.plain);
  here.drafted_rest_seconds =
      sum.drafted.steps > 0 ? RestSeconds(sum.drafted) : here.plain_rest_seconds;
  const auto predict = [&](const MachineShape& machine) {
    return Predict(here, *options.rates, options.sequences, most / options.sequences, machine);
  };
  report.own = predict({here.threads, here.read_bytes});
  for (const MachineShape& machine : kMachines) report.predictions.push_back(predict(machine));
}

}  // namespace

ReplayReport BenchReplay(const Model& model, const ReplayBenchOptions& options,
                         const std::function<void(double)>& progress) {
  if (options.tokens < 2) {
    throw InvalidArgument("tokens is " + std::to_string(options.tokens) +
                          ", expected at least 2: one step");
  }
  ReplayBench bench(model, options);
  Timings last;
  bench.Run(DraftMode::kOff, &last);
  bench.Run(options.draft, &last);
  ReplayReport report;
  std::vector<double> plain_rates, rates;
  Counts sum, plain_sum;
  for (int32_t round = 0; round < options.rounds; ++round) {
    Counts plain, replayed;
    Timings ignored;
    // Each goes first every other time: what drifts, drifts for both.
    if (round % 2 == 0) plain = bench.Run(DraftMode::kOff, &ignored);
    replayed = bench.Run(options.draft, &last);
    if (round % 2 == 1) plain = bench.Run(DraftMode::kOff, &ignored);
    plain_rates.push_back(plain.rate());
    rates.push_back(replayed.rate());
    report.speedups.push_back(replayed.rate() / plain.rate());
    sum.Add(replayed);
    plain_sum.Add(plain);
    progress(kReplayShare * (round + 1) / options.rounds);
  }
  report.tokens_per_second = Median(rates);
  report.plain_tokens_per_second = Median(plain_rates);
  report.speedup = Median(report.speedups);
  report.draft_mode = last.draft_mode;
  report.draft_reason = last.draft_reason;
  Describe(sum, report);
  const int32_t most = std::min(kMaxRows, options.sequences * options.max_rows);
  for (int32_t rows = 1; rows <= most; ++rows)
    report.pass_costs.push_back(bench.cost().OfPass(rows));
  AddPredictions(model, options, sum, plain_sum, progress, report);
  report.cost_table = bench.cost().Table(most);
  if (options.costs != nullptr) {
    report.cost_table.draft_seconds = options.costs->draft_seconds;
  } else if (sum.drafted.steps > 0) {
    report.cost_table.draft_seconds = (sum.drafted.draft_seconds + sum.plain.draft_seconds) /
                                      static_cast<double>(sum.drafted.steps);
  }
  return report;
}

}  // namespace tern
