#include "engine/draft_gate.h"

#include <algorithm>
#include <iterator>

namespace tern {

DraftGate::Kind& DraftGate::KindOf(float confidence) {
  static constexpr float kBorders[kKinds - 1] = {0.3f, 0.5f, 0.7f, 0.85f, 0.95f};
  return kinds_[static_cast<size_t>(
      std::upper_bound(std::begin(kBorders), std::end(kBorders), confidence) - kBorders)];
}

bool DraftGate::ShouldDraft(float confidence) {
  Kind& kind = KindOf(confidence);
  if (kind.reports < kFirst || kind.mean > 0.0) return true;
  return ++kind.skipped % kProbeInterval == 0;
}

void DraftGate::Report(float confidence, double gain) {
  Kind& kind = KindOf(confidence);
  ++kind.reports;
  // The plain mean of the first few, so that none of them weighs more than another.
  kind.mean += (gain - kind.mean) * std::max(kRate, 1.0 / static_cast<double>(kind.reports));
}

}  // namespace tern
