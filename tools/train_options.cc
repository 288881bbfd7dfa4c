#include "tools/train_options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cmath>

#include "engine/atomic_file.h"
#include "engine/error.h"
#include "engine/hash.h"
#include "engine/synthetic_weights.h"
#include "kernels/dense_matmul.h"

namespace tern {
namespace {

void BindData(CLI::App& command, TrainOptions& o) {
  CLI::Option* data = command.add_option("--data", o.data, "Directory that tern distill wrote");
  command
      .add_option("--from-served", o.from_served,
                  "Folder that tern serve --record wrote: train on that traffic, as it is when the "
                  "run begins")
      ->excludes(data);
  std::string shapes;
  for (const std::string& name : SyntheticShapes()) shapes += (shapes.empty() ? "" : ", ") + name;
  command.add_option("--synthetic", o.synthetic,
                     "--benchmark: of a shape instead of a model and data: " + shapes);
  command
      .add_option("--hidden-memory", o.hidden_memory_gb,
                  "GB of hidden states to keep where the data stores none and they are computed")
      ->check(CLI::Range(0.0, 1e6))
      ->capture_default_str();
  command
      .add_option("--block-tokens", o.block_tokens,
                  "Train on texts of so many tokens, then on the next ones; 0: on all together, or "
                  "on as many as --hidden-memory holds")
      ->capture_default_str();
  BindRunOptions(command, o, "trained heads");
}

float TeacherWeight(const std::string& loss) {
  if (loss == "ce") return 0.0f;
  if (loss == "kl") return 1.0f;
  float weight = -1;
  if (loss.starts_with("mix:")) {
    const char* end = loss.data() + loss.size();
    const auto [stop, error] = std::from_chars(loss.data() + 4, end, weight);
    if (error == std::errc() && stop == end && weight > 0 && weight < 1) return weight;
  }
  throw CLI::ValidationError("--loss", "is " + loss + ", expected ce, kl or mix:W, 0 < W < 1");
}

void BindTraining(CLI::App& command, TrainOptions& o) {
  const auto add = [&](const char* name, auto& value, const char* text) {
    return command.add_option(name, value, text)->capture_default_str()->group("Training");
  };
  CLI::Option* count = add("--heads-count", o.heads.heads, "Heads K; head k predicts token t+1+k")
                           ->check(CLI::Range(1, kMaxMedusaHeads));
  CLI::Option* layers = add("--layers", o.heads.layers, "Residual blocks of each head")
                            ->check(CLI::Range(1, kMaxMedusaLayers));
  CLI::Option* rank = add("--rank", o.heads.rank, "Of the blocks' matrices; 0: full")
                          ->check(CLI::Range(0, 1 << 14));
  CLI::Option* ternary =
      command.add_flag("--ternary", o.heads.ternary, "Matrices of -1, 0 and 1 times a scale")
          ->excludes(rank)
          ->group("Training");
  command
      .add_option("--init-heads", o.init_heads,
                  "Begin with these heads, as many and as deep as they are, instead of zeros")
      ->excludes(count)
      ->excludes(layers)
      ->excludes(rank)
      ->excludes(ternary)
      ->group("Training");
  CLI::Option* own_projection =
      command
          .add_flag("--own-projection", o.heads.own_projection,
                    "Every head trains its own vocabulary projection, which begins as the model's: "
                    "Medusa's version 1. Costs 18 bytes of memory for each of K V d weights")
          ->group("Training");
  CLI::Option* no_bias =
      command.add_flag("!--no-bias", o.heads.biases, "Blocks without biases")->group("Training");
  CLI::Option* no_root =
      command
          .add_flag("!--no-root", o.heads.sees_root,
                    "Heads that see the hidden state alone, as Medusa's, and not the token behind "
                    "it, too: they draft less well, and other engines run them")
          ->group("Training");
  command
      .add_option("--gguf", o.gguf,
                  "Write the heads into this file, too, as MedusaBitNet's GGUF tensors")
      ->needs(no_bias)
      ->needs(no_root)
      ->excludes(own_projection)
      ->group("Training");
  command
      .add_flag("--pt", o.pt,
                "Write the finished heads as medusa_lm_head.pt, too, which FasterDecoding's loader "
                "reads")
      ->needs(no_root)
      ->group("Training");
  command
      .add_option("--loss-shortlist", o.loss_shortlist,
                  "Most frequent tokens, which the training loss always looks at (default: those "
                  "that make up 97% of the data)")
      ->check(CLI::Range(0, 1 << 24))
      ->group("Training");
  command
      .add_option("--loss-samples", o.loss_samples,
                  "Others, drawn for each micro-batch, that stand for all of them (default: a "
                  "quarter of the shortlist); 0: the whole vocabulary")
      ->check(CLI::Range(0, 1 << 24))
      ->group("Training");
  command
      .add_option_function<std::string>(
          "--loss", [&o](const std::string& text) { o.heads.teacher_weight = TeacherWeight(text); },
          "ce: cross-entropy on the tokens; kl: divergence from the probabilities that tern "
          "distill "
          "--teacher-top-k stored; mix:W: W of kl and 1 - W of ce")
      ->default_str("ce")
      ->group("Training");
  add("--loss-decay", o.heads.loss_decay, "Head k counts this to the power of k-1")
      ->check(CLI::Range(0.01, 1.0));
  add("--held-out", o.held_out, "Share of the texts, picked at random, to measure on")
      ->check(CLI::Range(0.0001, 0.5));
  add("--batch", o.loop.batch, "Tokens per micro-batch")->check(CLI::Range(1, 1 << 20));
  add("--accumulate", o.loop.accumulate, "Micro-batches per step")->check(CLI::Range(1, 1 << 16));
  CLI::Option* epochs =
      add("--epochs", o.epochs, "Passes over the data")->check(CLI::Range(1e-6, 1e6));
  command.add_option("--steps", o.steps, "Updates instead")->excludes(epochs)->group("Training");
  command.add_option("--warmup", o.warmup, "Warm-up steps (default: 5% of the steps, at most 100)")
      ->group("Training");
  add("--lr", o.lr, "Peak learning rate");
  add("--lr-final", o.lr_final, "Where the run ends, along half a cosine");
  add("--weight-decay", o.loop.schedule.weight_decay, "AdamW, on matrices");
  BindUpdates(command, o, "Training");
}

void BindWatching(CLI::App& command, TrainOptions& o) {
  BindIntervals(command, o.loop, "Watching");
  command
      .add_option("--patience", o.loop.patience,
                  "Evaluations without more simulated tokens/s that end the run; 0: none do")
      ->capture_default_str()
      ->group("Watching");
  command
      .add_option("--calibrate", o.calibrate,
                  "Held-out prompts, at most, that the finished heads' calibration is fitted on: "
                  "the model writes four texts for each; 0: none is")
      ->check(CLI::Range(0, 1 << 20))
      ->capture_default_str()
      ->group("Watching");
  command
      .add_option("--costs", o.costs,
                  "File of {\"rows\": [1, 2, ..], \"seconds\": [..]}, what passes cost where the "
                  "model will run (default: measured here when the run begins)")
      ->group("Watching");
  command
      .add_option("--most-rollbacks", o.loop.stability.most_rollbacks,
                  "Rollbacks before the run gives up")
      ->capture_default_str()
      ->group("Watching");
}

}  // namespace

TrainOptions::TrainOptions() {
  benchmark_steps = 10;
  loop.batch = heads.batch;
  loop.sequence = 1;  // a row is one token
  loop.log_every = 100;
  loop.eval_every = 500;
  loop.checkpoint_every = 500;
  loop.eval_tokens = 8192;
  loop.schedule.weight_decay = 0;
  loop.adamw.beta2 = 0.99;
}

void BindTrainOptions(CLI::App& command, TrainOptions& options) {
  BindData(command, options);
  BindTraining(command, options);
  BindWatching(command, options);
}

HeadDataSplit SplitHeadData(const HeadRows& rows, double held_out_share) {
  const uint64_t texts = rows.cache().sequences();
  const uint64_t held_out = HeldOutTexts(texts, held_out_share);
  HeadDataSplit split;
  if (texts > held_out) split.training = rows.RowsBefore(texts - held_out);
  split.held_out = rows.size() - split.training;
  if (split.training == 0 || split.held_out == 0) {
    throw BadFile({rows.cache().dir(), "too little data",
                   "tokens to train on and, from other texts, to measure on",
                   std::to_string(split.training) + " and " + std::to_string(split.held_out),
                   "run tern distill with more prompts"});
  }
  return split;
}

uint64_t BlockTokens(const TrainOptions& options, const HiddenCacheInfo& info) {
  if (options.block_tokens > 0 || info.hidden_stored) return options.block_tokens;
  const double share =
      0.9 * options.hidden_memory_gb * 1e9 / static_cast<double>(HiddenStateBytes(info));
  if (share >= 1) return 0;  // the rest of memory is for texts to measure on
  return std::max<uint64_t>(1, static_cast<uint64_t>(share * static_cast<double>(info.tokens())));
}

LoopOptions ResolveTrainLoop(const TrainOptions& o, const HeadDataSplit& split) {
  LoopOptions loop = o.loop;
  ScheduleOptions& schedule = loop.schedule;
  const double rows = o.epochs * static_cast<double>(split.training);
  schedule.steps = o.steps.value_or(
      static_cast<uint64_t>(std::ceil(rows / static_cast<double>(loop.rows_per_step()))));
  schedule.warmup_steps = o.warmup.value_or(std::min<uint64_t>(100, schedule.steps / 20));
  schedule.stage_boundary = 1;  // one stage
  schedule.cosine = true;
  schedule.peak = o.lr;
  schedule.stage1_end = schedule.stage2_start = schedule.final = o.lr_final;
  loop.out_dir = o.out;
  loop.best_by = HeadTrainer::kSpeedFigure;
  Validate(loop);
  return loop;
}

int32_t DefaultShortlist(const HiddenCache& cache) {
  return TokensCovering(cache, 0.97);  // by experiment: trainer/README.md
}

HeadTrainerOptions ResolveHeads(const TrainOptions& o, const LoopOptions& loop,
                                int32_t default_shortlist) {
  HeadTrainerOptions heads = o.heads;
  heads.batch = loop.batch;
  heads.bfloat16 = !o.fp32;
  heads.hidden_memory = static_cast<uint64_t>(o.hidden_memory_gb * 1e9);
  heads.loss_shortlist = o.loss_shortlist.value_or(default_shortlist);
  // One at least besides the target, which may itself be drawn.
  heads.loss_samples = o.loss_samples.value_or(std::max(2, heads.loss_shortlist / 4));
  if (heads.loss_samples == 1) {
    throw InvalidArgument("--loss-samples is 1, expected 0 (the whole vocabulary) or at least 2");
  }
  return heads;
}

std::optional<MedusaHeads> InitialHeads(const TrainOptions& o, const Model& model) {
  if (o.init_heads.empty()) return std::nullopt;
  MedusaHeads heads = LoadMedusaHeads(o.init_heads, model);
  if (std::ranges::any_of(heads.blocks, &MedusaBlock::two_matrices)) {
    throw InvalidArgument("--init-heads: " + o.init_heads +
                          " has blocks of two matrices; expected Medusa heads, which tern train "
                          "writes");
  }
  if (heads.vocabularies.size() > 0 && !o.heads.own_projection) {
    throw InvalidArgument("--init-heads: " + o.init_heads +
                          " has vocabularies of its own, which train with --own-projection only");
  }
  if (heads.sees_root() && !o.heads.sees_root) {
    throw InvalidArgument("--no-root: " + o.init_heads +
                          " has heads that see the root, expected others, or no --no-root");
  }
  return heads;
}

nlohmann::json RecordTrainOptions(const TrainOptions& o, const HeadTrainerOptions& heads,
                                  const LoopOptions& loop, const HiddenCache& cache,
                                  uint64_t seed) {
  nlohmann::json record = RecordLoop(loop);
  record.update({{"--heads-count", heads.heads},
                 {"--layers", heads.layers},
                 {"--rank", heads.rank},
                 {"--ternary", heads.ternary},
                 {"--no-root", !heads.sees_root},
                 {"--loss-shortlist", heads.loss_shortlist},
                 {"--loss-samples", heads.loss_samples},
                 {"--loss-decay", heads.loss_decay},
                 {"--held-out", o.held_out},
                 {"--eval-every", loop.eval_every},  // which steps may be the best one
                 {"--eval-tokens", loop.eval_tokens},
                 {"--patience", loop.patience},
                 {"bf16", !o.fp32 && HasBFloat16Matmul()},
                 {"--seed", seed},
                 {"data", HashName(HashText(ReadFile(cache.dir() + "/manifest.json")))}});
  // Only where it is not what all runs once were.
  if (heads.teacher_weight > 0) record["--loss"] = heads.teacher_weight;
  if (!heads.biases) record["--no-bias"] = true;
  if (heads.own_projection) record["--own-projection"] = true;
  if (const uint64_t tokens = BlockTokens(o, cache.info()); tokens > 0)
    record["--block-tokens"] = tokens;
  return record;
}

}  // namespace tern
