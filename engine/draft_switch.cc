#include "engine/draft_switch.h"

#include <algorithm>

namespace tern {

void DraftSwitch::BeginText() {
  on_ = true;
  draft_steps_ = 0;
  draft_tokens_ = 0;
  draft_speed_ = 0.0;
}

bool DraftSwitch::ShouldDraft() {
  if (plain_seconds_.count() < kFirstPlain) return false;
  if (on_) return steps_since_plain_ < kPlainInterval;
  return steps_since_probe_ + 1 >= kProbeInterval;
}

void DraftSwitch::Report(bool drafted, int32_t tokens, double seconds) {
  ++steps_since_plain_;
  ++steps_since_probe_;
  if (!drafted) {
    plain_seconds_.Add(seconds);
    steps_since_plain_ = 0;
    return;
  }
  steps_since_probe_ = 0;
  draft_seconds_[static_cast<size_t>(draft_steps_)] = seconds;
  draft_tokens_ += tokens;
  if (++draft_steps_ == kWindow) Decide();
}

double DraftSwitch::plain_tokens_per_second() const {
  const double median = plain_seconds_.Median();
  return median > 0.0 ? 1.0 / median : 0.0;
}

void DraftSwitch::Decide() {
  // What is far above the median was interrupted (plain steps count by their median, too).
  std::array<double, kWindow> sorted = draft_seconds_;
  std::sort(sorted.begin(), sorted.end());
  const double most = kInterrupted * sorted[kWindow / 2];
  double seconds = 0.0;
  for (const double step : sorted) seconds += std::min(step, most);
  draft_speed_ = seconds > 0.0 ? draft_tokens_ / seconds : 0.0;
  const double plain = plain_tokens_per_second();
  if (on_ && draft_speed_ < plain * (1.0 - kMargin)) on_ = false;
  if (!on_ && draft_speed_ > plain * (1.0 + kMargin)) on_ = true;
  draft_steps_ = 0;
  draft_tokens_ = 0;
}

}  // namespace tern
