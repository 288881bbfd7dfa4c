#include "trainer/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <sstream>

#include "engine/error.h"

namespace tern {
namespace {

void CheckRange(const char* name, double value, double low, double high) {
  if (value >= low && value <= high) return;
  std::ostringstream text;
  text << name << " is " << value << ", expected " << low << " to " << high;
  throw InvalidArgument(text.str());
}

// From `from` to `to` as `share` goes from 0 to 1.
double Decay(double from, double to, double share, bool cosine) {
  share = std::clamp(share, 0.0, 1.0);
  if (cosine) share = (1 - std::cos(std::numbers::pi * share)) / 2;
  return from + (to - from) * share;
}

}  // namespace

StepRates RatesAt(const ScheduleOptions& options, uint64_t step) {
  const double now = static_cast<double>(step), steps = static_cast<double>(options.steps);
  const double warmup = static_cast<double>(options.warmup_steps);
  const double boundary = std::max(std::round(options.stage_boundary * steps), warmup);
  if (step < options.warmup_steps) {
    return {options.peak * (now + 1) / warmup, options.weight_decay};
  }
  if (now < boundary) {
    const double share = (now - warmup) / std::max(1.0, boundary - warmup);
    return {Decay(options.peak, options.stage1_end, share, options.cosine), options.weight_decay};
  }
  const double share = (now - boundary) / std::max(1.0, steps - boundary);
  return {Decay(options.stage2_start, options.final, share, options.cosine),
          options.weight_decay_stage2};
}

void Validate(const ScheduleOptions& options) {
  if (options.steps == 0) throw InvalidArgument("--steps is 0, expected at least 1");
  CheckRange("--stage-boundary", options.stage_boundary, 0, 1);
  CheckRange("--lr", options.peak, 0, 1);
  CheckRange("--lr-stage1-end", options.stage1_end, 0, 1);
  CheckRange("--lr2", options.stage2_start, 0, 1);
  CheckRange("--lr-final", options.final, 0, 1);
  CheckRange("--weight-decay", options.weight_decay, 0, 10);
  CheckRange("--weight-decay2", options.weight_decay_stage2, 0, 10);
}

}  // namespace tern
