// The options of a training run, whatever it trains: where it lives, how it resumes, how it is
// watched.
#ifndef TERN_TOOLS_RUN_OPTIONS_H_
#define TERN_TOOLS_RUN_OPTIONS_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "tools/commands.h"
#include "trainer/training_loop.h"

namespace tern {

struct RunOptions {
  std::string out, run;
  LoopOptions loop;  // what needs no derivation is bound directly
  std::string html;  // page of the run's curves; empty: none
  bool tensorboard = false;
  bool fp32 = false;
  bool must_resume = false, restart = false;
  ResumeLeniency leniency;
  bool benchmark = false;
  int32_t benchmark_steps = 5;
};

// `result` is what --out holds in the end, as in "trained model".
void BindRunOptions(CLI::App& command, RunOptions& options, const std::string& result);
// How parameters are updated from gradients: --beta1, --beta2, --clip and --fp32.
void BindUpdates(CLI::App& command, RunOptions& options, const char* group);
// Intervals of progress, held-out losses and checkpoints.
void BindIntervals(CLI::App& command, LoopOptions& loop, const char* group);

// Of the options that a checkpoint remembers and resume compares: those that every run has.
nlohmann::json RecordLoop(const LoopOptions& loop);

}  // namespace tern

#endif  // TERN_TOOLS_RUN_OPTIONS_H_
