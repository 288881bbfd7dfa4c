// One thread or all of them, whichever is measured to be faster for passes of few rows.
//
// A small model's pass lasts tens of microseconds. A second core saves part of that while it is
// free; where another program holds it, every hand-over waits for that program's time slice, and
// the same pass takes a hundred times as long. Results do not depend on the choice.
#ifndef TERN_ENGINE_THREAD_CHOICE_H_
#define TERN_ENGINE_THREAD_CHOICE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/recent_median.h"

namespace tern {

// Fed with durations, it reads no clock itself: tests replay any machine. Not thread-safe.
class ThreadChoice {
 public:
  // Chooses between 1 and `most` threads. `fixed`: always `most`.
  ThreadChoice(int most, bool fixed);

  // Threads of the next pass. Begins with one: such a pass never waits.
  int Next() const;
  // Reports that pass. Passes of several rows are made comparable by the caller: `seconds` is
  // what one of one row would have taken.
  void Report(double seconds);
  // The better one so far.
  int chosen() const { return threads_[chosen_]; }
  int most() const { return threads_[1]; }

  // Passes of a trial of the other choice. The first one that is clearly slower ends it.
  static constexpr int kTrial = 4;
  // Passes between two trials; doubled after a trial that changed nothing. Passes that have become
  // clearly slower are reason for one at once.
  static constexpr int64_t kFirstInterval = 64, kLastInterval = 8192;

 private:
  static constexpr double kMargin = 0.97;        // the other choice must be below this share
  static constexpr double kClearlySlower = 2.0;  // times the chosen one's median

  bool TrialIsDue() const;
  void EndTrial(bool change);

  std::array<int, 2> threads_;
  std::array<RecentMedian, 2> seconds_;
  bool fixed_;
  size_t chosen_ = 0;
  int trial_left_ = 0;         // passes that the trial under way still has
  int64_t passes_ = 0;         // since the last trial
  int64_t interval_ = kTrial;  // the first trial follows the first passes
  double settled_ = 0.0;       // the chosen one's median when the last trial ended
};

// A choice for each size of pass: what does not pay for one row may for eight.
class ThreadChoices {
 public:
  ThreadChoices(int most, bool fixed);

  // As those of ThreadChoice, for passes of `rows` >= 1 rows.
  int Next(int32_t rows) const { return At(rows).Next(); }
  void Report(int32_t rows, double seconds) { At(rows).Report(seconds); }
  int chosen(int32_t rows) const { return At(rows).chosen(); }
  int most() const { return choices_[0].most(); }

 private:
  const ThreadChoice& At(int32_t rows) const;
  ThreadChoice& At(int32_t rows);

  std::vector<ThreadChoice> choices_;  // of 1, 2, 3 to 4, 5 to 8, and more rows
};

}  // namespace tern

#endif  // TERN_ENGINE_THREAD_CHOICE_H_
