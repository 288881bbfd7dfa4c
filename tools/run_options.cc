#include "tools/run_options.h"

#include <CLI/CLI.hpp>

namespace tern {

void BindRunOptions(CLI::App& command, RunOptions& o, const std::string& result) {
  command.add_option("--out", o.out, "Directory of the " + result);
  command.add_option("--run", o.run, "Directory of checkpoints and metrics (default: OUT/run)");
  command.add_flag("--resume", o.must_resume,
                   "Fail where there is no checkpoint (resuming itself is automatic)");
  command.add_flag("--restart", o.restart, "Delete the run's checkpoints and begin again");
  command.add_flag("--allow-different-machine", o.leniency.other_machine,
                   "Resume although binary, target, threads or library differ");
  command.add_flag("--allow-changed-options", o.leniency.other_options,
                   "Resume although options or data differ");
  command.add_flag("--export-checkpoints,!--no-export-checkpoints", o.loop.export_checkpoints,
                   "Also write OUT at every checkpoint (default), or only at the end");
  command.add_flag("--tensorboard", o.tensorboard,
                   "Also write the metrics as a TensorBoard event file in the run's directory");
  command.add_option("--html", o.html, "Write the run's curves as a page when it ends or stops");
  command.add_flag("--benchmark", o.benchmark, "Print step time and ETA; train nothing");
  command.add_option("--benchmark-steps", o.benchmark_steps, "Steps that are timed")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
}

void BindUpdates(CLI::App& command, RunOptions& o, const char* group) {
  const auto add = [&](const char* name, auto& value, const char* text) {
    command.add_option(name, value, text)->capture_default_str()->group(group);
  };
  add("--beta1", o.loop.adamw.beta1, "AdamW");
  add("--beta2", o.loop.adamw.beta2, "AdamW");
  add("--clip", o.loop.clip_norm, "Largest gradient norm; 0: no limit");
  command.add_flag("--fp32", o.fp32, "fp32 GEMM inputs even where the CPU has bf16")->group(group);
}

void BindIntervals(CLI::App& command, LoopOptions& loop, const char* group) {
  const auto add = [&](const char* name, auto& value, const char* text) {
    command.add_option(name, value, text)->capture_default_str()->group(group);
  };
  add("--log-every", loop.log_every, "Steps per line of progress");
  add("--eval-every", loop.eval_every, "Steps between held-out losses");
  add("--eval-tokens", loop.eval_tokens, "Tokens of each; 0: all. The last one reads all");
  add("--checkpoint-every", loop.checkpoint_every, "Steps between checkpoints");
}

nlohmann::json RecordLoop(const LoopOptions& loop) {
  const ScheduleOptions& s = loop.schedule;
  return {{"--batch", loop.batch},
          {"--accumulate", loop.accumulate},
          {"--steps", s.steps},
          {"--warmup", s.warmup_steps},
          {"--lr", s.peak},
          {"--lr-final", s.final},
          {"--weight-decay", s.weight_decay},
          {"--beta1", loop.adamw.beta1},
          {"--beta2", loop.adamw.beta2},
          {"--clip", loop.clip_norm},
          {"--checkpoint-every", loop.checkpoint_every},  // where rollbacks land
          {"--most-rollbacks", loop.stability.most_rollbacks}};
}

}  // namespace tern
