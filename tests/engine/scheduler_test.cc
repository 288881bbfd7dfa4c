// Many texts at once give what each gives alone, whatever else runs, waits, drafts or is cancelled.
#include "engine/scheduler.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>
#include <vector>

#include "engine/draft_heads.h"
#include "engine/error.h"
#include "engine/generator.h"
#include "kernels/parallel.h"
#include "tests/support/byte_tokenizer.h"
#include "tests/support/random_heads.h"
#include "tests/support/test_drafters.h"
#include "tests/support/tiny_model.h"

namespace tern {
namespace {

const StepCost kFreeRows(0.0);  // every node that fits is verified

GenerationOptions RandomOptions(std::mt19937& random) {
  const auto one_of = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  GenerationOptions options;
  SamplingOptions& sampling = options.sampling;
  if (one_of(3) > 0) sampling.temperature = 0.3f + 0.4f * static_cast<float>(one_of(4));
  if (one_of(4) == 0) sampling.top_k = 1 + one_of(30);
  if (one_of(4) == 0) sampling.top_p = 0.5f + 0.1f * static_cast<float>(one_of(5));
  if (one_of(4) == 0) sampling.min_p = 0.05f;
  if (one_of(5) == 0) sampling.repetition_penalty = 1.2f;
  if (one_of(5) == 0) sampling.logit_bias[one_of(200)] = 2.0f;
  sampling.seed = random();
  options.max_tokens = 1 + one_of(60);
  options.ignore_eos = one_of(2) == 0;
  if (one_of(4) == 0) options.logprobs = one_of(4);
  constexpr DraftMode kModes[] = {DraftMode::kAuto, DraftMode::kTree, DraftMode::kChain,
                                  DraftMode::kNgram, DraftMode::kOff};
  options.draft = kModes[one_of(5)];
  options.max_rows = 1 + one_of(12);
  options.prefill_chunk = 1 + one_of(90);
  return options;
}

struct Case {
  std::vector<TokenId> prompt;
  GenerationOptions options;
};

class SchedulerTest : public ::testing::Test {
 protected:
  SchedulerTest() { SetThreadCount(2); }
  ~SchedulerTest() override { SetThreadCount(AvailableCores()); }

  // Prompts that begin alike, for the prefix cache, and others.
  std::vector<Case> RandomCases(size_t count, uint32_t seed) {
    std::mt19937 random(seed);
    const std::vector<TokenId> common = RandomTokens(250, 259, 4);
    std::vector<Case> cases;
    for (size_t i = 0; i < count; ++i) {
      const size_t shared = random() % 2 == 0 ? 0 : random() % common.size();
      std::vector<TokenId> prompt(common.begin(), common.begin() + static_cast<ptrdiff_t>(shared));
      for (const TokenId token : RandomTokens(1 + random() % 120, 259, random()))
        prompt.push_back(token);
      cases.push_back({prompt, RandomOptions(random)});
    }
    return cases;
  }

  DraftingParts Drafting(bool all_rows) {
    const auto heads =
        std::make_shared<const MedusaHeads>(RandomHeads(4, model_.config.hidden_size, 0.05f, 11));
    DraftingParts parts;
    parts.drafters = DrafterMaker(model_, heads, 12);
    if (all_rows) parts.planner = [] { return std::make_unique<BestFirstPlanner>(512, kFreeRows); };
    return parts;
  }

  // Submits the cases at random moments and checks each against the generator's text.
  void ExpectAlone(const std::vector<Case>& cases, const SchedulerLimits& limits,
                   const DraftingParts& drafting, uint32_t seed) {
    std::mt19937 random(seed);
    Scheduler scheduler(model_, tokenizer_, limits, drafting);
    std::vector<GenerationResult> results(cases.size());
    std::vector<std::string> streamed(cases.size());
    std::vector<int> finished(cases.size());
    size_t submitted = 0;
    bool worked = true;
    while (submitted < cases.size() || worked) {
      for (int more = static_cast<int>(random() % 3); more > 0 && submitted < cases.size();
           --more) {
        const size_t i = submitted++;
        scheduler.Submit({.prompt = cases[i].prompt,
                          .options = cases[i].options,
                          .on_step =
                              [&streamed, i](const StepProgress& progress) {
                                streamed[i] += progress.piece;
                                return true;
                              },
                          .on_finish =
                              [&results, &finished, i](GenerationResult result) {
                                results[i] = std::move(result);
                                ++finished[i];
                              }});
      }
      worked = scheduler.Step();
      ASSERT_LE(scheduler.running(), static_cast<size_t>(limits.max_sequences));
    }
    EXPECT_EQ(scheduler.running() + scheduler.waiting(), 0u);
    Generator alone(model_, tokenizer_);
    for (size_t i = 0; i < cases.size(); ++i) {
      SCOPED_TRACE("case " + std::to_string(i));
      GenerationOptions options = cases[i].options;
      options.draft = DraftMode::kOff;
      const GenerationResult expected = alone.Generate(cases[i].prompt, options);
      ASSERT_EQ(finished[i], 1);
      ASSERT_EQ(results[i].token_ids, expected.token_ids);
      ASSERT_EQ(results[i].text, expected.text);
      ASSERT_EQ(streamed[i], expected.text);
      ASSERT_EQ(results[i].finish_reason, expected.finish_reason);
      ASSERT_EQ(results[i].logprobs, expected.logprobs);
      ASSERT_EQ(results[i].top_logprobs, expected.top_logprobs);
    }
    cached_ = 0;
    for (const GenerationResult& result : results) cached_ += result.timings.cached_tokens;
  }

  GenerationOptions Long(int32_t tokens) {
    GenerationOptions options;
    options.max_tokens = tokens;
    options.ignore_eos = true;
    return options;
  }

  Model model_ = MakeTinyModel();
  ByteTokenizer tokenizer_;
  int64_t cached_ = 0;
};

TEST_F(SchedulerTest, EveryTextIsTheOneItHasAlone) {
  uint32_t seed = 0;
  for (const int32_t sequences : {1, 2, 5, 16}) {
    for (const bool all_rows : {false, true}) {
      SCOPED_TRACE(std::to_string(sequences) + " sequences");
      ++seed;
      ExpectAlone(RandomCases(24, seed),
                  {.max_sequences = sequences, .max_rows = 12, .prefill_chunk = 70},
                  Drafting(all_rows), seed);
      EXPECT_EQ(cached_, 0);
    }
  }
}

TEST_F(SchedulerTest, KnownPrefixesChangeNothingButTheWork) {
  // Room for many texts, and for hardly more than one: what was known is then forgotten again.
  for (const int32_t blocks : {0, 9, 14}) {
    for (const int32_t sequences : {1, 4}) {
      SCOPED_TRACE(std::to_string(blocks) + " blocks, " + std::to_string(sequences));
      ExpectAlone(RandomCases(30, 77 + static_cast<uint32_t>(blocks)),
                  {.max_sequences = sequences,
                   .kv_blocks = blocks,
                   .max_rows = 12,
                   .prefill_chunk = 64,
                   .reuse_prefixes = true},
                  Drafting(true), 5);
      if (blocks == 0) {
        EXPECT_GT(cached_, 640);
      }
    }
  }
}

// n choices of one prompt: it runs through the model once.
TEST_F(SchedulerTest, ChoicesOfOnePromptShareIt) {
  Scheduler scheduler(model_, tokenizer_, {.max_sequences = 1, .reuse_prefixes = true});
  std::vector<int32_t> cached;
  const std::vector<TokenId> prompt = RandomTokens(200, 259, 1);
  for (int i = 0; i < 3; ++i) {
    scheduler.Submit({.prompt = prompt,
                      .options = Long(5),
                      .on_step = {},
                      .on_hidden = {},
                      .on_finish = [&](GenerationResult result) {
                        cached.push_back(result.timings.cached_tokens);
                      }});
  }
  while (scheduler.Step()) {
  }
  EXPECT_EQ(cached, (std::vector<int32_t>{0, 192, 192}));
}

// Two texts that ran their common beginning side by side: only one copy of it is known, and it can
// not be forgotten while the continuation of the other is in use. Who waits for room waits until
// there is some.
TEST_F(SchedulerTest, TextsThatBeganAlikeAtOnceLeaveTheRoomThatIsCounted) {
  Scheduler scheduler(model_, tokenizer_,
                      {.max_sequences = 3,
                       .max_context = 256,
                       .kv_blocks = 6,
                       .prefill_chunk = 260,
                       .reuse_prefixes = true});
  int finished = 0;
  const auto submit = [&](uint32_t seed, int32_t tokens) {
    std::vector<TokenId> prompt = RandomTokens(64, 259, seed / 10);
    for (const TokenId token : RandomTokens(66, 259, seed)) prompt.push_back(token);
    GenerationOptions options = Long(tokens);
    options.draft = DraftMode::kOff;
    options.max_rows = 1;
    scheduler.Submit({.prompt = prompt,
                      .options = options,
                      .on_step = {},
                      .on_hidden = {},
                      .on_finish = [&](GenerationResult) { ++finished; }});
  };
  submit(10, 1);  // 3 blocks each, and both prompts in one pass
  submit(11, 50);
  submit(20, 50);
  while (scheduler.Step()) {
  }
  EXPECT_EQ(finished, 3);
}

TEST_F(SchedulerTest, CancelEndsOneTextBeforeTheNextPass) {
  Scheduler scheduler(model_, tokenizer_, {.max_sequences = 2});
  std::map<Scheduler::Id, GenerationResult> results;
  std::vector<Scheduler::Id> ids;
  for (int i = 0; i < 4; ++i) {
    const auto at = static_cast<Scheduler::Id>(i + 1);
    ids.push_back(scheduler.Submit(
        {.prompt = RandomTokens(20, 259, 1),
         .options = Long(40),
         .on_step = {},
         .on_hidden = {},
         .on_finish = [&results, at](GenerationResult r) { results[at] = std::move(r); }}));
  }
  for (int i = 0; i < 5; ++i) scheduler.Step();
  scheduler.Cancel(ids[0]);  // runs
  scheduler.Cancel(ids[3]);  // waits
  scheduler.Step();
  ASSERT_TRUE(results.contains(ids[0]));
  EXPECT_EQ(results[ids[0]].finish_reason, FinishReason::kCancelled);
  EXPECT_LT(results[ids[0]].token_ids.size(), 40u);
  while (scheduler.Step()) {
  }
  EXPECT_EQ(results[ids[3]].finish_reason, FinishReason::kCancelled);
  EXPECT_TRUE(results[ids[3]].token_ids.empty());
  EXPECT_EQ(results[ids[1]].token_ids.size(), 40u);
  EXPECT_EQ(results[ids[2]].token_ids, results[ids[1]].token_ids);
}

TEST_F(SchedulerTest, AnExceptionOfACallbackEndsItsTextOnly) {
  Scheduler scheduler(model_, tokenizer_, {.max_sequences = 2});
  int steps = 0;
  size_t tokens = 0;
  scheduler.Submit({.prompt = {5, 6},
                    .options = Long(30),
                    .on_step =
                        [&](const StepProgress&) {
                          if (++steps == 4) throw std::runtime_error("the caller's");
                          return true;
                        },
                    .on_hidden = {},
                    .on_finish = [](GenerationResult) { FAIL(); }});
  scheduler.Submit({.prompt = {7, 8},
                    .options = Long(30),
                    .on_step = {},
                    .on_hidden = {},
                    .on_finish = [&](GenerationResult r) { tokens = r.token_ids.size(); }});
  int thrown = 0;
  for (bool worked = true; worked;) {
    try {
      worked = scheduler.Step();
    } catch (const std::runtime_error& error) {
      EXPECT_STREQ(error.what(), "the caller's");
      ++thrown;
    }
  }
  EXPECT_EQ(thrown, 1);
  EXPECT_EQ(steps, 4);
  EXPECT_EQ(tokens, 30u);
}

// A long prompt beside a running text is cut such that the text goes on in every pass.
TEST_F(SchedulerTest, ALongPromptDoesNotStopTheOthers) {
  Scheduler scheduler(model_, tokenizer_, {.max_sequences = 2, .prefill_chunk = 64});
  size_t written = 0;
  scheduler.Submit({.prompt = {5},
                    .options = Long(300),
                    .on_step =
                        [&](const StepProgress& progress) {
                          written = progress.so_far.token_ids.size();
                          return true;
                        },
                    .on_hidden = {},
                    .on_finish = {}});
  for (int i = 0; i < 10; ++i) scheduler.Step();
  bool begun = false;
  scheduler.Submit({.prompt = RandomTokens(400, 259, 2),
                    .options = Long(2),
                    .on_step =
                        [&](const StepProgress& progress) {
                          begun = begun || !progress.so_far.token_ids.empty();
                          return true;
                        },
                    .on_hidden = {},
                    .on_finish = {}});
  int passes = 0;
  while (!begun) {
    const size_t before = written;
    ASSERT_TRUE(scheduler.Step());
    EXPECT_GT(written, before);
    ++passes;
  }
  EXPECT_GE(passes, 400 / 64);
}

TEST_F(SchedulerTest, SaysWhatItCannotDo) {
  const auto error = [&](const SchedulerLimits& limits) {
    try {
      Scheduler(model_, tokenizer_, limits);
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string("none");
  };
  EXPECT_EQ(error({.max_sequences = 0}), "max_sequences is 0, expected 1 to 64");
  EXPECT_EQ(error({.max_sequences = 65}), "max_sequences is 65, expected 1 to 64");
  EXPECT_EQ(error({.kv_blocks = 7}),
            "kv_blocks is 7, expected at least 8, what one context of 512 tokens takes");
  Scheduler scheduler(model_, tokenizer_, {});
  EXPECT_THROW(scheduler.Submit({.prompt = {}}), Error);
  EXPECT_FALSE(scheduler.Step());
}

}  // namespace
}  // namespace tern
