#include "engine/generation_options.h"
#include "tools/cost_table_flag.h"
#include "tools/eval_page.h"
#include "tools/report.h"

namespace tern {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kTimelinePoints = 120;

double Share(int64_t part, int64_t whole) {
  return whole > 0 ? static_cast<double>(part) / static_cast<double>(whole) : 0.0;
}

Json StepsJson(const StepSums& steps) {
  return {{"steps", steps.steps},
          {"verify_steps", steps.verify_steps},
          {"drafted", steps.drafted},
          {"accepted", steps.accepted},
          {"tokens_per_step", steps.tokens_per_step()},
          {"expected_tokens_per_step", steps.expected_per_step()},
          {"acceptance_length", steps.acceptance_length()},
          {"accepted_per_depth", steps.AcceptedPerDepth()}};
}

Json TasksJson(const AcceptanceReport& report) {
  Json list = Json::array();
  for (const TaskFigures& task : report.tasks) {
    Json json = {{"name", task.name},
                 {"prompts", task.prompts},
                 {"tokens", task.tokens},
                 {"plain_tokens_per_second", task.plain_tokens_per_second},
                 {"speculative_tokens_per_second", task.speculative_tokens_per_second},
                 {"speedup", task.speedup}};
    json.update(StepsJson(task.steps));
    list.push_back(std::move(json));
  }
  return list;
}

Json ContextsJson(const StepFigures& figures) {
  Json list = Json::array();
  for (size_t i = 0; i < kContextBuckets.size(); ++i) {
    const StepSums &drafted = figures.drafted_at(i), &plain = figures.plain_at(i);
    if (drafted.steps == 0 && plain.steps == 0) continue;
    Json json = {{"from", kContextBuckets[i].first}};
    if (kContextBuckets[i].last >= 0) json["to"] = kContextBuckets[i].last;
    json["plain_tokens_per_second"] = plain.tokens_per_second();
    json["speculative_tokens_per_second"] = drafted.tokens_per_second();
    json.update(StepsJson(drafted));
    list.push_back(std::move(json));
  }
  return list;
}

Json NodesJson(const NodeSums& nodes) {
  return {{"drafted", nodes.nodes},
          {"accepted", Share(nodes.accepted, nodes.nodes)},
          {"expected", nodes.nodes > 0 ? nodes.expected / static_cast<double>(nodes.nodes) : 0.0}};
}

Json CalibrationJson(const StepFigures& figures) {
  Json list = Json::array();
  constexpr auto kCount = static_cast<double>(StepFigures::kScoreBuckets);
  for (size_t i = 0; i < StepFigures::kScoreBuckets; ++i) {
    Json json = {{"from", static_cast<double>(i) / kCount},
                 {"to", static_cast<double>(i + 1) / kCount}};
    json.update(NodesJson(figures.scores()[i]));
    list.push_back(std::move(json));
  }
  return list;
}

Json DraftersJson(const StepFigures& figures) {
  Json json;
  for (size_t i = 0; i < kDrafterNames.size(); ++i) {
    const NodeSums& nodes = figures.drafters()[i];
    json[kDrafterNames[i]] = {
        {"drafted", nodes.nodes}, {"accepted", nodes.accepted}, {"expected", nodes.expected}};
  }
  return json;
}

Json DepthsJson(const StepFigures& figures) {
  Json list = Json::array();
  for (const NodeSums& nodes : figures.depths()) {
    Json json = {{"depth", list.size() + 1}};
    json.update(NodesJson(nodes));
    list.push_back(std::move(json));
  }
  return list;
}

Json CostsJson(const AcceptanceReport& report) {
  Json list = Json::array();
  const std::vector<RowTimes> rows = report.figures.Rows();
  for (size_t i = 0; i < report.step_cost.size(); ++i) {
    Json json = {{"rows", i + 1}, {"cost", report.step_cost[i]}};
    for (const RowTimes& times : rows) {
      if (static_cast<size_t>(times.rows) != i + 1) continue;
      json["passes"] = times.passes;
      json["milliseconds"] = 1e3 * times.median_seconds;
    }
    list.push_back(std::move(json));
  }
  return list;
}

Json ConfidenceJson(const AcceptanceReport& report) {
  Json heads = Json::array();
  constexpr auto kCount = static_cast<double>(AcceptanceReport::kConfidenceBins);
  for (const auto& bins : report.acceptance_by_confidence) {
    Json list = Json::array();
    for (size_t i = 0; i < bins.size(); ++i) {
      list.push_back({{"from", static_cast<double>(i) / kCount},
                      {"to", static_cast<double>(i + 1) / kCount},
                      {"share", bins[i].share},
                      {"rates", bins[i].rates}});
    }
    heads.push_back(std::move(list));
  }
  return heads;
}

Json TimelineJson(const StepFigures& figures) {
  Json list = Json::array();
  for (const TimelinePoint& point : figures.Timeline(kTimelinePoints)) {
    list.push_back({{"seconds", point.seconds},
                    {"tokens_per_step", point.tokens_per_step},
                    {"expected_tokens_per_step", point.expected_per_step}});
  }
  return list;
}

Json PhasesJson(const StepSums& steps) {
  return {{"draft_seconds", steps.draft_seconds},
          {"plan_seconds", steps.plan_seconds},
          {"plan_share", steps.seconds > 0.0 ? steps.plan_seconds / steps.seconds : 0.0},
          {"verify_seconds", steps.pass_seconds},
          {"rest_seconds", steps.seconds - steps.draft_seconds - steps.pass_seconds}};
}

}  // namespace

Json EvalJson(const EvalRun& run, const AcceptanceReport& report) {
  const StepFigures& figures = report.figures;
  return {{"prompts", report.prompts},
          {"tokens", report.tokens},
          {"acceptance_length", report.acceptance_length},
          {"accepted_per_depth", report.accepted_per_depth},
          {"head_top1", report.head_top1},
          {"acceptance", report.acceptance},
          {"acceptance_by_confidence", ConfidenceJson(report)},
          {"plain_tokens_per_second", report.plain_tokens_per_second},
          {"speculative_tokens_per_second", report.speculative_tokens_per_second},
          {"speedup", report.speedup},
          {"median_speedup", report.median_speedup},
          // Lossy texts are not compared.
          {"identical", report.lossy.empty() ? Json(report.identical) : Json()},
          {"lossy", report.lossy.empty() ? Json(false) : Json(report.lossy)},
          {"steps", report.steps},
          {"verify_steps", report.verify_steps},
          {"draft_share", report.draft_share},
          {"switched_off", report.switched_off},
          {"tokens_per_step", figures.drafted().tokens_per_step()},
          {"expected_tokens_per_step", figures.drafted().expected_per_step()},
          {"expected_speedup", report.expected_speedup},
          {"tasks", TasksJson(report)},
          {"contexts", ContextsJson(figures)},
          {"depths", DepthsJson(figures)},
          {"drafters", DraftersJson(figures)},
          {"head_ranks", report.head_ranks},
          {"calibration", CalibrationJson(figures)},
          {"one_row_milliseconds", 1e3 * report.one_row_seconds},
          {"step_cost", CostsJson(report)},
          {"cost_table", CostTableJson(report.cost_table)},
          {"phases", PhasesJson(figures.drafted())},
          {"plain_phases", PhasesJson(figures.plain())},
          {"timeline", TimelineJson(figures)},
          {"skipped", run.skipped},
          {"model", run.model},
          {"cpu", run.cpu},
          {"date", run.date},
          {"heads", run.heads},
          {"draft", ToString(run.generation.draft)},
          {"max_rows", run.generation.max_rows},
          {"temperature", run.generation.sampling.temperature},
          {"threads", run.threads},
          {"peak_memory_mb", PeakMemoryMb()}};
}

}  // namespace tern
