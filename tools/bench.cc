// `tern bench`: what passes of a model cost on this machine, beside what the machine could do.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "engine/hash.h"
#include "engine/model.h"
#include "engine/synthetic_weights.h"
#include "engine/zero_skip.h"
#include "kernels/dispatch.h"
#include "kernels/parallel.h"
#include "tools/bench_against.h"
#include "tools/bench_gemm.h"
#include "tools/bench_passes.h"
#include "tools/bench_peer.h"
#include "tools/bench_replay.h"
#include "tools/commands.h"
#include "tools/cost_table_flag.h"
#include "tools/model_path.h"
#include "tools/report.h"

namespace tern {
namespace {

using Json = nlohmann::ordered_json;

struct BenchOptions {
  std::string synthetic;
  SyntheticOptions weights;
  PassBenchOptions passes;
  GemmShape gemm;
  std::vector<std::string> kv_types = {"bf16"};
  std::string against, peer;
  std::string acceptance, draft = "auto", cost_table;
  ReplayBenchOptions replay;
};

Model GetModel(const BenchOptions& options, const CommonOptions& common) {
  if (options.synthetic.empty()) return LoadForDecoding(ResolveModel(common.model), common);
  SyntheticOptions weights = options.weights;
  weights.seed = common.seed;
  Model model = MakeModel(*MakeSyntheticWeights(options.synthetic, weights));
  if (common.zero_skip) AddZeroSkipping(model);
  return model;
}

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

void PrintJson(const PassBenchReport& report, double load_seconds) {
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

void PrintText(const PassBenchReport& report, double load_seconds) {
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

void RunGemm(const BenchOptions& options, const CommonOptions& common) {
  const GemmShape& s = options.gemm;
  const GemmReport report = BenchGemm(s, options.passes.rounds);
  const double products = static_cast<double>(s.m) * static_cast<double>(s.k * s.n);
  const char* const dense = report.dense_is_bf16 ? "bf16" : "fp32";
  if (common.json) {
    std::cout << Json{{"m", s.m},
                      {"k", s.k},
                      {"n", s.n},
                      {"threads", ThreadCount()},
                      {"target", CurrentTarget()},
                      {"ternary_ms", 1e3 * report.ternary_seconds},
                      {"ternary_gmac_per_s", 1e-9 * products / report.ternary_seconds},
                      {"int8_gmac_per_s", 1e-9 * report.int8_products},
                      {"onednn_type", dense},
                      {"onednn_ms", 1e3 * report.dense_seconds},
                      {"onednn_gmac_per_s", 1e-9 * products / report.dense_seconds}}
                     .dump(2)
              << std::endl;
    return;
  }
  std::printf("%zu x %zu x %zu, %d threads, %s\n", s.m, s.k, s.n, ThreadCount(),
              CurrentTarget().c_str());
  std::printf("ternary      %9.3f ms, %5.0f G products/s, %.0f%% of the int8 peak\n",
              1e3 * report.ternary_seconds, 1e-9 * products / report.ternary_seconds,
              100.0 * products / report.ternary_seconds / report.int8_products);
  std::printf("oneDNN %s  %9.3f ms, %5.0f G products/s\n", dense, 1e3 * report.dense_seconds,
              1e-9 * products / report.dense_seconds);
}

std::string Joined(const std::vector<int32_t>& values) {
  std::string text;
  for (const int32_t value : values) text += (text.empty() ? "" : ",") + std::to_string(value);
  return text;
}

// The options that both binaries run with.
std::vector<std::string> SharedArguments(const BenchOptions& options, const CommonOptions& common) {
  const PassBenchOptions& passes = options.passes;
  std::vector<std::string> arguments = {"--rows",    Joined(passes.rows),
                                        "--context", Joined(passes.contexts),
                                        "--prefill", std::to_string(passes.prefill),
                                        "--threads", std::to_string(ThreadCount()),
                                        "--seed",    std::to_string(common.seed)};
  const auto add = [&arguments](const char* name, const std::string& value) {
    if (!value.empty()) arguments.insert(arguments.end(), {name, value});
  };
  if (options.synthetic.empty()) {
    add("--model", ResolveModel(common.model));
  } else {
    add("--synthetic", options.synthetic);
    add("--zero-gates", std::to_string(options.weights.zero_gates));
  }
  add("--max-isa", common.max_isa);
  if (common.zero_skip) arguments.emplace_back("--zero-skip");
  // Older binaries have only bf16, and no option for it.
  if (options.kv_types != std::vector<std::string>{"bf16"}) {
    for (const std::string& type : options.kv_types) add("--kv-type", type);
  }
  return arguments;
}

void RunAgainst(const BenchOptions& options, const CommonOptions& common) {
  std::vector<Comparison> all;
  {
    Progress progress("bench", "%", 100.0);
    all = BenchAgainst(options.against, SharedArguments(options, common), options.passes.rounds,
                       [&progress](double share) { progress.Update(100.0 * share); });
  }
  Json json = Json::array();
  if (!common.json) std::printf("%-32s %10s %10s %8s\n", "", "this, ms", "other, ms", "ratio");
  for (const Comparison& c : all) {
    json.push_back({{"what", c.work.Label()},
                    {"ms", c.here_ms},
                    {"other_ms", c.there_ms},
                    {"ratio", c.ratio}});
    if (!common.json) {
      std::printf("%-32s %10.3f %10.3f %8.3f\n", c.work.Label().c_str(), c.here_ms, c.there_ms,
                  c.ratio);
    }
  }
  if (common.json)
    std::cout << Json{{"against", options.against}, {"comparisons", json}}.dump(2) << std::endl;
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

void PrintReplay(const ReplayReport& report, const BenchOptions& options, uint64_t seed) {
  std::printf(
      "REPLAY of --acceptance %s: drafts are accepted by these rates, seed %llu;\n"
      "all else is the engine's work with random heads. %s, %d threads, %s\n\n",
      options.acceptance.c_str(), static_cast<unsigned long long>(seed), CpuName().c_str(),
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

void PrintReplayJson(const ReplayReport& report, const BenchOptions& options, uint64_t seed) {
  const ReplayBenchOptions& replay = options.replay;
  Json predictions = Json::array();
  for (const Prediction& prediction : report.predictions)
    predictions.push_back(PredictionJson(prediction));
  const Json json = {
      {"machine", {{"cpu", CpuName()}, {"threads", ThreadCount()}, {"target", CurrentTarget()}}},
      {"replay",
       {{"acceptance", options.acceptance},
        {"seed", seed},
        {"tokens", replay.tokens},
        {"sequences", replay.sequences},
        {"max_rows", replay.max_rows},
        {"draft", options.draft},
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

void RunReplay(const BenchOptions& options, const CommonOptions& common) {
  if (options.kv_types.size() != 1)
    throw CLI::ValidationError("--kv-type", "takes one type with --acceptance");
  ReplayBenchOptions replay = options.replay;
  replay.rates = std::make_shared<const AcceptanceRates>(AcceptanceRates::Read(options.acceptance));
  replay.seed = common.seed;
  replay.rounds = options.passes.rounds;
  replay.draft = ParseDraftMode(options.draft);
  replay.costs = CostTableAt(options.cost_table);
  replay.kv_type = KvTypeNamed(options.kv_types.front());
  const Model model = GetModel(options, common);
  ReplayReport report;
  {
    Progress progress("bench", "%", 100.0);
    report =
        BenchReplay(model, replay, [&progress](double share) { progress.Update(100.0 * share); });
  }
  if (common.json) {
    PrintReplayJson(report, options, common.seed);
  } else {
    PrintReplay(report, options, common.seed);
  }
}

void RunBesidePeer(const BenchOptions& options, const CommonOptions& common) {
  const PassBenchOptions& passes = options.passes;
  if (passes.contexts != std::vector<int32_t>{0} || options.kv_types.size() != 1)
    throw CLI::ValidationError("--peer", "goes with --context 0 and one --kv-type only");
  const PeerOptions peer = {.command = options.peer,
                            .rows = passes.rows,
                            .prefill = passes.prefill,
                            .threads = ThreadCount(),
                            .rounds = passes.rounds,
                            .kv_type = options.kv_types[0]};
  std::vector<Comparison> comparisons;
  {
    Progress progress("bench", "%", 100.0);
    comparisons = BenchPeer(peer, SharedArguments(options, common),
                            [&progress](double share) { progress.Update(100.0 * share); });
  }
  PrintPeer(peer, comparisons, common.json);
}

void RunBench(const BenchOptions& options, const CommonOptions& common) {
  const GemmShape& gemm = options.gemm;
  const bool any = gemm.m + gemm.k + gemm.n > 0, all = gemm.m > 0 && gemm.k > 0 && gemm.n > 0;
  if (any && !all) throw CLI::ValidationError("--m, --k, --n", "go together, each 1 or more");
  if (any && !options.against.empty())
    throw CLI::ValidationError("--against", "does not go with --m, --k and --n");
  if (!options.peer.empty() && (any || !options.against.empty()))
    throw CLI::ValidationError("--peer", "does not go with --against, --m, --k and --n");
  if (!options.synthetic.empty() && !common.model.empty())
    throw CLI::ValidationError("--synthetic", "does not go with --model");
  if (!options.cost_table.empty() && options.acceptance.empty())
    throw CLI::ValidationError("--cost-table", "goes with --acceptance");
  if (!options.acceptance.empty()) {
    if (any || !options.against.empty() || !options.peer.empty())
      throw CLI::ValidationError("--acceptance",
                                 "does not go with --against, --peer, --m, --k and --n");
    return RunReplay(options, common);
  }
  if (all) return RunGemm(options, common);
  if (!options.against.empty()) return RunAgainst(options, common);
  if (!options.peer.empty()) return RunBesidePeer(options, common);
  const auto start = std::chrono::steady_clock::now();
  const Model model = GetModel(options, common);
  const double load_seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  PassBenchOptions passes = options.passes;
  passes.kv_types.clear();
  for (const std::string& type : options.kv_types) passes.kv_types.push_back(KvTypeNamed(type));
  PassBenchReport report;
  {
    Progress progress("bench", "%", 100.0);
    report =
        BenchPasses(model, passes, [&progress](double share) { progress.Update(100.0 * share); });
  }
  if (common.json) {
    PrintJson(report, load_seconds);
  } else {
    PrintText(report, load_seconds);
  }
}

}  // namespace

void AddBench(CLI::App& app, const CommonOptions& common) {
  auto options = std::make_shared<BenchOptions>();
  CLI::App* command =
      app.add_subcommand("bench", "Times passes of a model against the machine's ceilings");
  command->add_option("--synthetic", options->synthetic,
                      "Random weights of a shape instead of --model, e.g. bitnet-2b-4t");
  command
      ->add_option("--zero-gates", options->weights.zero_gates,
                   "--synthetic: share of gates that relu makes zero, 0.5 to 0.95")
      ->capture_default_str();
  command->add_option("--rows", options->passes.rows, "Rows of a pass, e.g. 1,2,4,8")
      ->delimiter(',')
      ->capture_default_str();
  command->add_option("--context", options->passes.contexts, "Tokens before the pass, e.g. 0,2048")
      ->delimiter(',')
      ->capture_default_str();
  command
      ->add_option("--kv-type", options->kv_types,
                   "Keys and values of the context as bf16 or int8; bf16,int8: both, in turns")
      ->delimiter(',')
      ->check(CLI::IsMember({"bf16", "int8"}))
      ->capture_default_str();
  command->add_option("--prefill", options->passes.prefill, "Tokens of the prefill; 0: none")
      ->capture_default_str();
  command->add_option("--rounds", options->passes.rounds, "Times that everything is measured")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->add_option("--m", options->gemm.m,
                      "Rows of one product to time beside oneDNN's, instead of a model");
  command->add_option("--k", options->gemm.k, "Inputs of that product");
  command->add_option("--n", options->gemm.n, "Outputs of that product");
  command->add_option("--against", options->against,
                      "Another tern binary to run in turns with this one, --rounds times");
  command->add_option(
      "--acceptance", options->acceptance,
      "Replay: measures what draft heads would bring whose candidates are accepted\n"
      "at these rates. 0.6,0.36,0.22: how often the path of first candidates is, down\n"
      "to each depth; or a JSON file {\"acceptance\": [[head 1: rate of rank 1, 2, ..],\n"
      "..]}, each where the path before it is accepted");
  command->add_option("--tokens", options->replay.tokens, "--acceptance: tokens of each sequence")
      ->check(CLI::Range(2, 1 << 20))
      ->capture_default_str();
  command->add_option("--sequences", options->replay.sequences, "--acceptance: texts at once")
      ->check(CLI::Range(1, kMaxRows))
      ->capture_default_str();
  command
      ->add_option("--max-rows", options->replay.max_rows,
                   "--acceptance: rows of a verification at most")
      ->check(CLI::Range(1, kMaxRows))
      ->capture_default_str();
  command->add_option("--draft", options->draft, "--acceptance: how texts are drafted")
      ->check(CLI::IsMember({"auto", "tree", "chain", "ngram", "off"}))
      ->capture_default_str();
  command->add_option("--peer", options->peer,
                      "llama.cpp's llama-bench or a fork's, and its model, to run in turns with "
                      "this, e.g. \"./llama-bench -m model.gguf\"");
  AddCostTable(*command, options->cost_table);
  command->callback([options, &common] { RunBench(*options, common); });
}

}  // namespace tern
