#include "trainer/training_loop.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "engine/error.h"
#include "kernels/parallel.h"

namespace tern {
namespace {

nlohmann::json OrNull(const std::optional<double>& value) {
  return value ? nlohmann::json(*value) : nlohmann::json(nullptr);
}

}  // namespace

void Validate(const LoopOptions& options) {
  const auto positive = [](const char* name, auto value) {
    if (value <= 0) {
      throw InvalidArgument(std::string(name) + " is " + std::to_string(value) +
                            ", expected at least 1");
    }
  };
  positive("--batch", options.batch);
  positive("--sequence", options.sequence);
  positive("--accumulate", options.accumulate);
  positive("--log-every", options.log_every);
  positive("--eval-every", options.eval_every);
  positive("--checkpoint-every", options.checkpoint_every);
  positive("--layers-every", options.layers_every);
  const auto check = [](const char* name, double value, bool ok, const char* expected) {
    if (ok) return;
    throw InvalidArgument(std::string(name) + " is " + FormatNumber(value) + ", expected " +
                          expected);
  };
  check("--clip", options.clip_norm, options.clip_norm >= 0, "0 (no limit) or more");
  for (const auto& [name, beta] :
       {std::pair{"--beta1", options.adamw.beta1}, std::pair{"--beta2", options.adamw.beta2}}) {
    check(name, beta, beta >= 0 && beta < 1, "0 or more and less than 1");
  }
  Validate(options.flips);
  Validate(options.schedule);
  Validate(options.stability);
}

TrainingLoop::TrainingLoop(Trainable& model, const BatchSource& data, const HeldOutSource* valid,
                           const LoopOptions& options, RunDirectory& directory,
                           nlohmann::json options_record)
    : model_(model),
      data_(data),
      valid_(valid),
      options_(options),
      directory_(directory),
      options_record_(std::move(options_record)),
      moments_(model.parameters().size()),
      tokens_(static_cast<size_t>(options.batch) * data.width()),
      flip_watch_(options.flips, options.layers_every, options.schedule.warmup_steps) {
  Validate(options_);
}

CheckpointHeader TrainingLoop::Header() const {
  return {state_, CurrentIdentity(), options_record_};
}

CheckpointBuffers TrainingLoop::Buffers() {
  return {model_.parameters(), moments_.m.span(), moments_.v.span()};
}

bool TrainingLoop::Resume(const ResumeLeniency& leniency) {
  const std::optional<std::string> path = directory_.Newest();
  if (!path) return false;
  CheckSameRun(*path, ReadCheckpointHeader(*path), Header(), leniency);
  state_ = ReadCheckpoint(*path, Buffers()).state;
  entered_at_ = state_.step;
  progress_.Say("resumed at step " + std::to_string(state_.step) + " from " + *path);
  return true;
}

LoopSummary TrainingLoop::Run() {
  if (!options_.out_dir.empty()) {
    RemoveTemporaries(options_.out_dir);
    RemoveTemporaries(options_.out_dir + "/masters");
  }
  directory_.OpenMetrics(state_.step);
  std::ranges::fill(model_.gradients(), 0.0f);
  model_.RefreshWeights();
  RememberCodes();
  LoopSummary summary;
  while (true) {
    AtStep();
    if (state_.step >= options_.schedule.steps) break;
    if (options_.stop != nullptr && options_.stop->load()) {
      directory_.WriteStop(Header(), Buffers());
      progress_.Say("stopped at step " + std::to_string(state_.step) +
                    "; the same command continues from there");
      break;
    }
    TrainStep();
  }
  Finish(summary);
  return summary;
}

void TrainingLoop::AtStep() {
  const uint64_t step = state_.step;
  if (std::exchange(entered_at_, std::nullopt) == step) return;
  const bool last = step >= options_.schedule.steps;
  if (step > 0 && !last && step % options_.eval_every == 0) Evaluate();
  if (last || step % options_.checkpoint_every == 0) SavePeriodic();
}

void TrainingLoop::SavePeriodic() {
  directory_.WritePeriodic(Header(), Buffers());
  const bool is_start = state_.step == 0, is_end = state_.step >= options_.schedule.steps;
  // The end exports anyway; the start has nothing to show.
  if (options_.export_checkpoints && !options_.out_dir.empty() && !is_start && !is_end) {
    model_.Export(options_.out_dir);
  }
}

double TrainingLoop::ComputeGradients() {
  const size_t width = data_.width();
  const uint64_t first_row = (state_.step + state_.stability.skipped) * options_.rows_per_step();
  double loss = 0;
  for (int32_t micro = 0; micro < options_.accumulate; ++micro) {
    const auto batch = static_cast<uint64_t>(options_.batch);
    for (uint64_t row = 0; row < batch; ++row) {
      data_.Read(first_row + static_cast<uint64_t>(micro) * batch + row,
                 std::span(tokens_).subspan(row * width, width));
    }
    loss += model_.ForwardBackward(tokens_, 1.0f / static_cast<float>(options_.accumulate));
  }
  return loss / options_.accumulate;
}

void TrainingLoop::TrainStep() {
  meter_.Begin();
  const double loss = ComputeGradients();
  const double norm = GlobalNorm(model_.gradients());
  const StepVerdict verdict = Judge(options_.stability, loss, norm, state_.stability);
  if (verdict != StepVerdict::kGood) {
    Rollback(verdict, loss, norm);
    return;
  }
  StepRates rates = RatesAt(options_.schedule, state_.step);
  rates.learning_rate *= state_.stability.rate_scale;
  const AdamWStep update{state_.step + 1, rates, ClipScale(norm, options_.clip_norm)};
  ApplyAdamW(options_.adamw, update, model_.slices(), model_.parameters(), model_.gradients(),
             moments_);
  model_.RefreshWeights();
  ++state_.step;
  last_loss_ = loss;
  meter_.End(loss);
  if (state_.step % options_.log_every == 0 || state_.step == options_.schedule.steps)
    LogStep(rates.learning_rate, norm);
  if (state_.step % options_.layers_every == 0) LogLayers();
}

void TrainingLoop::Rollback(StepVerdict verdict, double loss, double norm) {
  const uint64_t bad = state_.step;
  StabilityState next = state_.stability;  // counters survive; the running mean is the checkpoint's
  const std::string what = (verdict == StepVerdict::kNotFinite ? "not a finite number" : "a spike");
  const std::string figures = "step " + std::to_string(bad) + ": loss " + FormatNumber(loss) +
                              ", gradient norm " + FormatNumber(norm) + ", running mean " +
                              FormatNumber(next.mean) + " +- " +
                              FormatNumber(std::sqrt(next.variance)) + ": " + what;
  if (next.rollbacks >= options_.stability.most_rollbacks) {
    throw Error(Error::Kind::kInternal,
                "training diverged at " + figures + " after " + std::to_string(next.rollbacks) +
                    " rollbacks; lower --lr, look at the data, or raise --most-rollbacks");
  }
  const uint64_t margin = std::min(bad, options_.stability.margin_steps);
  const std::optional<std::string> target = directory_.RollbackTarget(bad - margin);
  if (!target) throw Error(Error::Kind::kInternal, figures + ", and no checkpoint to go back to");
  state_ = ReadCheckpoint(*target, Buffers()).state;
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
  directory_.DropNewerThan(state_.step);
  directory_.WritePeriodic(Header(), Buffers());
  entered_at_ = state_.step;
  progress_.Say(figures + "; back to step " + std::to_string(state_.step) + ", learning rate x " +
                FormatNumber(next.rate_scale) + ", the data of " +
                std::to_string(bad - state_.step + 1) + " steps skipped (rollback " +
                std::to_string(next.rollbacks) + ")");
  directory_.AppendMetric(
      {{"step", state_.step},
       {"event", "rollback"},
       {"reason", what},
       {"bad_step", bad},
       {"loss", std::isfinite(loss) ? nlohmann::json(loss) : nlohmann::json(nullptr)},
       {"mean", next.mean},
       {"lr_scale", next.rate_scale},
       {"rollbacks", next.rollbacks}});
}

double TrainingLoop::HeldOutLoss(uint64_t tokens) {
  const uint64_t batches = valid_->Batches(tokens);
  double sum = 0;
  for (uint64_t i = 0; i < batches; ++i) {
    valid_->Read(i, batches, tokens_);
    sum += model_.Loss(tokens_);
  }
  held_out_figures_ = model_.TakeHeldOutFigures();
  return sum / static_cast<double>(batches);
}

void TrainingLoop::Evaluate() {
  if (valid_ == nullptr) return;
  const HeldOutRecord record{state_.step, HeldOutLoss(options_.eval_tokens)};
  state_.last_held_out = record;
  if (!state_.best_held_out || record.loss < state_.best_held_out->loss)
    state_.best_held_out = record;
  nlohmann::json metric = {{"step", record.step},
                           {"held_out_loss", record.loss},
                           {"bits_per_byte", OrNull(valid_->BitsPerByte(record.loss))}};
  metric.update(held_out_figures_);
  directory_.AppendMetric(metric);
}

void TrainingLoop::Finish(LoopSummary& summary) {
  summary.finished = state_.step >= options_.schedule.steps;
  summary.step = state_.step;
  summary.tokens = state_.step * options_.tokens_per_step();
  summary.loss = last_loss_;
  summary.rollbacks = state_.stability.rollbacks;
  if (meter_.steps() > 0) {
    summary.tokens_per_second =
        static_cast<double>(options_.tokens_per_step()) / meter_.seconds_per_step();
    summary.mfu = Mfu(meter_.seconds_per_step());
  }
  if (summary.finished && !options_.out_dir.empty()) model_.Export(options_.out_dir);
  summary.best_held_out = state_.best_held_out;
  if (!summary.finished || valid_ == nullptr) return;
  summary.held_out = HeldOutLoss(0);
  summary.bits_per_byte = valid_->BitsPerByte(*summary.held_out);
  nlohmann::json metric = {{"step", state_.step},
                           {"held_out_loss", *summary.held_out},
                           {"bits_per_byte", OrNull(summary.bits_per_byte)},
                           {"whole_file", true}};
  metric.update(held_out_figures_);
  directory_.AppendMetric(metric);
  summary.held_out_figures = held_out_figures_;
  progress_.Say("held-out loss " + FormatNumber(*summary.held_out) + " nats per token" +
                (summary.bits_per_byte
                     ? ", " + FormatNumber(*summary.bits_per_byte) + " bits per byte"
                     : ""));
}

}  // namespace tern
