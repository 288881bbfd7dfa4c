// Predictions of other machines: a pure function, held to what its model of a machine says.
#include "tools/bench_predict.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace tern {
namespace {

// Two threads; passes of 1 GB. One row: 4 ms that no thread shortens and 60 ms of work. Four rows:
// the same 4 ms, and 80 ms of work.
MachineFigures Figures() {
  return {.threads = 2,
          .read_bytes = 50e9,
          .passes = {{1, 0.034, 0.064, 1e9}, {4, 0.044, 0.084, 1e9}},
          .plain_rest_seconds = 0.001,
          .drafted_rest_seconds = 0.002};
}
// Measured seconds at this very machine, as the figures say them.
const MachineShape kHere{2, 50e9};

TEST(Predict, GivesWhatWasMeasuredForThisMachine) {
  const MachineFigures here = Figures();
  EXPECT_NEAR(FixedSeconds(here.passes[0], here), 0.004, 1e-12);
  // Memory, 20 ms, is less than half the work: what was measured, exactly.
  EXPECT_NEAR(PredictPass(here, 1, kHere), 0.034, 1e-12);
  EXPECT_NEAR(PredictPass(here, 4, kHere), 0.044, 1e-12);
  // On a line between and beyond.
  EXPECT_NEAR(PredictPass(here, 2, kHere), 0.034 + 0.010 / 3, 1e-12);
  EXPECT_NEAR(PredictPass(here, 7, kHere), 0.054, 1e-12);
  EXPECT_NEAR(PredictPass(here, 1, {1, 50e9}), 0.064, 1e-12);
  const AcceptanceRates rates = AcceptanceRates::Read("0.5,0.25");
  const Prediction own = Predict(here, rates, 1, 8, kHere);
  EXPECT_NEAR(own.plain_tokens_per_second, 1.0 / 0.035, 1e-9);
  // Of 2 rows, 1.5 tokens in 39.33 ms; of 3, 1.75 in 42.67 ms; more rows bring no more tokens.
  EXPECT_EQ(own.rows, 3);
  EXPECT_NEAR(own.tokens_per_second, 1.75 / (0.034 + 0.020 / 3 + 0.002), 1e-9);
}

TEST(Predict, MemoryBoundsAPassWhateverTheCores) {
  const MachineFigures here = Figures();
  for (const int cores : {16, 64, 4096})
    EXPECT_NEAR(PredictPass(here, 1, {cores, 100e9}), 0.010 + 0.004, 1e-12) << cores;
  // And work, whatever the bandwidth.
  EXPECT_NEAR(PredictPass(here, 1, {8, 1e15}), 0.060 / 8 + 0.004, 1e-12);
}

// Two threads gain little here because memory bounds them: that is no fixed cost elsewhere.
TEST(Predict, WaitingForMemoryIsNotFixed) {
  MachineFigures here = Figures();
  here.passes = {{1, 0.021, 0.030, 1e9}};
  EXPECT_NEAR(FixedSeconds(here.passes[0], here), 0.001, 1e-12);
  EXPECT_NEAR(PredictPass(here, 1, kHere), 0.021, 1e-12);
  EXPECT_NEAR(PredictPass(here, 1, {8, 100e9}), 0.011, 1e-12);
}

TEST(Predict, MoreCoresAndBandwidthAreNeverSlower) {
  const MachineFigures here = Figures();
  const AcceptanceRates rates = AcceptanceRates::Read("0.63,0.29,0.11,0.046");
  for (const int32_t sequences : {1, 4}) {
    for (const double read : {10e9, 30e9, 60e9, 100e9, 400e9}) {
      for (const int cores : {1, 2, 4, 8, 16, 64}) {
        const Prediction p = Predict(here, rates, sequences, 8, {cores, read});
        const Prediction cored = Predict(here, rates, sequences, 8, {2 * cores, read});
        const Prediction fed = Predict(here, rates, sequences, 8, {cores, 2 * read});
        for (const Prediction& better : {cored, fed}) {
          EXPECT_GE(better.plain_tokens_per_second, p.plain_tokens_per_second);
          EXPECT_GE(better.tokens_per_second, p.tokens_per_second);
        }
        // Drafting is a choice.
        EXPECT_GE(p.tokens_per_second, p.plain_tokens_per_second);
      }
    }
  }
}

TEST(Predict, NoiseAndOneThreadAreSurvived) {
  MachineFigures here = Figures();
  here.passes[0].one_thread_seconds = 0.5;  // slower than twice: nothing is fixed
  EXPECT_EQ(FixedSeconds(here.passes[0], here), 0.0);
  EXPECT_NEAR(PredictPass(here, 1, kHere), 0.034, 1e-12);
  here.passes[0].one_thread_seconds = 0.01;  // faster than on both: what memory leaves
  EXPECT_NEAR(FixedSeconds(here.passes[0], here), 0.014, 1e-12);
  EXPECT_NEAR(PredictPass(here, 1, kHere), 0.034, 1e-12);
  here.threads = 1;
  here.passes.resize(1);
  EXPECT_EQ(FixedSeconds(here.passes[0], here), 0.0);
  EXPECT_NEAR(PredictPass(here, 1, {1, 50e9}), 0.034, 1e-12);
  EXPECT_NEAR(PredictPass(here, 3, {2, 50e9}), 3 * 0.017, 1e-12);
}

TEST(Predict, TheBestTreesTokensByRows) {
  const AcceptanceRates chain = AcceptanceRates::Read("0.5,0.2");
  EXPECT_NEAR(ExpectedTokens(chain, 1), 1.0, 1e-12);
  EXPECT_NEAR(ExpectedTokens(chain, 2), 1.5, 1e-12);
  EXPECT_NEAR(ExpectedTokens(chain, 3), 1.7, 1e-12);
  EXPECT_NEAR(ExpectedTokens(chain, 64), 1.7, 1e-12);
}

}  // namespace
}  // namespace tern
