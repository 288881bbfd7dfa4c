#include "engine/draft_gate.h"

#include <algorithm>

namespace tern {

bool DraftGate::ShouldDraft() {
  if (reports_ < kFirst || mean_ > 0.0) return true;
  return ++closed_steps_ % kProbeInterval >= kProbeInterval - kProbes;
}

void DraftGate::Report(double gain) {
  ++reports_;
  // The plain mean of the first few, so that none of them weighs more than another.
  mean_ += (gain - mean_) * std::max(kRate, 1.0 / static_cast<double>(reports_));
}

}  // namespace tern
