#include "tools/pretrain_options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>

#include "engine/error.h"
#include "engine/hash.h"
#include "kernels/dense_matmul.h"

namespace tern {
namespace {

constexpr double kTokensPerParameter = 20;  // default length of a run: Hoffmann et al. 2022
constexpr uint64_t kMostWarmup = 500;       // steps, as in the b1.58 recipe

void BindModel(CLI::App& command, PretrainOptions& o) {
  std::string sizes;
  for (const ModelPreset& preset : ModelPresets())
    sizes += (sizes.empty() ? "" : ", ") + preset.name;
  command.add_option("--size", o.size, "Preset: " + sizes)->capture_default_str()->group("Model");
  command.add_option("--hidden", o.hidden, "Hidden size")->group("Model");
  command.add_option("--ffn", o.ffn, "Width of the feed-forward layers")->group("Model");
  command.add_option("--layers", o.layers, "Layers")->group("Model");
  command.add_option("--attention-heads", o.attention_heads, "Query heads")->group("Model");
  command.add_option("--kv-heads", o.kv_heads, "Key and value heads")->group("Model");
  command.add_option("--context", o.context, "Longest context, tokens")->group("Model");
  command.add_option("--vocab", o.vocabulary, "Vocabulary for --benchmark without --data")
      ->group("Model");
  command.add_option("--rope-theta", o.rope_theta, "RoPE base")->group("Model");
  command.add_option("--init", o.init, "Continue from the master weights in this directory")
      ->group("Model");
}

void BindData(CLI::App& command, PretrainOptions& o) {
  command.add_option("--data", o.data, "Packed token files, FILE or FILE:WEIGHT; repeatable");
  command.add_option("--valid", o.valid, "Packed token file for the held-out loss");
  command.add_option("--tokenizer", o.tokenizer,
                     "tokenizer.model, or a directory with it, to put into the output");
  BindRunOptions(command, o, "trained model");
}

void BindTraining(CLI::App& command, PretrainOptions& o) {
  const char* group = "Training";
  LoopOptions& loop = o.loop;
  command.add_option("--batch", loop.batch, "Sequences per micro-batch")
      ->capture_default_str()
      ->group(group);
  command.add_option("--sequence", loop.sequence, "Tokens per sequence")
      ->capture_default_str()
      ->group(group);
  command.add_option("--accumulate", loop.accumulate, "Micro-batches per step")
      ->capture_default_str()
      ->group(group);
  command.add_option("--steps", o.steps, "Updates (default: 20 tokens per parameter)")
      ->group(group);
  command.add_option("--tokens", o.tokens, "Length of the run in tokens instead")
      ->excludes("--steps")
      ->group(group);
  command
      .add_flag("--recompute", o.recompute,
                "Keep layer inputs only and recompute the rest: less memory")
      ->group(group);
  command.add_option("--lr", o.lr, "Peak learning rate (default: the preset's)")->group(group);
  command
      .add_option("--lr-stage1-end", o.lr_stage1_end,
                  "Where stage 1 ends (default: LR x (1 - boundary))")
      ->group(group);
  command.add_option("--lr2", o.lr2, "Where stage 2 begins (default: 2/3 of stage 1's end)")
      ->group(group);
  command.add_option("--lr-final", o.lr_final, "Where the run ends (default: 1% of LR)")
      ->group(group);
  command.add_option("--warmup", o.warmup, "Warm-up steps (default: 5% of the steps, at most 500)")
      ->group(group);
  command
      .add_option("--stage-boundary", loop.schedule.stage_boundary,
                  "Share of the steps before stage 2")
      ->capture_default_str()
      ->group(group);
  command
      .add_flag("--cosine", loop.schedule.cosine,
                "Each stage decays along a half cosine, not a line")
      ->group(group);
  command.add_option("--weight-decay", loop.schedule.weight_decay, "In stage 1")
      ->capture_default_str()
      ->group(group);
  command.add_option("--weight-decay2", loop.schedule.weight_decay_stage2, "In stage 2")
      ->capture_default_str()
      ->group(group);
  BindUpdates(command, o, group);
}

void BindWatching(CLI::App& command, PretrainOptions& o) {
  const char* group = "Watching";
  LoopOptions& loop = o.loop;
  const auto add = [&](const char* name, auto& value, const char* text) {
    command.add_option(name, value, text)->capture_default_str()->group(group);
  };
  BindIntervals(command, loop, group);
  add("--layers-every", loop.layers_every,
      "Steps between records of quantisation error and flipped weights");
  add("--flip-alarm", loop.flips.alarm,
      "Share of a layer's weights flipped between two records that is too much, after warm-up");
  add("--flip-jump", loop.flips.jump, "as is this many times the layer's running share");
  add("--spike-sigmas", loop.stability.sigmas,
      "Deviations above the running mean that make a loss a spike");
  add("--spike-jump", loop.stability.least_jump, "and nats above it, at least");
  add("--spike-memory", loop.stability.memory, "Share of the running mean that survives a step");
  add("--spike-settle", loop.stability.settle_steps, "Steps before spikes count");
  add("--rollback-lr", loop.stability.rate_factor, "Factor on the learning rate at each rollback");
  add("--most-rollbacks", loop.stability.most_rollbacks, "Rollbacks before the run gives up");
}

template <class T>
void Override(T& field, const std::optional<T>& value) {
  if (value) field = *value;
}

uint64_t ResolveSteps(const PretrainOptions& o, const ModelConfig& config) {
  if (o.steps) return *o.steps;
  const double tokens =
      o.tokens ? static_cast<double>(*o.tokens) : kTokensPerParameter * CountParameters(config);
  return static_cast<uint64_t>(std::ceil(tokens / static_cast<double>(o.loop.tokens_per_step())));
}

}  // namespace

void BindPretrainOptions(CLI::App& command, PretrainOptions& options) {
  BindData(command, options);
  BindModel(command, options);
  BindTraining(command, options);
  BindWatching(command, options);
}

ModelConfig ResolveConfig(const PretrainOptions& o, uint32_t vocabulary) {
  ModelConfig config = FindPreset(o.size).config;
  Override(config.hidden_size, o.hidden);
  Override(config.intermediate_size, o.ffn);
  Override(config.num_hidden_layers, o.layers);
  Override(config.num_attention_heads, o.attention_heads);
  Override(config.num_key_value_heads, o.kv_heads);
  Override(config.max_position_embeddings, o.context);
  Override(config.rope_theta, o.rope_theta);
  constexpr int32_t kDefaultVocabulary = 32000;
  config.vocab_size =
      vocabulary > 0 ? static_cast<int32_t>(vocabulary) : o.vocabulary.value_or(kDefaultVocabulary);
  if (config.num_attention_heads > 0)
    config.head_dim = config.hidden_size / config.num_attention_heads;
  if (o.context && *o.context > 0 && *o.context < o.loop.sequence) {
    throw InvalidArgument("--context is " + std::to_string(*o.context) +
                          ", expected at least the " + std::to_string(o.loop.sequence) +
                          " tokens of a --sequence");
  }
  if (!(config.rope_theta > 1 && std::isfinite(config.rope_theta))) {
    throw InvalidArgument("--rope-theta is " + std::to_string(config.rope_theta) +
                          ", expected a number above 1");
  }
  if (!o.context)
    config.max_position_embeddings = std::max(config.max_position_embeddings, o.loop.sequence);
  ValidateShape(config);
  return config;
}

LoopOptions ResolveLoop(const PretrainOptions& o, const ModelConfig& config) {
  LoopOptions loop = o.loop;
  if (loop.batch <= 0 || loop.sequence <= 0 || loop.accumulate <= 0) Validate(loop);  // throws
  ScheduleOptions& schedule = loop.schedule;
  schedule.steps = ResolveSteps(o, config);
  schedule.warmup_steps = o.warmup.value_or(std::min<uint64_t>(kMostWarmup, schedule.steps / 20));
  schedule.peak = o.lr.value_or(FindPreset(o.size).learning_rate);
  schedule.stage1_end = o.lr_stage1_end.value_or(schedule.peak * (1 - schedule.stage_boundary));
  schedule.stage2_start = o.lr2.value_or(schedule.stage1_end * 2 / 3);
  schedule.final = o.lr_final.value_or(schedule.peak * 0.01);
  loop.out_dir = o.out;
  Validate(loop);
  return loop;
}

BackboneOptions ResolveBackbone(const PretrainOptions& o) {
  BackboneOptions backbone;
  backbone.batch = o.loop.batch;
  backbone.sequence = o.loop.sequence;
  backbone.recompute = o.recompute;
  backbone.bfloat16 = !o.fp32 && HasBFloat16Matmul();
  return backbone;
}

nlohmann::json RecordOptions(const PretrainOptions& o, const ModelConfig& c,
                             const LoopOptions& loop, const WindowSampler& data, uint64_t seed) {
  const ScheduleOptions& s = loop.schedule;
  const StabilityOptions& w = loop.stability;
  nlohmann::json record = RecordLoop(loop);
  record.update({{"vocabulary", c.vocab_size},
                 {"--hidden", c.hidden_size},
                 {"--ffn", c.intermediate_size},
                 {"--layers", c.num_hidden_layers},
                 {"--attention-heads", c.num_attention_heads},
                 {"--kv-heads", c.num_key_value_heads},
                 {"--context", c.max_position_embeddings},
                 {"--rope-theta", c.rope_theta},
                 {"--sequence", loop.sequence},
                 {"--recompute", o.recompute},
                 {"bf16", ResolveBackbone(o).bfloat16},
                 {"--lr-stage1-end", s.stage1_end},
                 {"--lr2", s.stage2_start},
                 {"--stage-boundary", s.stage_boundary},
                 {"--cosine", s.cosine},
                 {"--weight-decay2", s.weight_decay_stage2},
                 {"--spike-sigmas", w.sigmas},
                 {"--spike-jump", w.least_jump},
                 {"--spike-memory", w.memory},
                 {"--spike-settle", w.settle_steps},
                 {"--rollback-lr", w.rate_factor},
                 {"--init", o.init},
                 {"--seed", seed}});
  for (size_t k = 0; k < data.files().size(); ++k) {
    const TokenFile& file = data.files()[k];
    record["data file " + std::to_string(k + 1)] = HashName(HashBytes(file.bytes()));
    record["share of data file " + std::to_string(k + 1)] = data.slots()[k];
  }
  return record;
}

}  // namespace tern
