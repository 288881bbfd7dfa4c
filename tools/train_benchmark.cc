#include "tools/train_benchmark.h"

#include <cmath>
#include <cstdio>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "engine/synthetic_weights.h"
#include "kernels/dispatch.h"
#include "kernels/parallel.h"
#include "tools/model_path.h"
#include "tools/report.h"
#include "trainer/head_benchmark.h"
#include "trainer/machine.h"

namespace tern {
namespace {

using Json = nlohmann::ordered_json;

// What is benchmarked, and the run that it is a part of.
struct Subject {
  std::unique_ptr<Model> model;    // null for a shape
  AlignedBuffer<BFloat16> random;  // of a shape
  MatView<const BFloat16> table;
  HeadTrainerOptions heads;
  LoopOptions loop;
  double data_tokens = 0;  // that the run reads, each counted once
};

Subject OfShape(const TrainOptions& options, uint64_t seed) {
  constexpr int32_t kShortlist = 8192, kSteps = 2000;
  Subject s;
  const ModelConfig config = MakeSyntheticWeights(options.synthetic, {.seed = seed})->config();
  const auto vocab = static_cast<size_t>(config.vocab_size),
             d = static_cast<size_t>(config.hidden_size);
  s.random = RandomTable(vocab, d, seed);
  s.table = std::as_const(s.random).View(vocab, d);
  TrainOptions run = options;
  run.steps = options.steps.value_or(kSteps);
  s.loop = ResolveTrainLoop(run, {.training = 1, .held_out = 1});
  s.data_tokens = static_cast<double>(run.steps.value() * s.loop.rows_per_step());
  const int32_t shortlist = std::min(kShortlist, config.vocab_size);
  s.heads = ResolveHeads(options, s.loop, options.loss_shortlist.value_or(shortlist));
  return s;
}

Subject OfData(const TrainOptions& options, const CommonOptions& common) {
  Subject s;
  s.model = std::make_unique<Model>(LoadModel(ResolveModel(common.model), common.I2s()));
  s.table = s.model->OutputEmbedding();
  const HiddenCache cache(options.data);
  const HeadRows rows(cache);
  s.loop = ResolveTrainLoop(options, SplitHeadData(rows, options.held_out));
  s.heads = ResolveHeads(options, s.loop, DefaultShortlist(cache));
  s.data_tokens = static_cast<double>(cache.info().tokens());
  return s;
}

std::vector<std::string> Warnings(const HeadBenchmarkResult& r, double vocab) {
  std::vector<std::string> found;
  char text[160];
  if (r.times.grows()) {
    std::snprintf(text, sizeof(text), "step times grow, by %.0f%% from the first third to the last",
                  100 * r.times.growth);
    found.emplace_back(text);
  }
  if (r.times.spreads()) {
    std::snprintf(text, sizeof(text), "step times spread over %.0f%% of their median",
                  100 * r.times.spread);
    found.emplace_back(text);
  }
  if (std::fabs(r.loss - std::log(vocab)) > 0.1) {
    std::snprintf(text, sizeof(text), "the loss is %.3f, expected near ln V = %.3f", r.loss,
                  std::log(vocab));
    found.emplace_back(text);
  }
  // Hits are about Poisson-distributed, with this mean.
  const double mean = static_cast<double>(r.places) / vocab;
  if (r.top1 * static_cast<double>(r.places) > mean + 5 * std::sqrt(mean) + 5) {
    std::snprintf(text, sizeof(text), "the accuracy is %.4f, expected near 1/V = %.2g", r.top1,
                  1 / vocab);
    found.emplace_back(text);
  }
  return found;
}

constexpr char kCauses[] =
    "likely causes, the likeliest first: other work on the same cores (top, uptime); more threads "
    "than physical cores (--threads); a CPU that gets hot or is held to a power limit "
    "(turbostat); memory on another node (--numa auto); swapping (vmstat); a virtual machine whose "
    "host is busy (steal time in top)";

struct Needs {
  double memory_mb, checkpoints_mb, heads_mb, data_mb;
};

void PrintText(const Subject& s, const HeadBenchmarkResult& r, const Needs& needs, double mfu) {
  const double step = r.step_seconds(s.loop.accumulate);
  const double tokens = static_cast<double>(s.loop.rows_per_step());
  const double vocab = static_cast<double>(s.table.rows);
  std::printf("%.4g s per step of %.0f tokens (%d micro-batches of %.4g s, update %.4g s)\n", step,
              tokens, s.loop.accumulate, r.micro_seconds, r.update_seconds);
  std::printf("%.0f tokens/s, mfu %.1f%%, %d threads, %s\n", tokens / step, 100 * mfu,
              ThreadCount(), CurrentTarget().c_str());
  std::printf("%llu steps: %s, besides evaluation and checkpoints\n",
              static_cast<unsigned long long>(s.loop.schedule.steps),
              FormatDuration(step * static_cast<double>(s.loop.schedule.steps)).c_str());
  std::printf("memory %.0f MB%s; disk: checkpoints %.0f MB, heads %.0f MB, data %.0f MB\n",
              needs.memory_mb, s.model ? "" : " besides the model's layers", needs.checkpoints_mb,
              needs.heads_mb, needs.data_mb);
  std::printf("untrained: loss %.4f (ln V = %.4f), top-1 %.2g (1/V = %.2g)\n", r.loss,
              std::log(vocab), r.top1, 1 / vocab);
  const std::vector<std::string> warnings = Warnings(r, vocab);
  for (const std::string& warning : warnings) std::printf("look: %s\n", warning.c_str());
  if (r.times.grows() || r.times.spreads()) std::printf("%s\n", kCauses);
}

Json ToJson(const Subject& s, const HeadBenchmarkResult& r, const Needs& needs, double mfu) {
  const double step = r.step_seconds(s.loop.accumulate);
  return {
      {"step_seconds", step},
      {"micro_batch_seconds", r.micro_seconds},
      {"update_seconds", r.update_seconds},
      {"growth", r.times.growth},
      {"spread", r.times.spread},
      {"tokens_per_second", static_cast<double>(s.loop.rows_per_step()) / step},
      {"steps", s.loop.schedule.steps},
      {"eta_s", step * static_cast<double>(s.loop.schedule.steps)},
      {"mfu", mfu},
      {"parameters", r.parameters},
      {"loss_columns", s.heads.loss_samples == 0 ? s.table.rows
                                                 : static_cast<size_t>(s.heads.loss_shortlist) +
                                                       static_cast<size_t>(s.heads.loss_samples)},
      {"loss", r.loss},
      {"ln_vocabulary", std::log(static_cast<double>(s.table.rows))},
      {"top1", r.top1},
      {"memory_mb", needs.memory_mb},
      {"checkpoints_mb", needs.checkpoints_mb},
      {"heads_mb", needs.heads_mb},
      {"data_mb", needs.data_mb},
      {"warnings", Warnings(r, static_cast<double>(s.table.rows))},
      {"threads", ThreadCount()},
      {"target", CurrentTarget()},
      {"peak_memory_mb", PeakMemoryMb()}};
}

}  // namespace

void BenchmarkTraining(const TrainOptions& options, const CommonOptions& common) {
  const Subject s =
      options.synthetic.empty() ? OfData(options, common) : OfShape(options, common.seed);
  GemmPeak peak(s.heads.bfloat16);
  const HeadBenchmarkResult r =
      BenchmarkHeads(s.table, s.heads, options.benchmark_steps, common.seed);
  const double macs = r.gemm_macs / r.micro_seconds;
  peak.AtLeast(macs);
  constexpr double kMb = 1 << 20;
  const double d = static_cast<double>(s.table.cols);
  const double heads_values =  // of each head
      d * (d + 1) * s.heads.layers + (s.heads.sees_root ? d * d : 0.0) +
      (s.heads.own_projection ? d * static_cast<double>(s.table.rows) : 0.0);
  const Needs needs = {PeakMemoryMb(),
                       4 * 3 * 4 * r.parameters / kMb,  // two, the best, and one being written
                       2 * s.heads.heads * heads_values / kMb,
                       s.data_tokens * (2 * d + 5) / kMb};  // hidden state, token, mask
  const double mfu = macs / peak.macs_per_second();
  if (common.json) {
    std::cout << ToJson(s, r, needs, mfu).dump(2) << "\n";
  } else {
    PrintText(s, r, needs, mfu);
  }
}

}  // namespace tern
