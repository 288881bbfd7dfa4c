#include "tools/train_page.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <vector>

#include "engine/atomic_file.h"
#include "tools/html_page.h"
#include "tools/svg_chart.h"
#include "trainer/metrics_files.h"
#include "trainer/progress_line.h"

namespace tern {
namespace {

using nlohmann::json;

// The numbers of all records by name, over steps.
class Series {
 public:
  explicit Series(const std::string& run) {
    std::istringstream lines(ReadFile(MetricsFiles::JsonlPath(run)));
    for (std::string line; std::getline(lines, line);) {
      const json record = json::parse(line, nullptr, false);
      if (!record.is_object() || !record.contains("step") || !record["step"].is_number()) continue;
      // The last measurement covers other texts than those before it.
      if (record.value("whole_file", false)) continue;
      const double step = record["step"].get<double>();
      if (record.contains("event")) {
        events_.push_back(record);
        continue;
      }
      for (const auto& [name, value] : FlattenMetrics(record))
        points_[name].push_back({step, value});
    }
  }

  const std::vector<json>& events() const { return events_; }
  std::optional<double> Last(const std::string& name) const {
    const auto found = points_.find(name);
    if (found == points_.end()) return std::nullopt;
    return found->second.back().y;
  }
  std::optional<double> Most(const std::string& name) const {
    const auto found = points_.find(name);
    if (found == points_.end()) return std::nullopt;
    return std::ranges::max_element(found->second, {}, &ChartPoint::y)->y;
  }
  ChartLine Line(const std::string& label, const std::string& name, bool faint = false) const {
    const auto found = points_.find(name);
    if (found == points_.end()) return {label, {}};
    return {label, Thinned(found->second), false, faint};
  }
  // name/1, name/2, ..
  std::vector<ChartLine> Lines(const std::string& label, const std::string& name) const {
    std::vector<ChartLine> lines;
    for (int i = 1; points_.contains(name + "/" + std::to_string(i)); ++i)
      lines.push_back(Line(label + " " + std::to_string(i), name + "/" + std::to_string(i)));
    return lines;
  }

 private:
  static constexpr size_t kMostPoints = 400;
  // Means of equal groups where there are too many to draw.
  static std::vector<ChartPoint> Thinned(const std::vector<ChartPoint>& all) {
    const size_t group = (all.size() + kMostPoints - 1) / kMostPoints;
    std::vector<ChartPoint> points;
    for (size_t begin = 0; begin < all.size(); begin += group) {
      const size_t count = std::min(group, all.size() - begin);
      ChartPoint mean{0, 0};
      for (size_t i = begin; i < begin + count; ++i) {
        mean.x += all[i].x / static_cast<double>(count);
        mean.y += all[i].y / static_cast<double>(count);
      }
      points.push_back(mean);
    }
    return points;
  }

  std::map<std::string, std::vector<ChartPoint>> points_;
  std::vector<json> events_;
};

std::string Chart(const std::string& heading, const std::string& y,
                  const std::vector<ChartLine>& lines, const std::string& caption,
                  bool percent = false) {
  const ChartAxes axes{.title = heading, .x = "step", .y = y, .percent = percent};
  const std::string chart = LineChart(axes, lines);
  return chart.empty() ? "" : Figure(heading, chart, caption, "");
}

std::string Tiles(const Series& series) {
  std::string html = "<div class=\"tiles\">\n";
  const auto add = [&](std::optional<double> value, const char* name) {
    if (value) html += Tile(FormatNumber(*value), name);
  };
  add(series.Last("loss"), "loss, nats");
  add(series.Last("held_out_loss"), "held-out loss, nats");
  add(series.Most("acceptance_length"), "tokens per step, simulated, best");
  add(series.Most("simulated_tokens_per_second"), "tokens/s, simulated, best");
  add(series.Last("tokens_per_second"), "tokens/s trained on");
  html += Tile(std::to_string(series.events().size()), "rollbacks",
               series.events().empty() ? "good" : "bad");
  return html + "</div>\n";
}

std::string Events(const Series& series) {
  std::string html;
  for (const json& event : series.events()) {
    html += "<p class=\"bad\">" +
            EscapeHtml("bad step " + event.value("bad_step", json()).dump() + ": " +
                       event.value("reason", "") + "; " + event.value("tensor", "") + "; " +
                       event.value("sample", "") + "; learning rate x " +
                       event.value("lr_scale", json()).dump()) +
            "</p>\n";
  }
  return html;
}

}  // namespace

std::string TrainPage(const std::string& title, const std::string& run) {
  const Series series(run);
  return PageBegin(title) + "<header><h1>" + EscapeHtml(title) + "</h1><div class=\"soft\">" +
         EscapeHtml(run) + "</div></header>\n" + Tiles(series) + Events(series) +
         "<div class=\"charts\">\n" +
         Chart("Loss", "nats",
               {series.Line("training", "loss"), series.Line("held out", "held_out_loss")},
               "Training loss, averaged between records, and the loss on texts left out.") +
         Chart("Held-out loss by head", "nats", series.Lines("head", "held_out_head_loss"),
               "Head k predicts token t + 1 + k.") +
         Chart("Held-out accuracy by head", "right", series.Lines("head", "held_out_head_top1"),
               "How often the text's token was a head's most probable one.", true) +
         Chart("Held-out accuracy of five guesses", "right",
               series.Lines("head", "held_out_head_top5"),
               "How often it was among a head's five most probable ones.", true) +
         Chart("Tokens per step, simulated", "tokens",
               {series.Line("acceptance length", "acceptance_length")},
               "Of speculative decoding on the held-out texts, with the tree that pays most.") +
         Chart("Tokens per second, simulated", "tokens/s",
               {series.Line("tokens/s", "simulated_tokens_per_second")},
               "The same under the run's own curve of costs; the best step is what is kept.") +
         Chart("Learning rate", "rate", {series.Line("learning rate", "lr")},
               "Rollbacks lower it.") +
         Chart("Gradient norm", "norm", {series.Line("norm", "grad_norm")},
               "Before clipping, at the steps recorded.") +
         Chart("Speed", "tokens/s", {series.Line("tokens/s", "tokens_per_second")},
               "Of training steps, without evaluation and checkpoints.") +
         "</div>\n" + PageEnd();
}

}  // namespace tern
