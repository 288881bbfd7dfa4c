// How fast heads would train here, before training them: real steps on random input.
#ifndef TERN_TRAINER_HEAD_BENCHMARK_H_
#define TERN_TRAINER_HEAD_BENCHMARK_H_

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/bfloat16.h"
#include "kernels/mat_view.h"
#include "trainer/head_trainer.h"

namespace tern {

// What of a list of step times deserves a look; empty where nothing does. In shares of the median:
// growth is from the first third to the last, spread from the fastest tenth to the slowest.
struct StepTimes {
  double median = 0, growth = 0, spread = 0;
  bool grows() const { return growth > kMost; }
  bool spreads() const { return spread > kMost; }
  static constexpr double kMost = 0.1;
};
// REQUIRES at least one.
StepTimes Summarise(const std::vector<double>& seconds);

struct HeadBenchmarkResult {
  StepTimes times;           // of a micro-batch and its update
  double micro_seconds = 0;  // forward and backward of a micro-batch, median
  double update_seconds = 0;
  double gemm_macs = 0;  // of a micro-batch
  double parameters = 0;
  // Of untrained heads whose logits are nearly equal, over the whole vocabulary of V tokens.
  double loss = 0;      // near ln V
  double top1 = 0;      // near 1 / V
  uint64_t places = 0;  // that top1 is of
  double step_seconds(int32_t accumulate) const {
    return micro_seconds * accumulate + update_seconds;
  }
};

// Of heads on a backbone whose output embedding is `table` [V, d], with hidden states and targets
// drawn at random; `options.loss_shortlist` counts the first tokens. Repeats micro-batch and update
// `timed_steps` times, after two that warm up.
HeadBenchmarkResult BenchmarkHeads(MatView<const BFloat16> table, const HeadTrainerOptions& options,
                                   int32_t timed_steps, uint64_t seed);

// A table of even values on [-1, 1), for a backbone that is not there.
AlignedBuffer<BFloat16> RandomTable(size_t vocab, size_t d, uint64_t seed);

}  // namespace tern

#endif  // TERN_TRAINER_HEAD_BENCHMARK_H_
