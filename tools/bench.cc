// `tern bench`: what passes of a model cost on this machine, beside what the machine could do.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>
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
#include "tools/bench_report.h"
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
  PrintReplay(report, replay, options.acceptance, common.json);
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
  PrintPasses(report, load_seconds, common.json);
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
