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
#include "kernels/dispatch.h"
#include "kernels/parallel.h"
#include "tools/bench_passes.h"
#include "tools/commands.h"
#include "tools/model_path.h"
#include "tools/report.h"

namespace tern {
namespace {

using Json = nlohmann::ordered_json;

struct BenchOptions {
  std::string synthetic;
  SyntheticOptions weights;
  PassBenchOptions passes;
};

Model GetModel(const BenchOptions& options, const CommonOptions& common) {
  if (options.synthetic.empty()) return LoadModel(ResolveModel(common.model));
  SyntheticOptions weights = options.weights;
  weights.seed = common.seed;
  return MakeModel(*MakeSyntheticWeights(options.synthetic, weights));
}

void PrintJson(const PassBenchReport& report, double load_seconds) {
  Json passes = Json::array();
  for (const PassResult& pass : report.passes) {
    passes.push_back({{"rows", pass.rows},
                      {"context", pass.context},
                      {"decides", ToString(pass.kind)},
                      {"ms", 1e3 * pass.seconds},
                      {"tokens_per_second", pass.rows / pass.seconds},
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
               {"passes", passes}};
  if (report.prefill.tokens > 0) {
    json["prefill"] = {{"tokens", report.prefill.tokens},
                       {"tokens_per_second", report.prefill.tokens / report.prefill.seconds},
                       {"share_of_limit", report.prefill.limit_seconds / report.prefill.seconds}};
  }
  json["memory"] = {{"resident_mb", report.memory.resident_mb},
                    {"anonymous_mb", report.memory.anonymous_mb}};
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
  std::printf("%7s %5s %-7s %9s %9s %7s %9s\n", "context", "rows", "decides", "ms", "tokens/s",
              "GB/s", "of limit");
  for (const PassResult& pass : report.passes) {
    std::printf("%7d %5d %-7s %9.3f %9.1f %7.1f %8.0f%%\n", pass.context, pass.rows,
                ToString(pass.kind), 1e3 * pass.seconds, pass.rows / pass.seconds,
                1e-9 * pass.bytes / pass.seconds, 100.0 * pass.share());
  }
  if (report.prefill.tokens > 0) {
    std::printf("\nprefill of %d tokens: %.1f tokens/s, %.0f%% of the limit\n",
                report.prefill.tokens, report.prefill.tokens / report.prefill.seconds,
                100.0 * report.prefill.limit_seconds / report.prefill.seconds);
  }
  std::printf("\nmemory: %.0f MB resident, %.0f MB of it anonymous; loaded in %.2f s\n",
              report.memory.resident_mb, report.memory.anonymous_mb, load_seconds);
  std::printf("zero gates %.0f%%, logits hash %s\n", 100.0 * report.zero_gates,
              HashName(report.logits_hash).c_str());
}

void RunBench(const BenchOptions& options, const CommonOptions& common) {
  const auto start = std::chrono::steady_clock::now();
  const Model model = GetModel(options, common);
  const double load_seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  PassBenchReport report;
  {
    Progress progress("bench", "%", 100.0);
    report = BenchPasses(model, options.passes,
                         [&progress](double share) { progress.Update(100.0 * share); });
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
  command->add_option("--prefill", options->passes.prefill, "Tokens of the prefill; 0: none")
      ->capture_default_str();
  command->add_option("--rounds", options->passes.rounds, "Times that everything is measured")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->callback([options, &common] { RunBench(*options, common); });
}

}  // namespace tern
