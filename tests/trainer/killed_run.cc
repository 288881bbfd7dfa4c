// The program that kill_resume_test kills: one run, resumed where it can be.
//   killed_run bigram|backbone WORK STEPS
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <exception>

#include "tests/trainer/bigram_run.h"
#include "trainer/model_presets.h"

namespace tern::test {
namespace {

void RunBigram(const std::string& work, uint64_t steps) {
  BigramRun run(work, BigramOptions(steps));
  run.loop.Resume({});
  run.loop.Run();
}

void RunBackbone(const std::string& work, uint64_t steps) {
  LoopOptions options = BigramOptions(steps);
  options.schedule.peak = 3e-3;
  options.schedule.stage1_end = options.schedule.stage2_start = 2e-3;
  options.sequence = 32;
  options.eval_tokens = 256;
  options.checkpoint_every = 5;
  options.out_dir = work + "/out";
  ModelConfig config = FindPreset("tiny").config;
  config.vocab_size = kBigramVocabulary;
  const WindowSampler data({{work + "/data.tok", {}}}, options.sequence, 1);
  const HeldOutSet valid(work + "/valid.tok", options.sequence, options.batch);
  RunDirectory directory(work + "/out/run");
  Backbone backbone(config, {.batch = options.batch, .sequence = options.sequence});
  BackboneTrainable model(backbone);
  TrainingLoop loop(model, data, &valid, options, &directory, {{"model", "tiny"}});
  if (!loop.Resume({})) backbone.Initialise(1);
  loop.Run();
}

}  // namespace
}  // namespace tern::test

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  try {
    const uint64_t steps = std::stoull(argv[3]);
    std::strcmp(argv[1], "bigram") == 0 ? tern::test::RunBigram(argv[2], steps)
                                        : tern::test::RunBackbone(argv[2], steps);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
