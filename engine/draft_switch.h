// Turns drafting off while it is measured to be slower than plain decoding, and on again.
#ifndef TERN_ENGINE_DRAFT_SWITCH_H_
#define TERN_ENGINE_DRAFT_SWITCH_H_

#include <array>
#include <cstdint>

#include "engine/recent_median.h"

namespace tern {

// Compares the tokens per second of steps that drafted with those of plain steps, both measured in
// this process. Single steps are noisy (another program, a page fault), so plain steps count by the
// median of the latest, drafting steps by sums over windows, no step more than kInterrupted
// medians, and a window decides only by a clear margin. Fed with durations, it reads no clock
// itself: tests replay any machine.
class DraftSwitch {
 public:
  // A new text, which may be easier or harder to draft: on again. What plain steps cost here is
  // kept.
  void BeginText();
  // Whether the next step should draft. Call once before each step.
  bool ShouldDraft();
  // Reports that step. `seconds` includes the drafting; `drafted` is false for a step that verified
  // nothing (nothing was proposed, or ShouldDraft was false); `tokens` >= 1 is what it emitted.
  void Report(bool drafted, int32_t tokens, double seconds);

  bool on() const { return on_; }
  double plain_tokens_per_second() const;  // 0 before the first
  // Of the latest window of drafting steps; 0 before the first.
  double draft_tokens_per_second() const { return draft_speed_; }

  static constexpr size_t kFirstPlain = 3;  // plain steps before the first draft, to compare with
  static constexpr int32_t kPlainInterval = 64;  // while on, one step in this many is plain
  static constexpr int32_t kProbeInterval =
      64;  // while off, one step in this many drafts: under 2%
  // Drafting steps that decide. Accepted tokens vary by as many as there are, step by step: of so
  // many steps, the mean still varies by a tenth.
  static constexpr int32_t kWindow = 32;
  static constexpr double kInterrupted = 2.0;  // medians of a window
  static constexpr double kMargin = 0.03;      // of speed, for a change of state

 private:
  void Decide();

  bool on_ = true;
  int64_t steps_since_plain_ = kPlainInterval;
  int64_t steps_since_probe_ = 0;
  RecentMedian plain_seconds_;
  std::array<double, kWindow> draft_seconds_{};
  int32_t draft_steps_ = 0, draft_tokens_ = 0;  // of the current window
  double draft_speed_ = 0.0;
};

}  // namespace tern

#endif  // TERN_ENGINE_DRAFT_SWITCH_H_
