// Watches the loss and the gradient norm of a run and says when a step is bad.
#ifndef TERN_TRAINER_STABILITY_H_
#define TERN_TRAINER_STABILITY_H_

#include <cstdint>
#include <string>

namespace tern {

struct StabilityOptions {
  double sigmas = 8;  // a loss this many running deviations above the running mean is a spike ...
  double least_jump = 0.5;     // ... if it is also this many nats above it
  double memory = 0.98;        // share of mean and deviation that survives a step, 0..1
  uint64_t settle_steps = 50;  // good steps after the start before spikes count
  double rate_factor = 0.5;    // what a rollback multiplies the learning rate by
  uint64_t margin_steps =
      10;  // a rollback goes to a checkpoint at least this much older than the bad step
  int32_t most_rollbacks = 8;  // after these the run gives up
};

// Part of every checkpoint.
struct StabilityState {
  double mean = 0;      // running mean of the loss
  double variance = 0;  // and of its squared distance from that mean
  uint64_t good_steps = 0;
  int32_t rollbacks = 0;
  double rate_scale = 1;  // product of the rollbacks' factors
  uint64_t skipped =
      0;  // steps' worth of data left out so far: a step reads the data of step + skipped
};

enum class StepVerdict { kGood, kNotFinite, kSpike };

// Judges a step before its update is applied; a good one becomes part of the running mean.
StepVerdict Judge(const StabilityOptions& options, double loss, double gradient_norm,
                  StabilityState& state);

void Validate(const StabilityOptions& options);

}  // namespace tern

#endif  // TERN_TRAINER_STABILITY_H_
