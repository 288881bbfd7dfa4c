// Turns drafting off while it is measured to be slower than plain decoding, and on again.
#ifndef TERN_ENGINE_DRAFT_SWITCH_H_
#define TERN_ENGINE_DRAFT_SWITCH_H_

#include <cstdint>

#include "engine/recent_gain.h"
#include "engine/recent_median.h"

namespace tern {

// Compares what steps that drafted emitted with what plain decoding would have emitted in their
// time, both measured in this process. Single steps are noisy, in tokens (a draft is accepted or
// not) and in time (another program, a page fault): plain steps count by the median of the latest,
// no drafting step counts more than kInterrupted medians, and the mean gain decides once it differs
// from zero by more than its standard errors. A plain step behind one that drafted finds less of
// the model in the core's cache (on two threads it took a fifth longer), so plain steps come in
// runs, of which the first ones do not count. Fed with durations, it reads no clock itself: tests
// replay any machine.
class DraftSwitch {
 public:
  // A new text, which may be easier or harder to draft: judged afresh where it is on, probed at
  // once where it is off, if the latest probes are kLeastBetween steps away. What plain steps cost
  // here is kept.
  void BeginText();
  // Whether the next step should draft. Call once before each step.
  bool ShouldDraft() const;
  // Reports that step. `seconds` includes the drafting; `drafted` is false for a step that neither
  // verified anything nor ran a costly drafter; `tokens` >= 1 is what it emitted.
  void Report(bool drafted, int32_t tokens, double seconds);

  bool on() const { return on_; }
  double plain_tokens_per_second() const;  // 0 before the first
  // Of the latest drafting steps while it was on; 0 before the first.
  double draft_tokens_per_second() const;

  static constexpr size_t kFirstPlain = 3;  // that count, before the first draft
  static constexpr int32_t kUncounted = 2;  // at the start of a run of plain steps
  // While on, a run of kPlainRun plain steps comes every so many steps: under 2%.
  static constexpr int32_t kPlainRun = 8, kPlainInterval = 512;
  // While off, this many in a row of so many steps draft: under 2% of a long text.
  static constexpr int32_t kProbes = 8, kProbeInterval = 512, kLeastBetween = 64;
  static constexpr int64_t kLeast = 24, kLeastProbes = 8;  // drafting steps before a decision
  // Drafting steps that the means are over: while on, and of probes, since texts change.
  static constexpr int64_t kMemory = 1024, kProbeMemory = 64;
  static constexpr double kInterrupted = 3.0;  // medians of drafting steps

 private:
  // Of drafting steps, in plain steps: tokens emitted less time taken.
  struct Gains {
    explicit Gains(int64_t memory) : gain(memory) {}
    RecentGain gain;
    double tokens = 0.0;  // mean of those emitted
    void Add(double value, int32_t emitted) { tokens += gain.Add(value) * (emitted - tokens); }
  };

  bool on_ = true;
  int32_t plain_run_ = 0;        // plain steps since the latest that drafted
  int64_t steps_since_run_ = 0;  // since the latest run of kPlainRun
  int64_t steps_off_ = 0;
  RecentMedian plain_seconds_, draft_seconds_;
  Gains gains_{kMemory};        // since the text began or drafting was turned on
  Gains probes_{kProbeMemory};  // since it was turned off, over texts
};

}  // namespace tern

#endif  // TERN_ENGINE_DRAFT_SWITCH_H_
