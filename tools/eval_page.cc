#include "tools/eval_page.h"

#include <algorithm>

#include "engine/generation_options.h"
#include "tools/html_page.h"
#include "tools/svg_chart.h"

namespace tern {
namespace {

constexpr size_t kTimelinePoints = 80;
constexpr size_t kMostDepths = 8, kMostSampleBytes = 4000;

// Of the samples.
constexpr std::string_view kStyle =
    R"(.text{white-space:pre-wrap;overflow-wrap:anywhere;margin:.5rem 0 1.2rem;line-height:1.75}
.text .p{color:var(--soft)}
.text b,.key{font-weight:normal;border-radius:3px;-webkit-box-decoration-break:clone;box-decoration-break:clone}
.r2{background:rgba(60,157,90,.22)} .r3{background:rgba(217,130,43,.3)}
.r4{background:rgba(154,95,181,.36)} .r5{background:rgba(31,111,178,.5)}
)";

std::string Percent(double share) { return Fixed(100.0 * share, 1) + "%"; }

double Share(double part, double whole) { return whole > 0.0 ? part / whole : 0.0; }

std::string Header(const EvalRun& run, const AcceptanceReport& report) {
  const GenerationOptions& options = run.generation;
  std::string line = "model " + run.model + " · " + std::to_string(run.heads) + " draft heads · " +
                     std::to_string(run.threads) + (run.threads == 1 ? " thread" : " threads");
  if (!run.cpu.empty()) line += " · " + run.cpu;
  line += " · " + run.date;
  std::string how = std::to_string(report.prompts) + " prompts, " + std::to_string(report.tokens) +
                    " tokens written · drafting " + std::string(ToString(options.draft)) +
                    ", at most " + std::to_string(options.max_rows) + " rows · temperature " +
                    Fixed(static_cast<double>(options.sampling.temperature), 2);
  if (run.skipped > 0)
    how += " · " + std::to_string(run.skipped) + " prompts longer than the context left out";
  return "<header><h1>tern eval</h1>\n<div class=\"soft\">" + EscapeHtml(line) +
         "</div>\n<div class=\"soft\">" + EscapeHtml(how) + "</div></header>\n";
}

std::string Tiles(const AcceptanceReport& report) {
  const StepSums& steps = report.figures.drafted();
  return "<div class=\"tiles\">\n" +
         Tile(Fixed(report.plain_tokens_per_second, 1), "plain, tokens/s") +
         Tile(Fixed(report.speculative_tokens_per_second, 1), "speculative, tokens/s") +
         Tile(Fixed(report.speedup, 2) + "×",
              "speed-up (median of prompts " + Fixed(report.median_speedup, 2) + ")",
              report.speedup >= 1.0 ? "good" : "bad") +
         Tile(Fixed(report.acceptance_length, 2), "tokens per verify step") +
         Tile(Fixed(steps.tokens_per_step(), 2),
              "tokens per step (expected " + Fixed(steps.expected_per_step(), 2) + ")") +
         (report.lossy.empty() ? Tile(report.identical ? "yes" : "no", "texts identical",
                                      report.identical ? "good" : "bad")
                               : Tile("LOSSY", report.lossy, "bad")) +
         "</div>\n";
}

std::string DepthChart(const AcceptanceReport& report) {
  std::vector<std::string> labels;
  ChartBars bars{"accepted", {}};
  for (size_t i = 0; i < std::min(report.accepted_per_depth.size(), kMostDepths); ++i) {
    labels.push_back(std::to_string(i + 1));
    bars.values.push_back(report.accepted_per_depth[i]);
  }
  const ChartAxes axes{
      .title = "Acceptance by depth", .x = "depth", .y = "accepted", .percent = true};
  return Figure("Acceptance by depth", BarChart(axes, labels, {bars}),
                "Share of the steps with drafts that accepted a token at this depth.",
                "No draft was accepted.");
}

std::string DrafterChart(const AcceptanceReport& report) {
  std::vector<std::string> labels;
  ChartBars bars{"accepted", {}};
  for (size_t i = 0; i < kDrafterNames.size(); ++i) {
    const NodeSums& nodes = report.figures.drafters()[i];
    if (nodes.nodes == 0) continue;
    labels.push_back(std::string(kDrafterNames[i]) + ", " + std::to_string(nodes.accepted) +
                     " of " + std::to_string(nodes.nodes));
    bars.values.push_back(static_cast<double>(nodes.accepted) / static_cast<double>(nodes.nodes));
  }
  const ChartAxes axes{.title = "Acceptance by drafter", .x = "", .y = "accepted", .percent = true};
  return Figure("Acceptance by drafter", BarChart(axes, labels, {bars}),
                "Share of the drafted tokens that were accepted: of those that only draft heads, "
                "only the n-gram look-up, or both proposed.",
                "Nothing was drafted.");
}

std::string HeadChart(const AcceptanceReport& report) {
  std::vector<std::string> labels;
  std::vector<ChartBars> bars = {
      {"first choice", {}}, {"first 2", {}}, {"first 4", {}}, {"first 8", {}}};
  static_assert(AcceptanceReport::kRanks == 8);
  for (const auto& ranks : report.head_ranks) {
    labels.push_back("head " + std::to_string(labels.size() + 1));
    double sum = 0.0;
    for (size_t r = 0, group = 0; r < ranks.size(); ++r) {
      sum += ranks[r];
      if (r + 1 == size_t{1} << group) bars[group++].values.push_back(sum);
    }
  }
  const ChartAxes axes{.title = "Right guesses by head", .x = "", .y = "right", .percent = true};
  return Figure(
      "Right guesses by head", BarChart(axes, labels, bars),
      "Share of all tokens written that are among a head's most probable ones, drafted or not.",
      "No draft heads were used.");
}

std::string CostChart(const AcceptanceReport& report) {
  ChartLine planned{"c(rows), what the planner goes by", {}};
  ChartLine seen{"median pass", {}, true};
  const std::vector<RowTimes> rows = report.figures.Rows();
  // The latest median of one row may lie far from that of the whole run.
  const double one = !rows.empty() && rows.front().rows == 1 ? rows.front().median_seconds
                                                             : report.one_row_seconds;
  size_t last = 4;
  for (const RowTimes& times : rows) {
    last = std::max(last, static_cast<size_t>(times.rows));
    if (one > 0.0)
      seen.points.push_back({static_cast<double>(times.rows), times.median_seconds / one});
  }
  for (size_t i = 0; i < std::min(report.step_cost.size(), last); ++i)
    planned.points.push_back({static_cast<double>(i + 1), report.step_cost[i]});
  const ChartAxes axes{
      .title = "Step cost by rows", .x = "rows of a pass", .y = "passes of one row"};
  return Figure("Step cost by rows",
                rows.empty() ? std::string() : LineChart(axes, {planned, seen}),
                "A pass of one row took " + Fixed(1e3 * one, 3) + " ms.", "No steps were made.");
}

std::string TimeChart(const AcceptanceReport& report) {
  ChartLine seen{"observed", {}}, expected{"expected by the drafts' scores", {}};
  expected.faint = true;
  for (const TimelinePoint& point : report.figures.Timeline(kTimelinePoints)) {
    seen.points.push_back({point.seconds, point.tokens_per_step});
    expected.points.push_back({point.seconds, point.expected_per_step});
  }
  const ChartAxes axes{
      .title = "Tokens per step over time", .x = "seconds of decoding", .y = "tokens per step"};
  return Figure("Tokens per step over time", LineChart(axes, {seen, expected}),
                "All texts in the order they were written; means of stretches of as many steps.",
                "No steps were made.");
}

std::string CalibrationChart(const AcceptanceReport& report) {
  ChartLine seen{"accepted", {}, true}, truth{"if scores were exact", {{0, 0}, {1, 1}}};
  truth.faint = true;
  std::string table =
      "<div class=\"scroll\"><table><tr><th>score</th><th>nodes</th><th>expected</th>"
      "<th>accepted</th></tr>";
  const auto& scores = report.figures.scores();
  for (size_t i = 0; i < scores.size(); ++i) {
    const auto nodes = static_cast<double>(scores[i].nodes);
    if (scores[i].nodes == 0) continue;
    const double expected = scores[i].expected / nodes;
    const double accepted = static_cast<double>(scores[i].accepted) / nodes;
    // A handful of nodes says little.
    if (scores[i].nodes >= 10) seen.points.push_back({expected, accepted});
    table += "<tr><td>" + Fixed(0.1 * static_cast<double>(i), 1) + " to " +
             Fixed(0.1 * static_cast<double>(i + 1), 1) + "</td><td>" +
             std::to_string(scores[i].nodes) + "</td><td>" + Percent(expected) + "</td><td>" +
             Percent(accepted) + "</td></tr>";
  }
  const ChartAxes axes{.title = "Calibration", .x = "score", .y = "accepted", .percent = true};
  const bool drafted = report.figures.drafted().drafted > 0;
  return Figure("Are the scores true?",
                drafted ? LineChart(axes, {seen, truth}) + table + "</table></div>" : std::string(),
                "Verified nodes by the chance the planner gave them; dots for 10 nodes and more.",
                "Nothing was drafted.");
}

RowBar SpeedBar(const std::string& label, double plain, double drafted, const StepSums& steps) {
  return {
      label,
      Fixed(steps.tokens_per_step(), 2) + " per step · " + Fixed(Share(drafted, plain), 2) + "×",
      steps.tokens_per_step(), steps.expected_per_step()};
}

std::string TaskChart(const AcceptanceReport& report) {
  std::vector<RowBar> bars;
  for (const TaskFigures& task : report.tasks) {
    bars.push_back(SpeedBar(task.name, task.plain_tokens_per_second,
                            task.speculative_tokens_per_second, task.steps));
  }
  return Figure("By task", RowChart("Tokens per step by task", bars),
                "Tokens per step, and the speed-up. The stroke is what the scores promised.",
                "No steps were made.");
}

std::string ContextChart(const AcceptanceReport& report) {
  std::vector<RowBar> bars;
  for (size_t i = 0; i < kContextBuckets.size(); ++i) {
    const StepSums& steps = report.figures.drafted_at(i);
    if (steps.steps == 0) continue;
    const ContextBucket& bucket = kContextBuckets[i];
    const std::string range = bucket.last < 0 ? std::to_string(bucket.first) + " and more tokens"
                                              : std::to_string(bucket.first) + " to " +
                                                    std::to_string(bucket.last) + " tokens";
    bars.push_back(SpeedBar(range, report.figures.plain_at(i).tokens_per_second(),
                            steps.tokens_per_second(), steps));
  }
  return Figure("By context length", RowChart("Tokens per step by context length", bars),
                "Tokens in the cache before the step.", "No steps were made.");
}

std::string PhaseChart(const AcceptanceReport& report) {
  const StepSums& steps = report.figures.drafted();
  if (steps.seconds <= 0.0)
    return Figure("Where a step's time goes", "", "", "No steps were made.");
  const double rest = steps.seconds - steps.draft_seconds - steps.pass_seconds;
  const struct {
    const char* name;
    double seconds;
  } phases[] = {
      {"drafting", steps.draft_seconds}, {"the model", steps.pass_seconds}, {"the rest", rest}};
  std::string bar = "<div class=\"stack\">", legend = "<p class=\"legend\">";
  for (size_t i = 0; i < std::size(phases); ++i) {
    const double share = phases[i].seconds / steps.seconds;
    const std::string colour = "c" + std::to_string(i);
    bar += "<i class=\"" + colour + "\" style=\"width:" + Fixed(100.0 * share, 2) + "%\"></i>";
    legend += "<span><i class=\"" + colour + "\"></i>" + phases[i].name + " " + Percent(share) +
              "</span> ";
  }
  const double plain =
      Share(report.figures.plain().seconds, static_cast<double>(report.figures.plain().steps));
  return Figure("Where a step's time goes", legend + "</p>" + bar + "</div>",
                "A step with its drafts took " +
                    Fixed(1e3 * steps.seconds / static_cast<double>(steps.steps), 3) +
                    " ms on average, a plain one " + Fixed(1e3 * plain, 3) + " ms.",
                "");
}

std::string Sample(const TextSample& sample) {
  std::string html = "<h2>" + EscapeHtml(sample.task) +
                     "</h2>\n<div class=\"text\"><span class=\"p\">" +
                     EscapeHtml(std::string_view(sample.prompt).substr(0, kMostSampleBytes)) +
                     "</span>" + EscapeHtml(sample.begin);
  size_t shown = 0;
  for (const TextSample::Run& run : sample.runs) {
    if ((shown += run.text.size()) > kMostSampleBytes) break;
    if (run.text.empty()) continue;
    if (run.emitted < 2) {
      html += EscapeHtml(run.text);
      continue;
    }
    html += "<b class=\"r" + std::to_string(std::min(run.emitted, 5)) + "\" title=\"" +
            std::to_string(run.emitted) + " tokens of a step of " + std::to_string(run.rows) +
            " rows\">" + EscapeHtml(run.text) + "</b>";
  }
  return html + "</div>\n";
}

std::string Samples(const AcceptanceReport& report) {
  std::string html =
      "<section><h2>What the steps wrote</h2>\n<p class=\"soft\">The first text of each task. A "
      "coloured run is one step that wrote several tokens: <span class=\"key r2\">&#160;two&#160;"
      "</span> <span class=\"key r3\">&#160;three&#160;</span> <span class=\"key r4\">&#160;four"
      "&#160;</span> <span class=\"key r5\">&#160;five or more&#160;</span>. The prompt is "
      "grey.</p>\n";
  for (const TextSample& sample : report.samples) html += Sample(sample);
  return html + "</section>\n";
}

}  // namespace

std::string EvalPage(const EvalRun& run, const AcceptanceReport& report) {
  std::string html = PageBegin("tern eval", kStyle) + Header(run, report) + Tiles(report);
  if (!report.identical) html += "<p class=\"bad\">" + EscapeHtml(report.difference) + "</p>\n";
  html += "<div class=\"charts\">\n" + TaskChart(report) + ContextChart(report) +
          DepthChart(report) + DrafterChart(report) + HeadChart(report) + CostChart(report) +
          TimeChart(report) + CalibrationChart(report) + PhaseChart(report) + "</div>\n" +
          Samples(report);
  return html + PageEnd();
}

}  // namespace tern
