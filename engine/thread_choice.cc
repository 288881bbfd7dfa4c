#include "engine/thread_choice.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace tern {

ThreadChoice::ThreadChoice(int most, bool fixed)
    : threads_{1, most}, fixed_(fixed || most == 1), chosen_(fixed_ ? 1 : 0) {}

int ThreadChoice::Next() const { return threads_[trial_left_ > 0 ? 1 - chosen_ : chosen_]; }

void ThreadChoice::Report(double seconds) {
  if (fixed_) return;
  if (trial_left_ == 0) {
    seconds_[chosen_].Add(seconds);
    ++passes_;
    if (!TrialIsDue()) return;
    trial_left_ = kTrial;
    seconds_[1 - chosen_].Clear();  // what it took long ago says nothing
    return;
  }
  RecentMedian& other = seconds_[1 - chosen_];
  other.Add(seconds);
  const double median = seconds_[chosen_].Median();
  if (seconds > kClearlySlower * median) return EndTrial(false);
  if (--trial_left_ == 0) EndTrial(other.Median() < kMargin * median);
}

bool ThreadChoice::TrialIsDue() const {
  if (passes_ >= interval_) return true;
  return settled_ > 0.0 && passes_ % static_cast<int64_t>(RecentMedian::kWindow) == 0 &&
         seconds_[chosen_].Median() > kClearlySlower * settled_;
}

void ThreadChoice::EndTrial(bool change) {
  trial_left_ = 0;
  passes_ = 0;
  interval_ = change ? kFirstInterval : std::clamp(2 * interval_, kFirstInterval, kLastInterval);
  if (change) chosen_ = 1 - chosen_;
  settled_ = seconds_[chosen_].Median();
}

namespace {
constexpr size_t kSizes = 5;
}

ThreadChoices::ThreadChoices(int most, bool fixed) : choices_(kSizes, ThreadChoice(most, fixed)) {}

const ThreadChoice& ThreadChoices::At(int32_t rows) const {
  const auto size = static_cast<size_t>(std::bit_width(static_cast<uint32_t>(rows - 1)));
  return choices_[std::min(size, kSizes - 1)];
}

ThreadChoice& ThreadChoices::At(int32_t rows) {
  return const_cast<ThreadChoice&>(std::as_const(*this).At(rows));
}

}  // namespace tern
