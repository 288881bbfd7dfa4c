// What the training loop tells about its progress.
#include <algorithm>
#include <utility>

#include "trainer/training_loop.h"

namespace tern {

double TrainingLoop::Mfu(double seconds_per_step) {
  if (options_.peak == nullptr || seconds_per_step <= 0) return 0;
  const double rate = model_.GemmMacsPerStep() * options_.accumulate /
                      (group_.size() * seconds_per_step);  // of each machine
  options_.peak->AtLeast(rate);
  return rate / options_.peak->macs_per_second();
}

void TrainingLoop::LogStep(double learning_rate, double norm) {
  const StepMeter::Window window = meter_.TakeWindow();
  ProgressValues values;
  values.step = state_.step;
  values.steps = options_.schedule.steps;
  values.loss = window.loss;
  if (state_.last_held_out) values.held_out = state_.last_held_out->loss;
  values.learning_rate = learning_rate;
  values.gradient_norm = norm;
  values.tokens_per_second =
      static_cast<double>(options_.tokens_per_step()) / window.seconds_per_step;
  if (options_.peak != nullptr) options_.peak->Measure();
  values.mfu = Mfu(window.seconds_per_step);
  values.eta_seconds =
      meter_.wall_seconds_per_step() * static_cast<double>(options_.schedule.steps - state_.step);
  model_.ShareTrainingFigures(group_);
  const nlohmann::json figures = model_.TakeTrainingFigures();
  values.note = figures.value("note", std::string());
  if (group_.first()) progress_.Show(values);
  nlohmann::json metric = {{"step", values.step},
                           {"loss", values.loss},
                           {"tokens_per_second", values.tokens_per_second},
                           {"eta_s", values.eta_seconds},
                           {"lr", values.learning_rate},
                           {"grad_norm", values.gradient_norm},
                           {"mfu", values.mfu}};
  metric.update(figures);
  metric.erase("note");
  Record(metric);
}

void TrainingLoop::RememberCodes() {
  const std::span<const int8_t> codes = model_.TernaryCodes();
  old_codes_.assign(codes.begin(), codes.end());
  old_codes_step_ = state_.step;
}

void TrainingLoop::LogLayers() {
  const std::vector<LayerQuantisation> stats = model_.QuantisationStats();
  if (stats.empty()) return;  // nothing is quantised
  const std::span<const int8_t> codes = model_.TernaryCodes();
  std::vector<uint64_t> flipped(stats.size()), total(stats.size());
  size_t at = 0;
  for (const ParameterSlice& slice : model_.slices()) {
    if (!slice.ternary) continue;
    const size_t end = at + slice.size();
    uint64_t flips = 0;
    for (; at < end; ++at) flips += codes[at] != old_codes_[at];
    const auto layer = static_cast<size_t>(slice.layer);
    if (layer >= stats.size()) continue;
    flipped[layer] += flips;
    total[layer] += slice.size();
  }
  nlohmann::json layers = nlohmann::json::array();
  std::vector<double> shares;
  for (size_t layer = 0; layer < stats.size(); ++layer) {
    shares.push_back(static_cast<double>(flipped[layer]) /
                     static_cast<double>(std::max<uint64_t>(1, total[layer])));
    layers.push_back({{"layer", layer},
                      {"activation_error", stats[layer].activation_error},
                      {"zero_share", stats[layer].zero_share},
                      {"flipped_share", shares.back()}});
  }
  const std::string alarm = flip_watch_.Record(old_codes_step_, state_.step, shares);
  if (!alarm.empty()) Say(alarm);
  Record({{"step", state_.step},
          {"flip_steps", state_.step - old_codes_step_},
          {"flip_alarm", flip_watch_.alarmed()},
          {"layers", std::move(layers)}});
  RememberCodes();
}

}  // namespace tern
