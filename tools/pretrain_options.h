// The options of `tern pretrain` and how they become the settings of a run.
#ifndef TERN_TOOLS_PRETRAIN_OPTIONS_H_
#define TERN_TOOLS_PRETRAIN_OPTIONS_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "tools/run_options.h"
#include "trainer/model_presets.h"
#include "trainer/window_sampler.h"

namespace tern {

struct PretrainOptions : RunOptions {
  std::vector<std::string> data;  // FILE[:WEIGHT]
  std::string valid, tokenizer, init;
  std::string size = "8m";
  // Dimensions that replace the preset's.
  std::optional<int32_t> hidden, ffn, layers, attention_heads, kv_heads, context, vocabulary;
  std::optional<double> rope_theta;
  std::optional<uint64_t> steps, tokens, warmup;
  std::optional<double> lr, lr_stage1_end, lr2, lr_final;
  bool recompute = false;
};

void BindPretrainOptions(CLI::App& command, PretrainOptions& options);

// The model asked for; `vocabulary` is the data's, 0 where there is none.
ModelConfig ResolveConfig(const PretrainOptions& options, uint32_t vocabulary);
// Fills in steps, schedule and directories.
LoopOptions ResolveLoop(const PretrainOptions& options, const ModelConfig& config);
BackboneOptions ResolveBackbone(const PretrainOptions& options);
// Everything that decides the bytes of the result, flat: what a checkpoint remembers and resume
// compares.
nlohmann::json RecordOptions(const PretrainOptions& options, const ModelConfig& config,
                             const LoopOptions& loop, const WindowSampler& data, uint64_t seed);

}  // namespace tern

#endif  // TERN_TOOLS_PRETRAIN_OPTIONS_H_
