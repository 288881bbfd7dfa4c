#include "engine/draft_switch.h"

#include <algorithm>
#include <cmath>

namespace tern {

void DraftSwitch::Gains::Add(double gain, int32_t emitted) {
  ++count;
  const double rate = 1.0 / static_cast<double>(std::min(count, kMemory));
  const double off = gain - mean;
  mean += rate * off;
  variance = (1.0 - rate) * (variance + rate * off * off);
  tokens += rate * (emitted - tokens);
}

double DraftSwitch::Gains::StandardError() const {
  return std::sqrt(variance / static_cast<double>(std::clamp<int64_t>(count, 1, kMemory)));
}

void DraftSwitch::BeginText() {
  on_ = true;
  gains_ = Gains();
}

bool DraftSwitch::ShouldDraft() const {
  if (plain_seconds_.count() < kFirstPlain) return false;
  if (on_) return steps_since_plain_ < kPlainInterval;
  return steps_off_ % kProbeInterval >= kProbeInterval - kProbes;
}

void DraftSwitch::Report(bool drafted, int32_t tokens, double seconds) {
  ++steps_since_plain_;
  if (!on_) ++steps_off_;
  if (!drafted) {
    plain_seconds_.Add(seconds);
    steps_since_plain_ = 0;
    return;
  }
  const double plain = plain_seconds_.Median();
  if (plain <= 0.0) return;
  draft_seconds_.Add(seconds);
  const double believed = std::min(seconds, kInterrupted * draft_seconds_.Median());
  (on_ ? gains_ : probes_).Add(tokens - believed / plain, tokens);
  if (on_ && gains_.count >= kLeast && gains_.mean + 2.0 * gains_.StandardError() < 0.0) {
    on_ = false;
    probes_ = Gains();
    steps_off_ = 0;
  } else if (!on_ && probes_.count >= kLeastProbes &&
             probes_.mean - 2.0 * probes_.StandardError() > 0.0) {
    BeginText();
  }
}

double DraftSwitch::plain_tokens_per_second() const {
  const double median = plain_seconds_.Median();
  return median > 0.0 ? 1.0 / median : 0.0;
}

double DraftSwitch::draft_tokens_per_second() const {
  const double time = gains_.tokens - gains_.mean;  // of a drafting step, in plain steps
  return time > 0.0 ? gains_.tokens / time * plain_tokens_per_second() : 0.0;
}

}  // namespace tern
