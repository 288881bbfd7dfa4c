// The options of `tern train` and how they become the settings of a run.
#ifndef TERN_TOOLS_TRAIN_OPTIONS_H_
#define TERN_TOOLS_TRAIN_OPTIONS_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "tools/run_options.h"
#include "trainer/head_rows.h"
#include "trainer/head_trainer.h"

namespace tern {

struct TrainOptions : RunOptions {
  TrainOptions();
  std::string data;
  std::string from_served;  // folder of recorded traffic, instead of data
  std::string init_heads;   // to begin with; empty: heads of zeros
  std::string synthetic;    // shape that is benchmarked without model and data
  HeadTrainerOptions heads;
  std::optional<int32_t> loss_shortlist, loss_samples;
  std::string costs;       // file of c(rows); empty: measured
  std::string gguf;        // of the finished heads; empty: none
  bool pt = false;         // the finished heads as PyTorch's file, too
  int32_t calibrate = 64;  // held-out prompts at most
  double epochs = 4;
  double hidden_memory_gb = 4;
  uint64_t block_tokens = 0;
  double held_out = 0.02;  // share of the texts, picked at random
  std::optional<uint64_t> steps, warmup;
  double lr = 8e-3, lr_final = 0;  // by experiment: trainer/README.md
};

void BindTrainOptions(CLI::App& command, TrainOptions& options);

// The data cut in two, along texts: rows [0, training) and the rest.
struct HeadDataSplit {
  uint64_t training = 0, held_out = 0;  // rows
};
// Throws kBadFile where one part is empty.
HeadDataSplit SplitHeadData(const HeadRows& rows, double held_out_share);

// Tokens of the texts that are in use at a time; 0: all texts are.
uint64_t BlockTokens(const TrainOptions& options, const HiddenCacheInfo& info);

// Fills in steps, schedule and directories.
LoopOptions ResolveTrainLoop(const TrainOptions& options, const HeadDataSplit& split);
// Tokens that the loss looks at where --loss-shortlist says nothing.
int32_t DefaultShortlist(const HiddenCache& cache);
// Fills in batch, element type and the part of the vocabulary.
HeadTrainerOptions ResolveHeads(const TrainOptions& options, const LoopOptions& loop,
                                int32_t default_shortlist);
// Everything that decides the bytes of the result, flat: what a checkpoint remembers and resume
// compares.
nlohmann::json RecordTrainOptions(const TrainOptions& options, const HeadTrainerOptions& heads,
                                  const LoopOptions& loop, const HiddenCache& cache, uint64_t seed);

// The heads of options.init_heads, if any. Throws kInvalidArgument where they are of a kind that is
// not trained.
std::optional<MedusaHeads> InitialHeads(const TrainOptions& options, const Model& model);

}  // namespace tern

#endif  // TERN_TOOLS_TRAIN_OPTIONS_H_
