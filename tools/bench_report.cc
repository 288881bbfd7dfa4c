#include "tools/bench_report.h"

#include <algorithm>
#include <cstdio>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>

#include "engine/cost_table.h"
#include "engine/hash.h"
#include "kernels/dispatch.h"
#include "kernels/parallel.h"
#include "tools/cost_table_flag.h"
#include "tools/report.h"

namespace tern {
namespace {

using Json = nlohmann::ordered_json;

// Of passes that decide tokens, as the first context and cache type had them; drafting was not
// measured.
CostTable TableOf(const PassBenchReport& report) {
  std::map<int32_t, double> seconds;
  for (const PassResult& pass : report.passes) {
    const PassResult& first = report.passes.front();
    const bool counts = pass.context == first.context && pass.kv_type == first.kv_type &&
                        pass.kind == PassKind::kGreedy && !pass.zero_skip;
    if (counts && pass.rows <= kMaxRows) seconds.emplace(pass.rows, pass.seconds);
  }
  CostTable table;
  if (seconds.empty() || seconds.begin()->first != 1) return table;
  table.one_row_seconds = seconds.begin()->second;
  double most = 1.0;  // noise must not make more rows cheaper
  for (const auto& [rows, pass] : seconds)
    table.ratios.emplace_back(rows, most = std::max(most, pass / table.one_row_seconds));
  return table;
}

void PrintPassesJson(const PassBenchReport& report, double load_seconds) {
  Json passes = Json::array();
  for (const PassResult& pass : report.passes) {
    passes.push_back({{"rows", pass.rows},
                      {"context", pass.context},
                      {"kv_type", ToString(pass.kv_type)},
                      {"decides", ToString(pass.kind)},
                      {"zero_skip", pass.zero_skip},
                      {"ms", 1e3 * pass.seconds},
                      {"tokens_per_second", pass.rows / pass.seconds},
                      {"mb_read", 1e-6 * pass.bytes},
                      {"gb_per_s", 1e-9 * pass.bytes / pass.seconds},
                      {"share_of_limit", pass.share()}});
  }
  Json json = {{"machine",
                {{"cpu", CpuName()},
                 {"threads", ThreadCount()},
                 {"target", CurrentTarget()},
                 {"read_gb_per_s", 1e-9 * report.read_bytes},
                 {"int8_gmac_per_s", 1e-9 * report.int8_products},
                 {"bf16_gmac_per_s", 1e-9 * report.bf16_products}}},
               {"passes", passes},
               {"cost_table", CostTableJson(TableOf(report))}};
  if (report.prefill.tokens > 0) {
    json["prefill"] = {{"tokens", report.prefill.tokens},
                       {"tokens_per_second", report.prefill.tokens / report.prefill.seconds},
                       {"share_of_limit", report.prefill.limit_seconds / report.prefill.seconds}};
  }
  json["memory"] = {{"resident_mb", report.memory.resident_mb},
                    {"anonymous_mb", report.memory.anonymous_mb}};
  for (const auto& [type, bytes] : report.caches)
    json["memory"]["kv_cache_bytes"][ToString(type)] = bytes;
  json["zero_gates"] = report.zero_gates;
  json["logits_hash"] = HashName(report.logits_hash);
  json["load_seconds"] = load_seconds;
  json["peak_memory_mb"] = PeakMemoryMb();
  std::cout << json.dump(2) << std::endl;
}

void PrintPassesText(const PassBenchReport& report, double load_seconds) {
  std::printf("%s, %d threads, %s\n", CpuName().c_str(), ThreadCount(), CurrentTarget().c_str());
  std::printf("reads %.1f GB/s, int8 %.0f G products/s, bf16 GEMM %.0f G products/s\n\n",
              1e-9 * report.read_bytes, 1e-9 * report.int8_products, 1e-9 * report.bf16_products);
  std::printf("%7s %-4s %5s %-13s %9s %9s %8s %7s %9s\n", "context", "kv", "rows", "decides", "ms",
              "tokens/s", "MB read", "GB/s", "of limit");
  for (const PassResult& pass : report.passes) {
    const std::string decides = ToString(pass.kind) + std::string(pass.zero_skip ? ", skip" : "");
    std::printf("%7d %-4s %5d %-13s %9.3f %9.1f %8.0f %7.1f %8.0f%%\n", pass.context,
                ToString(pass.kv_type), pass.rows, decides.c_str(), 1e3 * pass.seconds,
                pass.rows / pass.seconds, 1e-6 * pass.bytes, 1e-9 * pass.bytes / pass.seconds,
                100.0 * pass.share());
  }
  if (report.prefill.tokens > 0) {
    std::printf("\nprefill of %d tokens: %.1f tokens/s, %.0f%% of the limit\n",
                report.prefill.tokens, report.prefill.tokens / report.prefill.seconds,
                100.0 * report.prefill.limit_seconds / report.prefill.seconds);
  }
  for (const auto& [type, bytes] : report.caches)
    std::printf("\n%s cache: %.1f MB", ToString(type), 1e-6 * static_cast<double>(bytes));
  std::printf("\nmemory: %.0f MB resident, %.0f MB of it anonymous; loaded in %.2f s\n",
              report.memory.resident_mb, report.memory.anonymous_mb, load_seconds);
  std::printf("zero gates %.0f%%, logits hash %s\n", 100.0 * report.zero_gates,
              HashName(report.logits_hash).c_str());
}

void PrintPredictions(const ReplayReport& report) {
  const MachineFigures& here = report.here;
  std::printf(
      "\nPREDICTION for other machines (not measured) from figures of one core here, which reads\n"
      "%.1f GB/s and does %.0f G int8 products/s; a pass here on %d, and on one thread, in ms:\n",
      1e-9 * here.read_bytes / here.threads, 1e-9 * here.int8_products / here.threads,
      here.threads);
  for (const PassFigures& pass : here.passes) {
    std::printf("  %d rows %.2f, %.2f; %.0f MB, %.2f that threads do not shorten\n", pass.rows,
                1e3 * pass.seconds, 1e3 * pass.one_thread_seconds, 1e-6 * pass.bytes,
                1e3 * FixedSeconds(pass, here));
  }
  const auto line = [](const char* name, const Prediction& p) {
    std::printf(
        "%-11s %2d cores, %5.1f GB/s: plain %7.1f tokens/s, replayed %7.1f (%.2fx, %d rows)\n",
        name, p.machine.cores, 1e-9 * p.machine.read_bytes, p.plain_tokens_per_second,
        p.tokens_per_second, p.speedup(), p.rows);
  };
  line("for here", report.own);
  for (const Prediction& prediction : report.predictions) line("predicted", prediction);
}

void PrintReplayText(const ReplayReport& report, const ReplayBenchOptions& options,
                     const std::string& acceptance) {
  std::printf(
      "REPLAY of --acceptance %s: drafts are accepted by these rates, seed %llu;\n"
      "all else is the engine's work with random heads. %s, %d threads, %s\n\n",
      acceptance.c_str(), static_cast<unsigned long long>(options.seed), CpuName().c_str(),
      ThreadCount(), CurrentTarget().c_str());
  std::printf("%-24s %.2f\n", "plain tokens/s", report.plain_tokens_per_second);
  std::printf("%-24s %.2f\n", "replayed tokens/s", report.tokens_per_second);
  std::printf("%-24s %.3f (rounds:", "speed-up", report.speedup);
  for (const double speedup : report.speedups) std::printf(" %.3f", speedup);
  std::printf(")\n%-24s %.2f tokens per verify step\n", "acceptance length",
              report.acceptance_length);
  std::printf("%-24s %.2f tokens, %.2f rows; %.0f%% verify drafts\n", "a step",
              report.tokens_per_step, report.rows_per_step, 100.0 * report.verify_share);
  std::printf("%-24s", "accepted at depth 1, 2..");
  for (const double share : report.accepted_per_depth) std::printf(" %.1f%%", 100.0 * share);
  std::printf("\n%-24s %.1f%% of the time; look-up and planning %.3f%%\n", "drafting",
              100.0 * report.draft_share, 100.0 * report.plan_share);
  std::printf("%-24s", "cost of 1, 2.. rows");
  for (const double cost : report.pass_costs) std::printf(" %.2f", cost);
  std::printf("\n%-24s %s%s%s\n", "drafts at the end", report.draft_mode.c_str(),
              report.draft_reason.empty() ? "" : ": ", report.draft_reason.c_str());
  PrintPredictions(report);
}

Json PredictionJson(const Prediction& prediction) {
  return {{"cores", prediction.machine.cores},
          {"gb_per_s", 1e-9 * prediction.machine.read_bytes},
          {"plain_tokens_per_second", prediction.plain_tokens_per_second},
          {"tokens_per_second", prediction.tokens_per_second},
          {"speedup", prediction.speedup()},
          {"rows", prediction.rows}};
}

// What the predictions go by.
Json BasisJson(const ReplayReport& report) {
  const MachineFigures& here = report.here;
  Json passes = Json::array();
  for (const PassFigures& pass : here.passes) {
    passes.push_back({{"rows", pass.rows},
                      {"ms", 1e3 * pass.seconds},
                      {"one_thread_ms", 1e3 * pass.one_thread_seconds},
                      {"fixed_ms", 1e3 * FixedSeconds(pass, here)},
                      {"mb_read", 1e-6 * pass.bytes}});
  }
  return {{"threads", here.threads},
          {"read_gb_per_s", 1e-9 * here.read_bytes},
          {"int8_gmac_per_s_per_core", 1e-9 * here.int8_products / here.threads},
          {"passes", passes},
          {"plain_rest_ms", 1e3 * here.plain_rest_seconds},
          {"drafted_rest_ms", 1e3 * here.drafted_rest_seconds},
          {"for_here", PredictionJson(report.own)}};
}

void PrintReplayJson(const ReplayReport& report, const ReplayBenchOptions& options,
                     const std::string& acceptance) {
  Json predictions = Json::array();
  for (const Prediction& prediction : report.predictions)
    predictions.push_back(PredictionJson(prediction));
  const Json json = {
      {"machine", {{"cpu", CpuName()}, {"threads", ThreadCount()}, {"target", CurrentTarget()}}},
      {"replay",
       {{"acceptance", acceptance},
        {"seed", options.seed},
        {"tokens", options.tokens},
        {"sequences", options.sequences},
        {"max_rows", options.max_rows},
        {"draft", ToString(options.draft)},
        {"tokens_per_second", report.tokens_per_second},
        {"plain_tokens_per_second", report.plain_tokens_per_second},
        {"speedup", report.speedup},
        {"speedups", report.speedups},
        {"acceptance_length", report.acceptance_length},
        {"accepted_per_depth", report.accepted_per_depth},
        {"tokens_per_step", report.tokens_per_step},
        {"rows_per_step", report.rows_per_step},
        {"verify_share", report.verify_share},
        {"draft_share", report.draft_share},
        {"plan_share", report.plan_share},
        {"pass_costs", report.pass_costs},
        {"draft_mode", report.draft_mode},
        {"draft_reason", report.draft_reason},
        {"predictions", predictions},
        {"prediction_basis", BasisJson(report)}}},
      {"cost_table", CostTableJson(report.cost_table)},
      {"peak_memory_mb", PeakMemoryMb()}};
  std::cout << json.dump(2) << std::endl;
}

}  // namespace

void PrintPasses(const PassBenchReport& report, double load_seconds, bool as_json) {
  as_json ? PrintPassesJson(report, load_seconds) : PrintPassesText(report, load_seconds);
}

void PrintReplay(const ReplayReport& report, const ReplayBenchOptions& options,
                 const std::string& acceptance, bool as_json) {
  as_json ? PrintReplayJson(report, options, acceptance)
          : PrintReplayText(report, options, acceptance);
}

}  // namespace tern
