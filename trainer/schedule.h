// Learning rate and weight decay of a step: warm-up, then the two stages of the b1.58 recipe ("The
// Era of 1-bit LLMs: Training Tips, Code and FAQ"): a high learning rate with weight decay, then,
// from the middle of the run, a lower one without, both decaying.
#ifndef TERN_TRAINER_SCHEDULE_H_
#define TERN_TRAINER_SCHEDULE_H_

#include <cstdint>

namespace tern {

struct ScheduleOptions {
  uint64_t steps = 0;         // of the whole run
  uint64_t warmup_steps = 0;  // linear from 0 to `peak`
  double stage_boundary =
      0.5;               // share of the steps after which stage 2 begins, 0..1; 1: no stage 2
  double peak = 1.5e-3;  // learning rate where stage 1 begins
  double stage1_end = 0.75e-3;   // and where it ends
  double stage2_start = 0.5e-3;  // learning rate where stage 2 begins
  double final = 0;              // and at the end of the run
  bool cosine = false;           // each stage decays along half a cosine instead of a line
  double weight_decay = 0.1;     // in stage 1
  double weight_decay_stage2 = 0;
};

struct StepRates {
  double learning_rate;
  double weight_decay;
};

// REQUIRES: step < options.steps. Throws nothing.
StepRates RatesAt(const ScheduleOptions& options, uint64_t step);

// Throws kInvalidArgument naming the field, its value and its range.
void Validate(const ScheduleOptions& options);

}  // namespace tern

#endif  // TERN_TRAINER_SCHEDULE_H_
