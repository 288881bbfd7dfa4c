// The training loop: batches, updates, held-out loss, rollbacks, checkpoints, metrics.
#ifndef TERN_TRAINER_TRAINING_LOOP_H_
#define TERN_TRAINER_TRAINING_LOOP_H_

#include <atomic>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "trainer/adamw.h"
#include "trainer/batch_source.h"
#include "trainer/checkpoint.h"
#include "trainer/flip_watch.h"
#include "trainer/machine.h"
#include "trainer/process_group.h"
#include "trainer/progress_line.h"
#include "trainer/run_directory.h"
#include "trainer/schedule.h"
#include "trainer/stability.h"
#include "trainer/trainable.h"

namespace tern {

struct LoopOptions {
  int32_t batch = 8;       // sequences per micro-batch
  int32_t sequence = 512;  // tokens per sequence
  int32_t accumulate = 1;  // micro-batches per step, of all processes
  // Processes that share the run, each computing as many of a step's micro-batches; null: this one
  // alone. Same options, same micro-batches: the result is that of one process but for the order
  // in which gradients are added.
  ProcessGroup* group = nullptr;
  ScheduleOptions schedule;  // includes the number of steps
  AdamWOptions adamw;
  double clip_norm = 1.0;  // 0: none
  StabilityOptions stability;
  uint64_t log_every = 10;    // steps per line of progress and per metrics record
  uint64_t eval_every = 200;  // steps between held-out losses
  uint64_t eval_tokens =
      65536;  // tokens of each; 0: the whole file. The last one always reads the whole file
  uint64_t checkpoint_every = 200;
  uint64_t layers_every = 100;  // steps between records of quantisation error and flipped weights
  FlipWatchOptions flips;       // of these records
  bool export_checkpoints = true;  // also write `out_dir` at every checkpoint
  // The held-out figure that says how good a step is, more being better: what the run makes is then
  // the model of the best step, exported whenever there is a better one. Empty: that of the last
  // step.
  std::string best_by;
  uint64_t patience = 0;     // evaluations without a better step that end the run; 0: none do
  std::string out_dir;       // the exported model; empty: none
  GemmPeak* peak = nullptr;  // measured anew while training; null: no MFU
  const std::atomic<bool>* stop = nullptr;  // set by a signal handler: checkpoint and return

  uint64_t rows_per_step() const {
    return static_cast<uint64_t>(batch) * static_cast<uint64_t>(accumulate);
  }
  uint64_t tokens_per_step() const { return rows_per_step() * static_cast<uint64_t>(sequence); }
};

// Throws kInvalidArgument naming option, value and range.
void Validate(const LoopOptions& options);

struct LoopSummary {
  bool finished = false;  // false: stopped on request
  uint64_t step = 0;
  uint64_t tokens = 0;           // trained on, rollbacks' discarded steps not counted
  double loss = 0;               // of the last step
  double tokens_per_second = 0;  // of this process's training steps
  double mfu = 0;                // 0: unknown
  std::optional<double> held_out, bits_per_byte;  // at the end, over the whole file
  std::optional<HeldOutRecord> best_held_out;     // among those during the run
  std::optional<BestRecord> best;                 // with LoopOptions::best_by: what was exported
  int32_t rollbacks = 0;
  nlohmann::json held_out_figures;  // the model's own, of the last held-out loss
};

class TrainingLoop {
 public:
  // Borrows everything for its life. `valid` may be null. `directory` is null in all processes of
  // a group but the first, which alone reads and writes it. `options_record` is what CheckSameRun
  // compares.
  TrainingLoop(Trainable& model, const BatchSource& data, const HeldOutSource* valid,
               const LoopOptions& options, RunDirectory* directory, nlohmann::json options_record);

  // Continues from the newest checkpoint of the directory; false where there is none. Throws
  // kInvalidArgument where processes of the group differ in machine or options. Collective, as is
  // Run.
  bool Resume(const ResumeLeniency& leniency);
  LoopSummary Run();

 private:
  // All steps done, or patience at its end.
  bool Ended() const;
  void CheckProcesses(const ResumeLeniency& leniency);
  // That all processes hold the same bits, as they must.
  void CheckInStep();
  // Every process gets what the first one reads.
  TrainingState ReadShared(const std::string& path);
  bool StopAsked();
  // Of the first process alone.
  void Say(const std::string& text);
  void Record(const nlohmann::json& metric);
  void AtStep();  // what is due before the step: held-out loss, checkpoint
  void TrainStep();
  double ComputeGradients();
  // Fills tokens_; gives the first row's number.
  uint64_t ReadMicroBatch(int32_t micro);
  // Of a bad step: the tensor and the example to look at.
  std::string SuspectTensor();
  std::string SuspectSample();
  // The checkpoint to go back to; throws where the run ends with `failure`.
  std::string TargetOfRollback(const std::string& failure) const;
  void Rollback(StepVerdict verdict, double loss, double norm);
  void Evaluate();
  void KeepIfBest();
  void RestoreBest();
  double HeldOutLoss(uint64_t tokens);
  void SavePeriodic();
  void LogStep(double learning_rate, double norm);
  // Share of the machine's peak at this pace; 0: unknown.
  double Mfu(double seconds_per_step);
  void LogLayers();
  void RememberCodes();
  void Finish(LoopSummary& summary);
  CheckpointHeader Header() const;
  CheckpointBuffers Buffers();

  Trainable& model_;
  const BatchSource& data_;
  const HeldOutSource* valid_;
  LoopOptions options_;
  SingleProcess alone_;
  ProcessGroup& group_;
  RunDirectory* directory_;
  nlohmann::json options_record_;
  AdamWState moments_;
  TrainingState state_;
  std::optional<uint64_t> entered_at_;  // the step that was just restored: nothing is due again
  std::vector<int32_t> tokens_;         // [batch, width of data]
  std::vector<double> micro_losses_;    // [accumulate] of the current step
  std::vector<int8_t> old_codes_;       // ternary codes of step old_codes_step_
  uint64_t old_codes_step_ = 0;
  FlipWatch flip_watch_;
  StepMeter meter_;
  ProgressLine progress_;
  double last_loss_ = 0;
  nlohmann::json held_out_figures_ = nlohmann::json::object();
};

}  // namespace tern

#endif  // TERN_TRAINER_TRAINING_LOOP_H_
