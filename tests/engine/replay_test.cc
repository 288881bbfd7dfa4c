// Acceptance as given rates say, and nothing else of a generation changed by it.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "engine/acceptance_replay.h"
#include "engine/draft_logits.h"
#include "engine/error.h"
#include "engine/replay_drafter.h"
#include "engine/scheduler.h"
#include "kernels/parallel.h"
#include "tests/support/byte_tokenizer.h"
#include "tests/support/error_text.h"
#include "tests/support/random_heads.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"

namespace tern {
namespace {

using Rates = std::shared_ptr<const AcceptanceRates>;
const StepCost kFreeRows(0.0);  // every node that fits is verified

Rates ReadRates(const std::string& text) {
  return std::make_shared<const AcceptanceRates>(AcceptanceRates::Read(text));
}

TEST(AcceptanceRates, ListIsCumulativeFileIsConditional) {
  const Rates list = ReadRates("0.6,0.36,0.09,0,0");
  EXPECT_EQ(list->heads(), 5);
  EXPECT_DOUBLE_EQ(list->At(1, 0), 0.6);
  EXPECT_DOUBLE_EQ(list->At(2, 0), 0.6);
  EXPECT_DOUBLE_EQ(list->At(3, 0), 0.25);
  EXPECT_DOUBLE_EQ(list->At(4, 0), 0.0);
  EXPECT_DOUBLE_EQ(list->At(5, 0), 0.0);
  EXPECT_DOUBLE_EQ(list->At(1, 1), 0.0);
  EXPECT_DOUBLE_EQ(list->At(6, 0), 0.0);
  EXPECT_NEAR(list->ChainLength(), 1.0 + 0.6 + 0.36 + 0.09, 1e-12);

  const TempDir dir;
  const std::string path = dir.path() + "/rates.json";
  std::ofstream(path) << R"({"tokens": 7, "acceptance": [[0.5, 0.25, 0.125], [0.4]]})";
  const Rates file = ReadRates(path);
  EXPECT_EQ(file->heads(), 2);
  EXPECT_DOUBLE_EQ(file->At(1, 2), 0.125);
  EXPECT_DOUBLE_EQ(file->At(2, 0), 0.4);
  EXPECT_DOUBLE_EQ(file->ChainLength(), 1.0 + 0.5 + 0.5 * 0.4);
}

TEST(AcceptanceRates, WrongOnesAreRefused) {
  const TempDir dir;
  const std::string path = dir.path() + "/rates.json";
  for (const char* list : {"0.3,0.5", "1.2", "-0.1", "0.5,", ",", "0.5,,0.2", "0.5;0.2", "1e-", " ",
                           "1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1"}) {
    EXPECT_THROW(AcceptanceRates::Read(list), Error) << list;
  }
  for (const char* text :
       {"", "junk", "[]", "{}", R"({"acceptance": []})", R"({"acceptance": [[]]})",
        R"({"acceptance": [0.5]})", R"({"acceptance": [["a"]]})", R"({"acceptance": [[1.5]]})",
        R"({"acceptance_by_confidence": [[0.5]]})", R"({"acceptance_by_confidence": [[]]})",
        R"({"acceptance_by_confidence": [[{"share": 1}]]})",
        R"({"acceptance_by_confidence": [[{"share": 0.7, "rates": [0.5]}]]})",
        R"({"acceptance_by_confidence": [[{"share": 1, "rates": [0.6, 0.6]}]]})",
        R"({"acceptance_by_confidence": [[{"share": "1", "rates": [0.6]}]]})",
        R"({"acceptance": [[0.6, 0.6]]})", R"({"acceptance": [[-0.1]]})"}) {
    std::ofstream(path) << text;
    try {
      AcceptanceRates::Read(path);
      ADD_FAILURE() << text;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(path), std::string::npos) << error.what();
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
    }
  }
}

TEST(AcceptanceReplay, RanksAreRightAsOftenAsTheRatesSay) {
  const TempDir dir;
  const std::string path = dir.path() + "/rates.json";
  std::ofstream(path) << R"({"acceptance": [[0.5, 0.2, 0.1], [0.3, 0.3]]})";
  const Rates rates = ReadRates(path);
  constexpr int kDraws = 20000;
  for (int32_t depth = 1; depth <= 2; ++depth) {
    const AcceptanceReplay replay(rates, 1000, 3, 5);
    std::vector<int> drawn(4);
    for (int32_t position = 0; position < kDraws; ++position) {
      const TokenId token = replay.Choose(position, depth);
      int32_t rank = 0;
      while (rank < 3 && replay.Candidate(position, rank) != token) ++rank;
      ++drawn[static_cast<size_t>(rank)];
    }
    for (int32_t rank = 0; rank < 3; ++rank) {
      const double rate = rates->At(depth, rank);
      // Five standard deviations of a binomial share: one in a million by chance, and the seed is
      // fixed.
      const double bound = 5.0 * std::sqrt(rate * (1.0 - rate) / kDraws);
      EXPECT_NEAR(static_cast<double>(drawn[static_cast<size_t>(rank)]) / kDraws, rate, bound)
          << depth << " " << rank;
    }
  }
}

// A head that is either sure or not: the text is as accepted as on average, and who drafts knows
// which it is.
TEST(AcceptanceReplay, ConfidenceIsDrawnAndKnown) {
  const TempDir dir;
  const std::string path = dir.path() + "/rates.json";
  std::ofstream(path) << R"({"acceptance": [[0.1]], "acceptance_by_confidence": [
    [{"share": 0.25, "rates": [0.9, 0.1]}, {"from": 0.5, "share": 0.75, "rates": [0.2, 0.3]}]]})";
  const Rates rates = ReadRates(path);
  EXPECT_EQ(rates->heads(), 1);
  EXPECT_DOUBLE_EQ(rates->At(1, 0), 0.25 * 0.9 + 0.75 * 0.2);
  EXPECT_DOUBLE_EQ(rates->At(1, 1, 1), 0.3);
  const AcceptanceReplay replay(rates, 1000, 3, 5);
  constexpr int kDraws = 20000;
  int places[2] = {}, right[2] = {};
  for (int32_t position = 0; position < kDraws; ++position) {
    const double rate = replay.Rate(position, 1, 0);
    const size_t bin = rate == 0.9 ? 0 : 1;
    ASSERT_TRUE(rate == 0.9 || rate == 0.2) << rate;
    ++places[bin];
    right[bin] += replay.Choose(position, 1) == replay.Candidate(position, 0) ? 1 : 0;
  }
  // Five standard deviations of a binomial share.
  const auto near = [](int part, int whole, double rate) {
    EXPECT_NEAR(static_cast<double>(part) / whole, rate,
                5.0 * std::sqrt(rate * (1.0 - rate) / whole));
  };
  near(places[0], kDraws, 0.25);
  near(right[0], places[0], 0.9);
  near(right[1], places[1], 0.2);
}

TEST(AcceptanceReplay, SeedAndStreamDecide) {
  const Rates rates = ReadRates("0.5");
  const auto draw = [&](uint64_t seed, uint32_t stream) {
    const AcceptanceReplay replay(rates, 1000, seed, stream);
    std::vector<TokenId> tokens;
    for (int32_t position = 0; position < 64; ++position)
      tokens.push_back(replay.Choose(position, 1));
    return tokens;
  };
  EXPECT_EQ(draw(1, 2), draw(1, 2));
  EXPECT_NE(draw(1, 2), draw(1, 3));
  EXPECT_NE(draw(1, 2), draw(2, 2));
  EXPECT_NE(draw(1, 2), draw(uint64_t{1} << 32 | 1, 2));
}

class ReplayedGeneration : public ::testing::Test {
 protected:
  ReplayedGeneration() { SetThreadCount(1); }
  ~ReplayedGeneration() override { SetThreadCount(AvailableCores()); }

  // `count` texts at once, all of whose candidates are verified.
  std::vector<GenerationResult> Generate(const Rates& rates, DraftMode mode, uint64_t seed,
                                         int32_t tokens, int32_t count = 1) {
    const ModelConfig& config = model_.config;
    const auto logits = std::make_shared<DraftLogits>(
        model_, RandomHeads(rates->heads(), config.hidden_size, 0.05f, 11));
    DraftingParts parts;
    parts.drafters = [&] {
      std::vector<std::unique_ptr<Drafter>> drafters;
      drafters.push_back(std::make_unique<ReplayDrafter>(logits, 24));
      return drafters;
    };
    parts.planner = [] { return std::make_unique<BestFirstPlanner>(512, kFreeRows); };
    Scheduler scheduler(model_, tokenizer_, {.max_sequences = count, .max_rows = 16}, parts);
    GenerationOptions options;
    options.max_tokens = tokens;
    options.ignore_eos = true;
    options.draft = mode;
    options.max_rows = 16;
    std::vector<GenerationResult> results(static_cast<size_t>(count));
    for (int32_t i = 0; i < count; ++i) {
      scheduler.Submit({.prompt = {1, 5, 9},
                        .options = options,
                        .on_finish =
                            [&results, i](GenerationResult result) {
                              results[static_cast<size_t>(i)] = std::move(result);
                            },
                        .replay = std::make_shared<const AcceptanceReplay>(
                            rates, config.vocab_size, seed, static_cast<uint32_t>(i))});
    }
    while (scheduler.Step()) {
    }
    return results;
  }

  Model model_ = MakeTinyModel();
  ByteTokenizer tokenizer_;
};

TEST_F(ReplayedGeneration, SureCandidatesAreAllAccepted) {
  // One token from the prompt, then 20 steps of 4.
  const Timings timings = Generate(ReadRates("1,1,1"), DraftMode::kAuto, 1, 81).front().timings;
  EXPECT_EQ(timings.steps, 20);
  EXPECT_DOUBLE_EQ(timings.acceptance_length(), 4.0);
}

TEST_F(ReplayedGeneration, WhatIsNeverRightIsNeverAccepted) {
  const Timings timings = Generate(ReadRates("0,0"), DraftMode::kAuto, 1, 60).front().timings;
  EXPECT_EQ(timings.steps, 59);
  EXPECT_EQ(timings.accepted, 0);
  EXPECT_DOUBLE_EQ(timings.acceptance_length(), 1.0);
}

TEST_F(ReplayedGeneration, AcceptsAtTheRates) {
  const Rates rates = ReadRates("0.7,0.4,0.2");
  Timings sum;
  for (const GenerationResult& result : Generate(rates, DraftMode::kAuto, 3, 450, 4)) {
    sum.verify_steps += result.timings.verify_steps;
    for (size_t i = 0; i < 3; ++i) sum.accepted_at_depth[i] += result.timings.accepted_at_depth[i];
  }
  const double steps = static_cast<double>(sum.verify_steps);
  ASSERT_GT(steps, 600.0);  // 4 * 449 tokens in steps of 2.3
  const double expected[] = {0.7, 0.4, 0.2};
  for (size_t i = 0; i < 3; ++i) {
    // Five standard deviations, and the last steps of the 4 texts, which are cut short.
    const double p = expected[i];
    EXPECT_NEAR(static_cast<double>(sum.accepted_at_depth[i]) / steps, p,
                5.0 * std::sqrt(p * (1.0 - p) / steps) + 8.0 / steps)
        << "depth " << i + 1;
  }
}

TEST_F(ReplayedGeneration, TheSameSeedRepeats) {
  const Rates rates = ReadRates("0.7,0.4,0.2");
  const auto ids = [&](uint64_t seed) {
    return Generate(rates, DraftMode::kChain, seed, 100).front().token_ids;
  };
  EXPECT_EQ(ids(5), ids(5));
  EXPECT_NE(ids(5), ids(6));
}

}  // namespace
}  // namespace tern
