#include "engine/draft_switch.h"

#include <algorithm>

namespace tern {

void DraftSwitch::BeginText() {
  if (on_) gains_ = Gains(kMemory);
  if (steps_off_ % kProbeInterval >= kLeastBetween) steps_off_ = kProbeInterval - kProbes;
}

bool DraftSwitch::ShouldDraft() const {
  if (plain_seconds_.count() < kFirstPlain) return false;
  if (on_) return steps_since_run_ < kPlainInterval;
  return steps_off_ % kProbeInterval >= kProbeInterval - kProbes;
}

void DraftSwitch::Report(bool drafted, int32_t tokens, double seconds) {
  ++steps_since_run_;
  if (!on_) ++steps_off_;
  plain_run_ = drafted ? 0 : plain_run_ + 1;
  if (plain_run_ >= kPlainRun) steps_since_run_ = 0;
  if (!drafted) {
    if (plain_run_ > kUncounted) plain_seconds_.Add(seconds);
    return;
  }
  const double plain = plain_seconds_.Median();
  if (plain <= 0.0) return;
  draft_seconds_.Add(seconds);
  const double believed = std::min(seconds, kInterrupted * draft_seconds_.Median());
  (on_ ? gains_ : probes_).Add(tokens - believed / plain, tokens);
  if (on_ && gains_.gain.count() >= kLeast && gains_.gain.AtMost(2.0) < 0.0) {
    on_ = false;
    probes_ = Gains(kProbeMemory);
    steps_off_ = 0;
  } else if (!on_ && probes_.gain.count() >= kLeastProbes && probes_.gain.AtLeast(1.0) > 0.0) {
    // Wrongly on costs some steps until that shows, wrongly off all that drafting would gain.
    on_ = true;
    gains_ = Gains(kMemory);
  }
}

double DraftSwitch::plain_tokens_per_second() const {
  const double median = plain_seconds_.Median();
  return median > 0.0 ? 1.0 / median : 0.0;
}

double DraftSwitch::draft_tokens_per_second() const {
  const double time = gains_.tokens - gains_.gain.mean();  // of a drafting step, in plain steps
  return time > 0.0 ? gains_.tokens / time * plain_tokens_per_second() : 0.0;
}

}  // namespace tern
