// A whole run of the loop on the bigram model, as its tests and the program they kill perform it.
#ifndef TERN_TESTS_TRAINER_BIGRAM_RUN_H_
#define TERN_TESTS_TRAINER_BIGRAM_RUN_H_

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "tests/trainer/bigram_trainable.h"
#include "tests/trainer/token_data.h"
#include "trainer/training_loop.h"
#include "trainer/window_sampler.h"

namespace tern::test {

inline LoopOptions BigramOptions(uint64_t steps) {
  LoopOptions options;
  options.batch = 4;
  options.sequence = 8;
  options.accumulate = 2;
  options.schedule.steps = steps;
  options.schedule.warmup_steps = 4;
  options.schedule.peak = 0.05;
  options.schedule.stage1_end = 0.03;
  options.schedule.stage2_start = 0.02;
  options.stability.settle_steps = 5;
  options.stability.margin_steps = 3;
  options.stability.least_jump = 1;
  options.log_every = options.eval_every = options.layers_every = 20;
  options.checkpoint_every = 10;
  options.eval_tokens = 64;
  return options;
}

// One process's part of a run. `work` holds data.tok, valid.tok, out/ and out/run/.
class BigramRun {
 public:
  BigramRun(const std::string& work, LoopOptions options, uint64_t seed = 1)
      : options_((options.out_dir = work + "/out", std::move(options))),
        data_({{work + "/data.tok", {}}}, options_.sequence, seed),
        valid_(work + "/valid.tok", options_.sequence, options_.batch),
        directory_(work + "/out/run"),
        record_({{"--seed", seed}}),
        model(options_.batch, options_.sequence),
        loop(model, data_, &valid_, options_, &directory_, record_) {}

  const WindowSampler& data() const { return data_; }
  // The same run of another model or with other settings that do not change its result.
  LoopSummary RunWith(Trainable& other_model, LoopOptions options) {
    options.out_dir = options_.out_dir;
    TrainingLoop other(other_model, data_, &valid_, options, &directory_, record_);
    other.Resume({});
    return other.Run();
  }

 private:
  LoopOptions options_;
  WindowSampler data_;
  HeldOutSet valid_;
  RunDirectory directory_;
  nlohmann::json record_;

 public:
  BigramTrainable model;
  TrainingLoop loop;
};

// Learnable data with `poison` put at one place.
inline void MakeBigramData(const std::string& work, int32_t poison = -1, size_t at = 0) {
  std::filesystem::create_directories(work + "/out");
  std::vector<uint32_t> tokens = LearnableTokens(20000, 1);
  if (poison >= 0) tokens[at] = static_cast<uint32_t>(poison);
  WriteTokens(work + "/data.tok", tokens, kBigramVocabulary);
  WriteTokens(work + "/valid.tok", LearnableTokens(1000, 2), kBigramVocabulary, 3000);
}

}  // namespace tern::test

#endif  // TERN_TESTS_TRAINER_BIGRAM_RUN_H_
