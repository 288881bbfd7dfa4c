#include "trainer/acceptance.h"

#include <algorithm>
#include <utility>

#include "engine/draft_heads.h"
#include "engine/error.h"
#include "kernels/check.h"
#include "trainer/head_scorer.h"

namespace tern {
namespace {

GeneratorLimits LimitsFor(const Model& model, const std::vector<std::vector<TokenId>>& prompts,
                          const AcceptanceOptions& options) {
  const GenerationOptions& generation = options.generation;
  size_t longest = 0;
  for (const std::vector<TokenId>& ids : prompts) longest = std::max(longest, ids.size());
  GeneratorLimits limits;
  limits.max_context = static_cast<int32_t>(std::min<int64_t>(
      static_cast<int64_t>(longest) + generation.max_tokens, model.config.max_position_embeddings));
  limits.max_rows = generation.max_rows;
  limits.prefill_chunk = generation.prefill_chunk;
  limits.kv_type = options.kv_type;
  limits.costs = options.costs;
  return limits;
}

// Sums over texts, from which the report's rates come.
struct Totals {
  Timings plain, drafted;
  std::vector<double> ratios;
};

void AddTimed(const Timings& from, Timings* to) {
  to->decode_tokens += from.decode_tokens;
  to->decode_seconds += from.decode_seconds;
  to->draft_seconds += from.draft_seconds;
}

void AddCounts(const Timings& from, Timings* to) {
  to->steps += from.steps;
  to->verify_steps += from.verify_steps;
  to->accepted += from.accepted;
  for (size_t i = 0; i < from.accepted_at_depth.size(); ++i)
    to->accepted_at_depth[i] += from.accepted_at_depth[i];
}

void Finish(Totals totals, AcceptanceReport* report) {
  report->acceptance_length = totals.drafted.acceptance_length();
  report->steps = totals.drafted.steps;
  report->verify_steps = totals.drafted.verify_steps;
  for (const int64_t accepted : totals.drafted.accepted_at_depth) {
    if (accepted == 0) break;
    report->accepted_per_depth.push_back(static_cast<double>(accepted) /
                                         static_cast<double>(totals.drafted.verify_steps));
  }
  report->plain_tokens_per_second = totals.plain.decode_tokens_per_second();
  report->speculative_tokens_per_second = totals.drafted.decode_tokens_per_second();
  if (report->plain_tokens_per_second > 0) {
    report->speedup = report->speculative_tokens_per_second / report->plain_tokens_per_second;
  }
  if (totals.drafted.decode_seconds > 0)
    report->draft_share = totals.drafted.draft_seconds / totals.drafted.decode_seconds;
  if (totals.ratios.empty()) return;
  const auto middle = totals.ratios.begin() + static_cast<std::ptrdiff_t>(totals.ratios.size() / 2);
  std::nth_element(totals.ratios.begin(), middle, totals.ratios.end());
  report->median_speedup = *middle;
}

constexpr size_t kMostSamples = 6;

TextSample SampleOf(const Prompt& prompt, const StepLog& log) {
  TextSample sample{prompt.task, prompt.text, log.text.substr(0, log.first_text), {}};
  size_t begin = log.first_text;
  for (const StepRecord& step : log.steps) {
    sample.runs.push_back(
        {log.text.substr(begin, step.text_end - begin), step.emitted, step.rows()});
    begin = step.text_end;
  }
  return sample;
}

// The two generators and what they have shown so far.
class Comparison {
 public:
  Comparison(const Model& model, const Tokenizer& tokenizer,
             const std::shared_ptr<const MedusaHeads>& heads, const GeneratorLimits& limits,
             const AcceptanceOptions& options)
      : options_(options),
        plain_(model, tokenizer, limits),
        drafting_(model, tokenizer, limits, MakeDrafters(model, heads, limits.max_rows)) {
    if (heads != nullptr) scorer_ = std::make_unique<HeadScorer>(model, *heads);
    plain_options_ = drafting_options_ = options.generation;
    plain_options_.draft = DraftMode::kOff;
    plain_options_.typical = {};
    report_.lossy = drafting_options_.typical.Label();
  }

  // What is touched for the first time costs more: neither side shall pay for it.
  void WarmUp(std::span<const TokenId> ids) {
    Write(plain_, ids, plain_options_, plain_log_);
    Write(drafting_, ids, drafting_options_, drafted_log_);
  }

  void Run(size_t index, const Prompt& prompt, std::span<const TokenId> ids) {
    plain_options_.sampling.stream = drafting_options_.sampling.stream =
        static_cast<uint32_t>(index);
    Timings plain, drafted;
    GenerationResult expected;
    for (int32_t repeat = 0; repeat < options_.repeats; ++repeat) {
      GenerationResult got;
      // Each goes first every other time: what drifts, drifts for both.
      const bool drafted_first = (index + static_cast<size_t>(repeat)) % 2 == 1;
      if (drafted_first) got = Write(drafting_, ids, drafting_options_, drafted_log_);
      expected = Write(plain_, ids, plain_options_, plain_log_);
      if (!drafted_first) got = Write(drafting_, ids, drafting_options_, drafted_log_);
      AddTimed(expected.timings, &plain);
      AddTimed(got.timings, &drafted);
      Compare(prompt, expected, got);
      if (repeat > 0) continue;
      AddCounts(got.timings, &totals_.drafted);
      if (!got.timings.draft_reason.empty()) ++report_.switched_off;
      AddSteps(prompt);
    }
    AddTask(prompt, static_cast<int64_t>(expected.token_ids.size()), plain, drafted);
    AddTimed(plain, &totals_.plain);
    AddTimed(drafted, &totals_.drafted);
    const double rate = plain.decode_tokens_per_second();
    if (rate > 0) totals_.ratios.push_back(drafted.decode_tokens_per_second() / rate);
    ++report_.prompts;
    report_.tokens += static_cast<int64_t>(expected.token_ids.size());
    if (scorer_ != nullptr) ScoreHeads(ids, expected.token_ids);
  }

  AcceptanceReport Report() {
    Finish(std::move(totals_), &report_);
    if (scorer_ != nullptr) scorer_->Fill(&report_);
    for (const TaskTotals& task : tasks_) report_.tasks.push_back(task.Figures());
    AddCosts();
    return std::move(report_);
  }

 private:
  // Sums over the prompts of a task.
  struct TaskTotals {
    TaskFigures figures;
    Timings plain, drafted;
    TaskFigures Figures() const {
      TaskFigures all = figures;
      all.plain_tokens_per_second = plain.decode_tokens_per_second();
      all.speculative_tokens_per_second = drafted.decode_tokens_per_second();
      if (all.plain_tokens_per_second > 0)
        all.speedup = all.speculative_tokens_per_second / all.plain_tokens_per_second;
      return all;
    }
  };

  // Both sides are watched alike.
  static GenerationResult Write(Generator& generator, std::span<const TokenId> ids,
                                const GenerationOptions& options, StepLog& log) {
    log.Begin(options.max_tokens);
    return generator.Generate(ids, options, [&log](const StepProgress& progress) {
      log.Add(progress);
      return true;
    });
  }

  TaskTotals& TaskOf(const Prompt& prompt) {
    const auto same = [&](const TaskTotals& task) { return task.figures.name == prompt.task; };
    const auto found = std::find_if(tasks_.begin(), tasks_.end(), same);
    if (found != tasks_.end()) return *found;
    tasks_.emplace_back().figures.name = prompt.task;
    return tasks_.back();
  }

  // Of the run just made, the prompt's first.
  void AddSteps(const Prompt& prompt) {
    report_.figures.AddPlain(plain_log_);
    report_.figures.AddDrafted(drafted_log_);
    TaskTotals& task = TaskOf(prompt);
    for (const StepRecord& step : drafted_log_.steps) task.figures.steps.Add(step);
    if (task.figures.prompts == 0 && report_.samples.size() < kMostSamples)
      report_.samples.push_back(SampleOf(prompt, drafted_log_));
  }

  void AddTask(const Prompt& prompt, int64_t tokens, const Timings& plain, const Timings& drafted) {
    TaskTotals& task = TaskOf(prompt);
    ++task.figures.prompts;
    task.figures.tokens += tokens;
    AddTimed(plain, &task.plain);
    AddTimed(drafted, &task.drafted);
  }

  void AddCosts() {
    const StepCost& cost = drafting_.cost();
    report_.one_row_seconds = cost.one_row_seconds();
    for (int32_t rows = 1; rows <= options_.generation.max_rows; ++rows)
      report_.step_cost.push_back(cost.OfPass(rows));
    report_.cost_table = cost.Table(options_.generation.max_rows);
    const StepSums& steps = report_.figures.drafted();
    if (cost.frozen()) {
      report_.cost_table.draft_seconds = cost.draft_seconds();
    } else if (steps.verify_steps > 0) {
      report_.cost_table.draft_seconds =
          steps.draft_seconds / static_cast<double>(steps.verify_steps);
    }
    double paid = 0.0;
    for (const RowTimes& rows : report_.figures.Rows())
      paid += static_cast<double>(rows.passes) * cost.OfPass(rows.rows);
    if (paid > 0.0) report_.expected_speedup = report_.figures.drafted().expected / paid;
  }

  void Compare(const Prompt& prompt, const GenerationResult& expected,
               const GenerationResult& got) {
    if (!report_.identical || !report_.lossy.empty()) return;
    const std::string difference = TextDifference(expected, got);
    if (difference.empty()) return;
    report_.identical = false;
    report_.difference = "prompt " + prompt.id + " (" + prompt.file + ", line " +
                         std::to_string(prompt.line) + "): " + difference;
  }

  // One more pass, untimed: prompt and text as a prompt give the hidden states that generating them
  // gave.
  void ScoreHeads(std::span<const TokenId> prompt, std::span<const TokenId> text) {
    std::vector<TokenId> tokens(prompt.begin(), prompt.end());
    tokens.insert(tokens.end(), text.begin(), text.end());
    plain_.SetHiddenSink([&](int32_t position, std::span<const float> hidden) {
      const size_t at = static_cast<size_t>(position);
      if (at + 1 >= prompt.size()) scorer_->Score(tokens, at, hidden);
    });
    GenerationOptions options;
    options.max_tokens = 1;
    options.draft = DraftMode::kOff;
    // No head has a target behind the last two.
    plain_.Generate(std::span<const TokenId>(tokens).first(std::max<size_t>(tokens.size() - 1, 1)),
                    options);
    plain_.SetHiddenSink({});
  }

  const AcceptanceOptions& options_;
  Generator plain_, drafting_;
  GenerationOptions plain_options_, drafting_options_;
  std::unique_ptr<HeadScorer> scorer_;
  AcceptanceReport report_;
  Totals totals_;
  std::vector<TaskTotals> tasks_;
  StepLog plain_log_, drafted_log_;
};

}  // namespace

std::string TextDifference(const GenerationResult& plain, const GenerationResult& drafted) {
  const std::vector<TokenId>&a = plain.token_ids, &b = drafted.token_ids;
  const size_t common =
      static_cast<size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
  if (common < std::max(a.size(), b.size())) {
    const auto token = [common](const std::vector<TokenId>& ids) {
      return common < ids.size() ? std::to_string(ids[common]) : std::string("missing");
    };
    return "token " + std::to_string(common) + " is " + token(a) + " plainly and " + token(b) +
           " with drafts";
  }
  if (plain.text != drafted.text) return "the same tokens give different texts";
  if (plain.finish_reason != drafted.finish_reason) {
    return "the finish reason is " + std::string(ToString(plain.finish_reason)) + " plainly and " +
           std::string(ToString(drafted.finish_reason)) + " with drafts";
  }
  return {};
}

std::vector<std::vector<TokenId>> EncodePrompts(const Model& model, const Tokenizer& tokenizer,
                                                const std::vector<Prompt>& prompts) {
  const size_t most = static_cast<size_t>(model.config.max_position_embeddings) - 1;
  std::vector<std::vector<TokenId>> all;
  for (const Prompt& prompt : prompts) {
    all.push_back(EncodePrompt(model.config, tokenizer, prompt.text));
    if (all.back().size() > most) {
      throw BadFile({prompt.file + ":" + std::to_string(prompt.line), "prompt",
                     "at most " + std::to_string(most) + " tokens, the model's context less one",
                     std::to_string(all.back().size()), "shorten or remove it"});
    }
  }
  return all;
}

AcceptanceReport MeasureAcceptance(const Model& model, const Tokenizer& tokenizer,
                                   const std::shared_ptr<const MedusaHeads>& heads,
                                   const std::vector<Prompt>& prompts,
                                   const AcceptanceOptions& options,
                                   const AcceptanceProgress& progress) {
  TERN_CHECK(options.repeats >= 1) << options.repeats;
  const std::vector<std::vector<TokenId>> all = EncodePrompts(model, tokenizer, prompts);
  Comparison comparison(model, tokenizer, heads, LimitsFor(model, all, options), options);
  if (!all.empty()) comparison.WarmUp(all.front());
  for (size_t i = 0; i < all.size(); ++i) {
    comparison.Run(i, prompts[i], all[i]);
    if (progress) progress(i + 1);
  }
  return comparison.Report();
}

}  // namespace tern
