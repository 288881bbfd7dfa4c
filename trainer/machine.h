// What this machine offers a training run.
#ifndef TERN_TRAINER_MACHINE_H_
#define TERN_TRAINER_MACHINE_H_

#include <chrono>
#include <functional>

namespace tern {

// Multiply-accumulates per second that the dense GEMM reaches on all threads: the most seen so far.
// A neighbour on the same cores makes any one measurement too low, never too high, so trials are
// short (one to three milliseconds), spread over time, and the best of all counts.
class GemmPeak {
 public:
  // Takes a third of a second. `bfloat16` picks the input type where the CPU has it.
  explicit GemmPeak(bool bfloat16);
  // A few more trials, unless the last were within a second: call it now and then during a run.
  void Measure();
  // What real work achieved is a lower bound.
  void AtLeast(double macs_per_second);
  double macs_per_second() const { return best_; }

 private:
  void RunTrials();

  std::function<void()> multiply_;  // one trial
  double macs_ = 0;                 // of a trial
  double best_ = 0;
  std::chrono::steady_clock::time_point last_trials_{};
};

// Median seconds of `count` calls of a training step, after one that touches the memory and makes
// the GEMMs. REQUIRES count >= 1.
double MedianStepSeconds(int count, const std::function<void()>& step);

}  // namespace tern

#endif  // TERN_TRAINER_MACHINE_H_
