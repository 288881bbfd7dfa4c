// Decides before a costly drafter runs whether it is likely to pay in this step.
#ifndef TERN_ENGINE_DRAFT_GATE_H_
#define TERN_ENGINE_DRAFT_GATE_H_

#include <cstdint>

#include "engine/recent_gain.h"

namespace tern {

// Goes by the mean of what the drafter has gained lately. While that is a loss beyond doubt, a few
// steps in a row draft now and then: a single one would find the drafter's weights gone from the
// cache and cost more than drafting does. Fed with gains, it reads no clock itself.
class DraftGate {
 public:
  // Call once before each step.
  bool ShouldDraft();
  // What the drafter gained in a step that ShouldDraft allowed: tokens expected, less those that
  // the time of their rows and of the drafter would have brought otherwise.
  void Report(double gain);

  static constexpr int64_t kFirst = 8;     // steps that draft in any case
  static constexpr int64_t kMemory = 256;  // steps that the mean is over
  // While it does not pay, this many in a row of so many steps draft: under 2%, and less and less
  // while they show nothing else.
  static constexpr int64_t kProbes = 8, kProbeInterval = 512, kLastInterval = 4096;

 private:
  bool open_ = true;
  int64_t closed_steps_ = 0, interval_ = kProbeInterval;
  RecentGain gains_{kMemory};  // since it opened, or of the latest probes
};

}  // namespace tern

#endif  // TERN_ENGINE_DRAFT_GATE_H_
