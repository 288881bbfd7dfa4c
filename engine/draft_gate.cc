#include "engine/draft_gate.h"

#include <algorithm>

namespace tern {

bool DraftGate::ShouldDraft() {
  if (open_) return true;
  if (closed_steps_ == interval_) {  // its probes opened nothing
    closed_steps_ = 0;
    gains_.Clear();
    interval_ = std::min(2 * interval_, kLastInterval);
  }
  return ++closed_steps_ > interval_ - kProbes;
}

// Closing wrongly costs what drafting gains until it has been probed often enough, opening wrongly
// only what some steps lose: so the one asks for more certainty than the other.
void DraftGate::Report(double gain) {
  gains_.Add(gain);
  const bool turn = open_ ? gains_.count() >= kFirst && gains_.AtMost(2.0) < 0.0
                          : gains_.count() >= kProbes && gains_.AtLeast(1.0) > 0.0;
  if (!turn) return;
  open_ = !open_;
  interval_ = kProbeInterval;
  closed_steps_ = 0;
  gains_.Clear();
}

}  // namespace tern
