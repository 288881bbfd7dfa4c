// What the training loop does about a bad step.
#include <algorithm>
#include <cmath>
#include <optional>

#include "engine/error.h"
#include "trainer/training_loop.h"

namespace tern {
namespace {

bool AllFinite(std::span<const float> values) {
  return std::ranges::all_of(values, [](float v) { return std::isfinite(v); });
}

}  // namespace

std::string TrainingLoop::SuspectTensor() {
  const ParameterSlice* steepest = nullptr;
  double largest = -1;
  for (const bool weights : {true, false}) {
    const std::span<const float> values = weights ? model_.parameters() : model_.gradients();
    for (const ParameterSlice& slice : model_.slices()) {
      const std::span<const float> part = values.subspan(slice.offset, slice.size());
      const std::string of = weights ? "" : "the gradient of ";
      if (!AllFinite(part)) return of + slice.name + ", which is not finite";
      const double norm = GlobalNorm(part);
      if (weights || norm <= largest) continue;
      largest = norm;
      steepest = &slice;
    }
  }
  if (steepest == nullptr) return "the loss";
  return steepest->name + ", whose gradient has most of the norm (" + FormatNumber(largest) + ")";
}

std::string TrainingLoop::SuspectSample() {
  size_t worst = 0;
  for (size_t i = 0; i < micro_losses_.size() && std::isfinite(micro_losses_[worst]); ++i) {
    if (!(micro_losses_[i] <= micro_losses_[worst])) worst = i;
  }
  const uint64_t first = ReadMicroBatch(static_cast<int32_t>(worst));
  const std::string found = model_.Suspect(tokens_);
  if (!found.empty()) return found;
  return "examples " + std::to_string(first) + " to " +
         std::to_string(first + static_cast<uint64_t>(options_.batch) - 1) + " of the run";
}

std::string TrainingLoop::TargetOfRollback(const std::string& failure) const {
  const int32_t before = state_.stability.rollbacks;
  if (before >= options_.stability.most_rollbacks) {
    throw Error(Error::Kind::kInternal,
                "training diverged at " + failure + ", after " + std::to_string(before) +
                    " rollbacks; lower --lr, look at the data, or raise --most-rollbacks");
  }
  const uint64_t margin = std::min(state_.step, options_.stability.margin_steps);
  const std::optional<std::string> target = directory_->RollbackTarget(state_.step - margin);
  if (!target) throw Error(Error::Kind::kInternal, failure + "; no checkpoint to go back to");
  return *target;
}

void TrainingLoop::Rollback(StepVerdict verdict, double loss, double norm) {
  const uint64_t bad = state_.step;
  StabilityState next = state_.stability;  // counters survive; the running mean is the checkpoint's
  const std::string what = (verdict == StepVerdict::kNotFinite ? "not a finite number" : "a spike");
  const std::string figures = "step " + std::to_string(bad) + ": loss " + FormatNumber(loss) +
                              ", gradient norm " + FormatNumber(norm) + ", running mean " +
                              FormatNumber(next.mean) + " +- " +
                              FormatNumber(std::sqrt(next.variance)) + ": " + what;
  std::string tensor, sample, suspects, target;
  if (directory_ != nullptr) {
    tensor = SuspectTensor();
    sample = SuspectSample();
    suspects = "; look at " + tensor + " and at " + sample;
    target = TargetOfRollback(figures + suspects);
  }
  const std::optional<BestRecord> best = state_.best;
  state_ = ReadShared(target);
  state_.best = best;
  next.mean = state_.stability.mean;
  next.variance = state_.stability.variance;
  next.good_steps = state_.stability.good_steps;
  next.rollbacks += 1;
  next.rate_scale *= options_.stability.rate_factor;
  next.skipped += bad - state_.step + 1;
  state_.stability = next;
  std::ranges::fill(model_.gradients(), 0.0f);
  model_.RefreshWeights();
  RememberCodes();
  // In this order: a kill in between repeats the rollback instead of finding a newer checkpoint
  // without it.
  if (directory_ != nullptr) {
    directory_->DropNewerThan(state_.step);
    directory_->WritePeriodic(Header(), Buffers());
  }
  entered_at_ = state_.step;
  Say(figures + suspects + "; back to step " + std::to_string(state_.step) + ", learning rate x " +
      FormatNumber(next.rate_scale) + ", the data of " + std::to_string(bad - state_.step + 1) +
      " steps skipped (rollback " + std::to_string(next.rollbacks) + ")");
  Record({{"step", state_.step},
          {"event", "rollback"},
          {"reason", what},
          {"bad_step", bad},
          {"tensor", tensor},
          {"sample", sample},
          {"loss", std::isfinite(loss) ? nlohmann::json(loss) : nlohmann::json(nullptr)},
          {"mean", next.mean},
          {"lr_scale", next.rate_scale},
          {"rollbacks", next.rollbacks}});
}

}  // namespace tern
