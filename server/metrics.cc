#include "server/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "server/route_names.h"

namespace tern {
namespace {

using prometheus::Counter;
using prometheus::Family;
using prometheus::Gauge;
using prometheus::Histogram;
using prometheus::Registry;

// Rows of a pass whose cost is told.
constexpr std::array<int32_t, 7> kCostRows = {1, 2, 4, 8, 16, 32, 64};

const Histogram::BucketBoundaries kFirstTokenSeconds = {0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
                                                        1.0,  2.5,   5.0,  10,  30,   60};
const Histogram::BucketBoundaries kTokenSeconds = {0.001, 0.0025, 0.005, 0.01, 0.025,
                                                   0.05,  0.1,    0.25,  0.5,  1.0};

Family<Counter>& Counters(Registry& registry, const char* name, const char* help) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(registry);
}
Family<Gauge>& Gauges(Registry& registry, const char* name, const char* help) {
  return prometheus::BuildGauge().Name(name).Help(help).Register(registry);
}
Family<Histogram>& Histograms(Registry& registry, const char* name, const char* help) {
  return prometheus::BuildHistogram().Name(name).Help(help).Register(registry);
}

// Timings::draft_reason has figures in it; a label must not.
const char* ReasonLabel(const Timings& timings) {
  if (timings.draft_mode != "off") return "";
  if (timings.draft_reason.empty()) return "asked";
  if (timings.draft_reason.starts_with("max_rows")) return "max_rows";
  return timings.draft_reason.starts_with("drafting gave") ? "slower" : "no_drafter";
}

void Add(Counter& counter, int64_t count) { counter.Increment(static_cast<double>(count)); }

}  // namespace

struct ServerMetrics::Families {
  Registry registry;
  Family<Counter>& requests = Counters(registry, "tern_requests_total", "HTTP requests answered");
  Family<Counter>& texts =
      Counters(registry, "tern_texts_total",
               "Texts ended, by finish reason, what drafted at their end and why nothing did");
  Gauge& running =
      Gauges(registry, "tern_requests_running", "Requests whose texts are being written").Add({});
  Gauge& queued = Gauges(registry, "tern_requests_waiting", "Requests in the queue").Add({});
  Counter& prompt_tokens =
      Counters(registry, "tern_prompt_tokens_total", "Tokens of prompts").Add({});
  Counter& cached_tokens = Counters(registry, "tern_prompt_tokens_cached_total",
                                    "Tokens of prompts that were found in the cache")
                               .Add({});
  Counter& tokens = Counters(registry, "tern_generation_tokens_total", "Tokens written").Add({});
  Counter& steps =
      Counters(registry, "tern_steps_total", "Steps of texts behind their prompts").Add({});
  Counter& drafts =
      Counters(registry, "tern_spec_decode_num_drafts_total", "Steps that verified drafted tokens")
          .Add({});
  Counter& drafted = Counters(registry, "tern_spec_decode_num_draft_tokens_total",
                              "Drafted tokens that were verified")
                         .Add({});
  Counter& accepted = Counters(registry, "tern_spec_decode_num_accepted_tokens_total",
                               "Drafted tokens that became text")
                          .Add({});
  Family<Counter>& accepted_at =
      Counters(registry, "tern_spec_decode_num_accepted_tokens_per_pos_total",
               "Drafted tokens that became text, by their place behind the last token, from 0");
  Gauge& one_row_seconds =
      Gauges(registry, "tern_pass_seconds", "Seconds of a pass of one row, recent").Add({});
  Family<Gauge>& cost = Gauges(registry, "tern_pass_cost_ratio",
                               "Cost of a pass of so many rows over that of one row");
  Histogram& first_token = Histograms(registry, "tern_time_to_first_token_seconds",
                                      "From a request's arrival to a text's first token")
                               .Add({}, kFirstTokenSeconds);
  Histogram& per_token = Histograms(registry, "tern_time_per_output_token_seconds",
                                    "A text's seconds behind its first token, by token")
                             .Add({}, kTokenSeconds);
};

ServerMetrics::ServerMetrics() : families_(std::make_unique<Families>()) {}
ServerMetrics::~ServerMetrics() = default;

void ServerMetrics::CountRequest(const std::string& path, int status) {
  families_->requests
      .Add({{"route", std::string(RouteName(path))}, {"code", std::to_string(status)}})
      .Increment();
}

void ServerMetrics::CountFirstToken(double seconds) { families_->first_token.Observe(seconds); }

void ServerMetrics::CountText(const GenerationResult& result) {
  const Timings& timings = result.timings;
  families_->texts
      .Add({{"finish_reason", std::string(ToString(result.finish_reason))},
            {"draft", timings.draft_mode},
            {"reason", ReasonLabel(timings)}})
      .Increment();
  Add(families_->prompt_tokens, timings.prompt_tokens);
  Add(families_->cached_tokens, timings.cached_tokens);
  Add(families_->tokens, static_cast<int64_t>(result.token_ids.size()));
  Add(families_->steps, timings.steps);
  Add(families_->drafts, timings.verify_steps);
  Add(families_->drafted, timings.drafted);
  Add(families_->accepted, timings.accepted);
  for (size_t depth = 0; depth < timings.accepted_at_depth.size(); ++depth) {
    if (timings.accepted_at_depth[depth] == 0) continue;
    Add(families_->accepted_at.Add({{"position", std::to_string(depth)}}),
        timings.accepted_at_depth[depth]);
  }
  if (timings.decode_tokens > 0)
    families_->per_token.Observe(timings.decode_seconds / timings.decode_tokens);
}

void ServerMetrics::SetStepCost(const StepCost& cost) {
  if (cost.one_row_seconds() <= 0.0) return;
  families_->one_row_seconds.Set(cost.one_row_seconds());
  for (const int32_t rows : kCostRows)
    families_->cost.Add({{"rows", std::to_string(rows)}}).Set(cost.OfPass(rows));
}

std::string ServerMetrics::Text(size_t running, size_t queued) {
  families_->running.Set(static_cast<double>(running));
  families_->queued.Set(static_cast<double>(queued));
  return prometheus::TextSerializer().Serialize(families_->registry.Collect());
}

}  // namespace tern
