#include "trainer/training_loop.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "engine/error.h"
#include "kernels/check.h"
#include "kernels/parallel.h"

namespace tern {
namespace {

nlohmann::json OrNull(const std::optional<double>& value) {
  return value ? nlohmann::json(*value) : nlohmann::json(nullptr);
}

void CheckShares(const LoopOptions& options, int32_t processes) {
  if (options.accumulate % processes == 0) return;
  std::string same;
  for (int32_t parts = processes; same.empty() && parts <= processes * 64; parts += processes) {
    const uint64_t rows = options.rows_per_step(), n = static_cast<uint64_t>(parts);
    if (parts > options.accumulate && rows % n == 0) {
      same = "; a step of the same size is --batch " + std::to_string(rows / n) + " --accumulate " +
             std::to_string(parts);
    }
  }
  throw InvalidArgument("--accumulate is " + std::to_string(options.accumulate) +
                        ", expected a multiple of the " + std::to_string(processes) +
                        " processes, which share a step's micro-batches" + same);
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
  if (options.group != nullptr) CheckShares(options, options.group->size());
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
                           const LoopOptions& options, RunDirectory* directory,
                           nlohmann::json options_record)
    : model_(model),
      data_(data),
      valid_(valid),
      options_(options),
      group_(options.group != nullptr ? *options.group : alone_),
      directory_(directory),
      options_record_(std::move(options_record)),
      moments_(model.parameters().size()),
      tokens_(static_cast<size_t>(options.batch) * data.width()),
      micro_losses_(static_cast<size_t>(std::max(0, options.accumulate))),
      flip_watch_(options.flips, options.layers_every, options.schedule.warmup_steps) {
  Validate(options_);
  TERN_CHECK(group_.first() == (directory_ != nullptr)) << group_.rank();
}

CheckpointHeader TrainingLoop::Header() const {
  CheckpointHeader header{state_, CurrentIdentity(), options_record_};
  header.identity.processes = group_.size();
  return header;
}

CheckpointBuffers TrainingLoop::Buffers() {
  return {model_.parameters(), moments_.m.span(), moments_.v.span()};
}

bool TrainingLoop::Resume(const ResumeLeniency& leniency) {
  CheckProcesses(leniency);
  std::string path;
  if (directory_ != nullptr) {
    path = directory_->Newest().value_or("");
    if (!path.empty()) {
      CheckSameRun(path, ReadCheckpointHeader(path), Header(), leniency);
      directory_->DropSuperseded(path);
    }
  }
  path = BroadcastText(group_, path);
  if (path.empty()) return false;
  state_ = ReadShared(path);
  entered_at_ = state_.step;
  Say("resumed at step " + std::to_string(state_.step) + " from " + path);
  return true;
}

LoopSummary TrainingLoop::Run() {
  if (directory_ != nullptr) {
    if (!options_.out_dir.empty()) {
      RemoveTemporaries(options_.out_dir);
      RemoveTemporaries(options_.out_dir + "/masters");
    }
    directory_->OpenMetrics(state_.step);
  }
  std::ranges::fill(model_.gradients(), 0.0f);
  model_.RefreshWeights();
  RememberCodes();
  LoopSummary summary;
  while (true) {
    AtStep();
    if (Ended()) break;
    if (StopAsked()) {
      if (directory_ != nullptr) directory_->WriteStop(Header(), Buffers());
      Say("stopped at step " + std::to_string(state_.step) +
          "; the same command continues from there");
      break;
    }
    TrainStep();
  }
  Finish(summary);
  return summary;
}

bool TrainingLoop::Ended() const {
  return state_.step >= options_.schedule.steps ||
         (options_.patience > 0 && state_.best && state_.best->since >= options_.patience);
}

void TrainingLoop::AtStep() {
  const uint64_t step = state_.step;
  if (std::exchange(entered_at_, std::nullopt) == step) return;
  const bool at_end = step >= options_.schedule.steps;
  // The last step is a candidate for the best one; else its loss comes with Finish.
  const bool due = at_end ? !options_.best_by.empty() : step % options_.eval_every == 0;
  if (step > 0 && due) Evaluate();
  if (Ended() || step % options_.checkpoint_every == 0) SavePeriodic();
}

void TrainingLoop::SavePeriodic() {
  CheckInStep();
  if (directory_ == nullptr) return;
  directory_->WritePeriodic(Header(), Buffers());
  const bool is_start = state_.step == 0;
  // The end exports anyway; the start has nothing to show.
  if (options_.best_by.empty() && options_.export_checkpoints && !options_.out_dir.empty() &&
      !is_start && !Ended()) {
    model_.Export(options_.out_dir);
  }
}

uint64_t TrainingLoop::ReadMicroBatch(int32_t micro) {
  const size_t width = data_.width();
  const auto batch = static_cast<uint64_t>(options_.batch);
  const uint64_t first_row = (state_.step + state_.stability.skipped) * options_.rows_per_step() +
                             static_cast<uint64_t>(micro) * batch;
  for (uint64_t row = 0; row < batch; ++row)
    data_.Read(first_row + row, std::span(tokens_).subspan(row * width, width));
  return first_row;
}

double TrainingLoop::ComputeGradients() {
  const int32_t share = options_.accumulate / group_.size(), first = group_.rank() * share;
  std::ranges::fill(micro_losses_, 0.0);
  for (int32_t micro = first; micro < first + share; ++micro) {
    ReadMicroBatch(micro);
    micro_losses_[static_cast<size_t>(micro)] =
        model_.ForwardBackward(tokens_, 1.0f / static_cast<float>(options_.accumulate));
  }
  group_.Sum(micro_losses_);
  group_.Sum(model_.gradients());
  double loss = 0;
  for (double of_micro : micro_losses_) loss += of_micro;
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

double TrainingLoop::HeldOutLoss(uint64_t tokens) {
  const uint64_t batches = valid_->Batches(tokens);
  std::vector<double> losses(batches);
  const auto processes = static_cast<uint64_t>(group_.size());
  for (auto i = static_cast<uint64_t>(group_.rank()); i < batches; i += processes) {
    valid_->Read(i, batches, tokens_);
    losses[i] = model_.Loss(tokens_);
  }
  group_.Sum(losses);
  model_.ShareHeldOutFigures(group_);
  held_out_figures_ = model_.TakeHeldOutFigures();
  double sum = 0;
  for (double loss : losses) sum += loss;
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
  Record(metric);
  if (!options_.best_by.empty()) KeepIfBest();
}

// `best` survives rollbacks as the counters of stability do: its checkpoint has replaced the one
// before it.
void TrainingLoop::KeepIfBest() {
  const double score = held_out_figures_.at(options_.best_by).get<double>();
  std::optional<BestRecord>& best = state_.best;
  if (best && !(score > best->score)) {
    ++best->since;
    return;
  }
  best = BestRecord{state_.step, score, 0};
  if (directory_ == nullptr) return;
  directory_->WriteBest(Header(), Buffers());
  if (options_.export_checkpoints && !options_.out_dir.empty()) model_.Export(options_.out_dir);
}

void TrainingLoop::RestoreBest() {
  BestRecord& best = *state_.best;
  if (best.step == state_.step && best.since == 0) return;
  const std::string path = directory_ != nullptr ? directory_->BestPath() : "";
  const TrainingState saved = ReadShared(path);
  // A run that was killed behind its best step, and went on elsewhere or with other options, need
  // not find that step the best again; its checkpoint, which replaced a worse one, still is.
  const bool better =
      saved.best && saved.best->step == saved.step && saved.best->score > best.score;
  if (better) best = {saved.step, saved.best->score, best.since};
  if (directory_ != nullptr && saved.step != best.step) {
    throw BadFile({path, "step of the best checkpoint", std::to_string(best.step),
                   std::to_string(saved.step), "start again with --restart"});
  }
  model_.RefreshWeights();
}

void TrainingLoop::Finish(LoopSummary& summary) {
  summary.finished = Ended();
  summary.step = state_.step;
  summary.tokens = state_.step * options_.tokens_per_step();
  summary.loss = last_loss_;
  summary.rollbacks = state_.stability.rollbacks;
  if (meter_.steps() > 0) {
    summary.tokens_per_second =
        static_cast<double>(options_.tokens_per_step()) / meter_.seconds_per_step();
    summary.mfu = Mfu(meter_.seconds_per_step());
  }
  if (summary.finished && state_.best) {
    RestoreBest();
    Say("best by " + options_.best_by + ": step " + std::to_string(state_.best->step) + ", " +
        FormatNumber(state_.best->score) +
        (state_.step < options_.schedule.steps
             ? "; ended at step " + std::to_string(state_.step) + ", as " +
                   std::to_string(state_.best->since) + " evaluations were no better"
             : ""));
  }
  summary.best = state_.best;
  if (summary.finished && directory_ != nullptr && !options_.out_dir.empty())
    model_.Export(options_.out_dir);
  summary.best_held_out = state_.best_held_out;
  if (!summary.finished || valid_ == nullptr) return;
  summary.held_out = HeldOutLoss(0);
  summary.bits_per_byte = valid_->BitsPerByte(*summary.held_out);
  nlohmann::json metric = {{"step", state_.step},
                           {"held_out_loss", *summary.held_out},
                           {"bits_per_byte", OrNull(summary.bits_per_byte)},
                           {"whole_file", true}};
  metric.update(held_out_figures_);
  Record(metric);
  summary.held_out_figures = held_out_figures_;
  Say("held-out loss " + FormatNumber(*summary.held_out) + " nats per token" +
      (summary.bits_per_byte ? ", " + FormatNumber(*summary.bits_per_byte) + " bits per byte"
                             : ""));
}

}  // namespace tern
