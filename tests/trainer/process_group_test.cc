// What processes of a group do together, and a training run shared by two; threads stand for them.
#include "trainer/process_group.h"

#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <memory>
#include <optional>

#include "engine/error.h"
#include "tests/support/error_text.h"
#include "tests/support/relative_distance.h"
#include "tests/support/temp_dir.h"
#include "tests/support/thread_group.h"
#include "tests/trainer/bigram_run.h"

namespace tern::test {
namespace {

TEST(ProcessGroup, TextsAndAnswersReachAll) {
  std::array<std::vector<std::string>, 3> texts;
  std::array<std::string, 3> from_last;
  std::array<bool, 3> one{}, none{};
  RunInGroup(3, [&](ProcessGroup& group) {
    const auto me = static_cast<size_t>(group.rank());
    texts[me] = GatherTexts(group, std::string(me, 'x'));
    from_last[me] = BroadcastText(group, "of " + std::to_string(me), 2);
    one[me] = AnyOf(group, me == 1);
    none[me] = AnyOf(group, false);
  });
  for (size_t rank = 0; rank < 3; ++rank) {
    EXPECT_EQ(texts[rank], (std::vector<std::string>{"", "x", "xx"}));
    EXPECT_EQ(from_last[rank], "of 2");
    EXPECT_TRUE(one[rank]);
    EXPECT_FALSE(none[rank]);
  }
}

// What each of three processes hears where those of `failing` fail.
std::array<std::string, 3> Told(const std::vector<int>& failing) {
  std::array<std::string, 3> told;
  RunInGroup(3, [&](ProcessGroup& group) {
    try {
      Together(group, [&] {
        if (std::ranges::find(failing, group.rank()) != failing.end())
          throw NotFound("no " + std::to_string(group.rank()));
      });
    } catch (const std::exception& error) {
      told[static_cast<size_t>(group.rank())] = error.what();
    }
  });
  return told;
}

TEST(ProcessGroup, AFailureIsToldOnce) {
  const std::string other = ToldElsewhere().what();
  EXPECT_EQ(Told({}), (std::array<std::string, 3>{}));
  EXPECT_EQ(Told({0, 1, 2}), (std::array<std::string, 3>{"no 0", other, other}));
  EXPECT_EQ(Told({1, 2}),
            (std::array<std::string, 3>{"process 2 of 3 (thread): no 1", other, other}));
}

TEST(ProcessGroup, ALauncherOfSeveralIsRefused) {
  setenv("PMI_SIZE", "1", 1);
  RequireOneProcess("this");
  setenv("PMI_SIZE", "3", 1);
  EXPECT_EQ(ErrorText([] { RequireOneProcess("this runs in one"); }),
            "started as one of 3 processes; this runs in one");
  unsetenv("PMI_SIZE");
}

// A run of the bigram model by the processes of a group, in the folder `work`.
struct Outcome {
  LoopSummary summary;
  std::vector<float> parameters;
};
Outcome TrainMember(const std::string& work, LoopOptions options, ProcessGroup& group,
                    bool stops_at_once = false) {
  options.group = &group;
  options.out_dir = work + "/out";
  const std::atomic<bool> stop{stops_at_once};
  options.stop = &stop;
  const WindowSampler data({{work + "/data.tok", {}}}, options.sequence, 1);
  const HeldOutSet valid(work + "/valid.tok", options.sequence, options.batch);
  std::unique_ptr<RunDirectory> directory;
  if (group.first()) directory = std::make_unique<RunDirectory>(work + "/out/run");
  BigramTrainable model(options.batch, options.sequence);
  TrainingLoop loop(model, data, &valid, options, directory.get(), {{"--seed", 1}});
  loop.Resume({});
  Outcome outcome;
  outcome.summary = loop.Run();
  outcome.parameters.assign(model.parameters().begin(), model.parameters().end());
  return outcome;
}

std::array<Outcome, 2> TrainInTwo(const std::string& work, const LoopOptions& options,
                                  int stops = -1) {
  std::array<Outcome, 2> outcomes;
  RunInGroup(2, [&](ProcessGroup& group) {
    outcomes[static_cast<size_t>(group.rank())] =
        TrainMember(work, options, group, group.rank() == stops);
  });
  return outcomes;
}

TEST(SharedRun, IsThatOfOneProcess) {
  const TempDir one_dir, two_dir;
  LoopOptions options = BigramOptions(100);
  options.accumulate = 4;
  for (const TempDir* dir : {&one_dir, &two_dir}) MakeBigramData(dir->path(), kNanToken, 5000);
  SingleProcess alone;
  const Outcome one = TrainMember(one_dir.path(), options, alone);
  const std::array<Outcome, 2> two = TrainInTwo(two_dir.path(), options);
  EXPECT_EQ(two[0].parameters, two[1].parameters);
  EXPECT_GE(one.summary.rollbacks, 1) << "the bad token was never read";
  for (const Outcome& outcome : two) {
    EXPECT_TRUE(outcome.summary.finished);
    EXPECT_EQ(outcome.summary.rollbacks, one.summary.rollbacks);
    EXPECT_EQ(outcome.summary.tokens, one.summary.tokens);
    // An element of the gradient is a sum of at most 4 x 4 x 8 = 128 terms, in another order: off
    // by at most 128 x 2^-24 = 7.6e-6 of their magnitudes. AdamW divides it by its own size, so the
    // weights are off by as much per step, in relation to how far they moved, unless terms cancel.
    EXPECT_LT(RelativeDistance(outcome.parameters, one.parameters), 100 * 7.6e-6);
    EXPECT_NEAR(*outcome.summary.held_out, *one.summary.held_out, 1e-4);
  }
  EXPECT_EQ(ReadFile(two_dir / "out/model.bin").size(), ReadFile(one_dir / "out/model.bin").size());
}

TEST(SharedRun, StopsEverywhereAndGoesOn) {
  const TempDir whole, stopped;
  const LoopOptions options = BigramOptions(30);
  for (const TempDir* dir : {&whole, &stopped}) MakeBigramData(dir->path());
  TrainInTwo(whole.path(), options);
  for (int process : {0, 1}) {
    for (const Outcome& outcome : TrainInTwo(stopped.path(), options, process)) {
      EXPECT_FALSE(outcome.summary.finished);
      EXPECT_EQ(outcome.summary.step, 0u);
    }
  }
  TrainInTwo(stopped.path(), options);
  EXPECT_EQ(ReadFile(stopped / "out/run/step-0000000030.ckpt"),
            ReadFile(whole / "out/run/step-0000000030.ckpt"));
}

TEST(SharedRun, WantsItsNumberOfProcesses) {
  const TempDir dir;
  MakeBigramData(dir.path());
  TrainInTwo(dir.path(), BigramOptions(10));
  SingleProcess alone;
  const std::string problem = ErrorText([&] { TrainMember(dir.path(), BigramOptions(10), alone); });
  EXPECT_NE(problem.find("made with a number of processes of 2, this run has 1"), std::string::npos)
      << problem;
}

TEST(SharedRun, MicroBatchesAreSharedEvenly) {
  RunInGroup(2, [](ProcessGroup& group) {
    LoopOptions options = BigramOptions(10);
    options.group = &group;
    options.batch = 6;
    options.accumulate = 1;
    EXPECT_EQ(ErrorText([&] { Validate(options); }),
              "--accumulate is 1, expected a multiple of the 2 processes, which share a step's "
              "micro-batches; a step of the same size is --batch 3 --accumulate 2");
    options.batch = 1;
    EXPECT_EQ(ErrorText([&] { Validate(options); }),
              "--accumulate is 1, expected a multiple of the 2 processes, which share a step's "
              "micro-batches");
  });
}

TEST(SharedRun, DifferentOptionsAreRefused) {
  const TempDir dir;
  MakeBigramData(dir.path());
  std::array<std::string, 2> told;
  RunInGroup(2, [&](ProcessGroup& group) {
    LoopOptions options = BigramOptions(10);
    options.group = &group;
    const WindowSampler data({{dir / "data.tok", {}}}, options.sequence, 1);
    std::unique_ptr<RunDirectory> directory;
    if (group.first()) directory = std::make_unique<RunDirectory>(dir / "out/run");
    BigramTrainable model(options.batch, options.sequence);
    TrainingLoop loop(model, data, nullptr, options, directory.get(), {{"--seed", group.rank()}});
    try {
      loop.Resume({});
    } catch (const std::exception& error) {
      told[static_cast<size_t>(group.rank())] = error.what();
    }
  });
  EXPECT_EQ(told[0],
            "process 2 of 2 (thread): this process has --seed 1, the first one 0; give every "
            "process the same options and the same data");
  EXPECT_EQ(told[1], ToldElsewhere().what());
}

}  // namespace
}  // namespace tern::test
