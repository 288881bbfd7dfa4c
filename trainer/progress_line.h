// What a run tells its user, and the clock behind its rates.
#ifndef TERN_TRAINER_PROGRESS_LINE_H_
#define TERN_TRAINER_PROGRESS_LINE_H_

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace tern {

// Time spent in training steps, apart from evaluation and checkpoints.
class StepMeter {
 public:
  using Clock = std::chrono::steady_clock;
  void Begin() { begin_ = Clock::now(); }
  void End(double loss);
  // Averages since the last TakeWindow.
  struct Window {
    uint64_t steps = 0;
    double seconds_per_step = 0;
    double loss = 0;
  };
  Window TakeWindow();
  uint64_t steps() const { return steps_; }
  double seconds_per_step() const {
    return steps_ == 0 ? 0 : seconds_ / static_cast<double>(steps_);
  }
  // Wall time per step since the first Begin, everything included: what an ETA needs.
  double wall_seconds_per_step() const;

 private:
  Clock::time_point begin_{}, first_{};
  uint64_t steps_ = 0;
  double seconds_ = 0, window_seconds_ = 0, window_loss_ = 0;
  uint64_t window_steps_ = 0;
};

struct ProgressValues {
  uint64_t step = 0, steps = 0;
  double loss = 0;
  std::optional<double> held_out;
  double learning_rate = 0, gradient_norm = 0, tokens_per_second = 0;
  double mfu = 0;  // 0: unknown
  double eta_seconds = 0;
  std::string note;  // figures of the model's own; may be empty
};

// "step 120/5000  loss 3.214  ..." in one line.
std::string FormatProgress(const ProgressValues& values);
// Four significant digits.
std::string FormatNumber(double value);
// "2h05m", "3m20s", "12s".
std::string FormatDuration(double seconds);

// stderr: a line rewritten in place on a terminal, plain lines elsewhere.
class ProgressLine {
 public:
  ProgressLine();
  ~ProgressLine() { EndLine(); }
  void Show(const ProgressValues& values);
  // A line that stays.
  void Say(const std::string& text);

 private:
  void EndLine();
  bool terminal_, open_ = false;
};

}  // namespace tern

#endif  // TERN_TRAINER_PROGRESS_LINE_H_
