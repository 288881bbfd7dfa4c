// ThreadChoice on simulated machines: durations are replayed, no clock is read.
#include "engine/thread_choice.h"

#include <gtest/gtest.h>

#include <functional>

namespace tern {
namespace {

// Runs `passes` passes; seconds(threads) is what one takes. Returns the total.
double Replay(ThreadChoice& choice, int passes, const std::function<double(int)>& seconds) {
  double total = 0.0;
  for (int i = 0; i < passes; ++i) {
    const double pass = seconds(choice.Next());
    choice.Report(pass);
    total += pass;
  }
  return total;
}

TEST(ThreadChoiceTest, TakesAllThreadsWhereTheyAreFaster) {
  ThreadChoice choice(8, false);
  EXPECT_EQ(choice.Next(), 1);
  Replay(choice, 40, [](int threads) { return threads == 1 ? 1.0 : 0.4; });
  EXPECT_EQ(choice.chosen(), 8);
}

TEST(ThreadChoiceTest, KeepsOneThreadWhereOthersWait) {
  // A hand-over costs a hundred passes. Trials end at their first pass and become rare: over 10,000
  // passes there are at most 1 + log2(8192 / 64) + 2 of them.
  ThreadChoice choice(2, false);
  const double total =
      Replay(choice, 10000, [](int threads) { return threads == 1 ? 1.0 : 100.0; });
  EXPECT_EQ(choice.chosen(), 1);
  EXPECT_LE(total, 10000.0 + 10 * 100.0);
}

TEST(ThreadChoiceTest, EqualSpeedKeepsOneThread) {
  ThreadChoice choice(4, false);
  Replay(choice, 500, [](int) { return 1.0; });
  EXPECT_EQ(choice.chosen(), 1);
}

TEST(ThreadChoiceTest, FollowsTheMachine) {
  ThreadChoice choice(2, false);
  Replay(choice, 100, [](int threads) { return threads == 1 ? 1.0 : 0.6; });
  ASSERT_EQ(choice.chosen(), 2);
  // The second core is taken away: noticed after a window of slow passes, not after an interval.
  const double busy = Replay(choice, 200, [](int threads) { return threads == 1 ? 1.0 : 50.0; });
  EXPECT_EQ(choice.chosen(), 1);
  EXPECT_LE(busy, 200.0 + 20 * 50.0);
  // And comes back: noticed at a trial.
  Replay(choice, 2000, [](int threads) { return threads == 1 ? 1.0 : 0.6; });
  EXPECT_EQ(choice.chosen(), 2);
}

TEST(ThreadChoiceTest, OneSlowPassChangesNothing) {
  ThreadChoice choice(2, false);
  int pass = 0;
  Replay(choice, 1000, [&pass](int threads) {
    return (++pass % 50 == 0 ? 30.0 : 1.0) * (threads == 1 ? 1.0 : 0.6);
  });
  EXPECT_EQ(choice.chosen(), 2);
}

TEST(ThreadChoiceTest, FixedOrSingleNeverTries) {
  ThreadChoice fixed(3, true), single(1, false);
  for (int i = 0; i < 300; ++i) {
    EXPECT_EQ(fixed.Next(), 3);
    EXPECT_EQ(single.Next(), 1);
    fixed.Report(100.0);
    single.Report(100.0);
  }
}

TEST(ThreadChoicesTest, ChooseByTheSizeOfThePass) {
  // A second thread costs 1 and halves the rest.
  ThreadChoices choices(2, false);
  for (int pass = 0; pass < 300; ++pass) {
    for (const int32_t rows : {1, 2, 4, 8, 31}) {
      const double work = rows;
      choices.Report(rows, choices.Next(rows) == 1 ? work : 1.0 + work / 2);
    }
  }
  EXPECT_EQ(choices.chosen(1), 1);
  EXPECT_EQ(choices.chosen(2), 1);
  EXPECT_EQ(choices.chosen(4), 2);
  EXPECT_EQ(choices.chosen(8), 2);
  EXPECT_EQ(choices.chosen(31), 2);
  EXPECT_EQ(choices.most(), 2);
}

}  // namespace
}  // namespace tern
