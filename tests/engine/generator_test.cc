// The generator: bad input, what ends a text, streaming, and what it reports.
#include "engine/generator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "engine/error.h"
#include "kernels/parallel.h"
#include "tests/support/byte_tokenizer.h"
#include "tests/support/test_drafters.h"
#include "tests/support/tiny_model.h"

namespace tern {
namespace {

class GeneratorTest : public ::testing::Test {
 protected:
  GeneratorTest() { SetThreadCount(1); }
  ~GeneratorTest() override { SetThreadCount(AvailableCores()); }

  std::string ErrorOf(const std::vector<TokenId>& prompt, const GenerationOptions& options = {}) {
    try {
      generator_.Generate(prompt, options);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), Error::Kind::kInvalidArgument);
      return error.what();
    }
    return "no error";
  }

  Model model_ = MakeTinyModel();
  ByteTokenizer tokenizer_;
  Generator generator_{model_, tokenizer_};
};

TEST_F(GeneratorTest, BadInputIsOneClearLine) {
  EXPECT_EQ(ErrorOf({}), "prompt is empty, expected at least one token");
  EXPECT_EQ(ErrorOf(std::vector<TokenId>(512, 5)),
            "prompt has 512 tokens, expected at most 511 in a context of 512; shorten the prompt");
  EXPECT_EQ(ErrorOf({5, 259}), "prompt token 1 is 259, expected 0 to 258");
  EXPECT_EQ(ErrorOf({-1, 5}), "prompt token 0 is -1, expected 0 to 258");
  GenerationOptions options;
  options.sampling.logit_bias[259] = 1.0f;
  EXPECT_EQ(ErrorOf({5}, options),
            "logit_bias has token id 259, expected less than the vocabulary's 259");
  options = {};
  options.max_tokens = 0;
  EXPECT_EQ(ErrorOf({5}, options), "max_tokens is 0, expected 1 or more");
  GeneratorLimits limits;
  limits.max_context = 513;
  EXPECT_THROW(Generator(model_, tokenizer_, limits), Error);
  EXPECT_THROW(EncodePrompt(model_.config, tokenizer_, ""), Error);
}

TEST_F(GeneratorTest, AnErrorLeavesTheGeneratorUsable) {
  GenerationOptions options;
  options.max_tokens = 20;
  const GenerationResult before = generator_.Generate(std::vector<TokenId>{10, 20, 30}, options);
  ErrorOf({5, 259});
  const GenerationResult after = generator_.Generate(std::vector<TokenId>{10, 20, 30}, options);
  EXPECT_EQ(before.token_ids, after.token_ids);
  EXPECT_EQ(before.token_ids.size(), 20u);
}

TEST_F(GeneratorTest, PromptsBeginWithOneBos) {
  EXPECT_EQ(EncodePrompt(model_.config, tokenizer_, "a"), (std::vector<TokenId>{1, 3 + 'a'}));
  ModelConfig none = model_.config;
  none.bos_token_id = -1;
  EXPECT_EQ(EncodePrompt(none, tokenizer_, "a"), (std::vector<TokenId>{3 + 'a'}));
}

TEST_F(GeneratorTest, PrefillChunksDoNotMatter) {
  const std::vector<TokenId> prompt = RandomTokens(200, 259, 3);
  GenerationOptions options;
  options.max_tokens = 30;
  options.logprobs = 2;
  const GenerationResult whole = generator_.Generate(prompt, options);
  for (int32_t chunk : {1, 7, 64, 199, 200}) {
    options.prefill_chunk = chunk;
    const GenerationResult result = generator_.Generate(prompt, options);
    EXPECT_EQ(result.token_ids, whole.token_ids) << chunk;
    EXPECT_EQ(result.logprobs, whole.logprobs) << chunk;
    EXPECT_EQ(result.top_logprobs, whole.top_logprobs) << chunk;
  }
}

TEST_F(GeneratorTest, LogprobsAreOfTheChosenToken) {
  GenerationOptions options;
  options.max_tokens = 10;
  options.logprobs = 4;
  const GenerationResult result = generator_.Generate(std::vector<TokenId>{9, 8}, options);
  ASSERT_EQ(result.logprobs.size(), 10u);
  ASSERT_EQ(result.top_logprobs.size(), 40u);
  for (size_t i = 0; i < 10; ++i) {
    // Greedy takes the most probable token.
    EXPECT_EQ(result.top_logprobs[4 * i].token, result.token_ids[i]);
    EXPECT_EQ(result.top_logprobs[4 * i].logprob, result.logprobs[i]);
    EXPECT_GE(result.top_logprobs[4 * i].logprob, result.top_logprobs[4 * i + 3].logprob);
    EXPECT_LE(result.logprobs[i], 0.0f);
  }
}

TEST_F(GeneratorTest, StreamedPiecesAddUpToTheText) {
  GenerationOptions options;
  options.sampling.temperature = 1.5f;
  options.max_tokens = 200;
  options.ignore_eos = true;
  std::vector<std::string> pieces;
  const GenerationResult result =
      generator_.Generate(std::vector<TokenId>{9, 8}, options,
                          [&](std::string_view piece) { pieces.emplace_back(piece); });
  std::string text;
  for (const std::string& piece : pieces) {
    EXPECT_FALSE(piece.empty());
    text += piece;
  }
  EXPECT_GT(pieces.size(), 50u);
  EXPECT_EQ(text, result.text);
}

TEST_F(GeneratorTest, AStepCallbackEndsTheTextWithinOnePass) {
  GenerationOptions options;
  options.max_tokens = 100;
  options.ignore_eos = true;
  options.draft = DraftMode::kOff;
  options.prefill_chunk = 4;
  const std::vector<TokenId> prompt = RandomTokens(10, 259, 3);  // three passes
  const GenerationResult whole = generator_.Generate(prompt, options);
  for (int passes : {1, 3, 4, 20}) {
    int left = passes;
    size_t tokens = 0;
    const GenerationResult part =
        generator_.Generate(prompt, options, [&](const StepProgress& progress) {
          tokens = progress.so_far.token_ids.size();
          return --left > 0;
        });
    EXPECT_EQ(left, 0);
    EXPECT_EQ(part.finish_reason, FinishReason::kCancelled);
    EXPECT_EQ(tokens, static_cast<size_t>(std::max(passes - 2, 0)));
    EXPECT_EQ(part.token_ids,
              std::vector<TokenId>(whole.token_ids.begin(),
                                   whole.token_ids.begin() + static_cast<ptrdiff_t>(tokens)));
  }
  EXPECT_EQ(generator_.Generate(prompt, options).token_ids, whole.token_ids);
}

TEST_F(GeneratorTest, TimingsAddUp) {
  GenerationOptions options;
  options.max_tokens = 100;
  options.ignore_eos = true;
  for (DraftMode mode : {DraftMode::kOff, DraftMode::kNgram}) {
    options.draft = mode;
    const Timings t =
        generator_.Generate(std::vector<TokenId>{9, 8, 7, 9, 8, 7, 9, 8}, options).timings;
    EXPECT_EQ(t.prompt_tokens, 8);
    EXPECT_EQ(t.decode_tokens, 99);
    // Every step emits one token and those it accepted.
    EXPECT_EQ(t.steps + t.accepted, 99);
    EXPECT_GT(t.prompt_tokens_per_second(), 0.0);
    EXPECT_GT(t.decode_tokens_per_second(), 0.0);
    EXPECT_EQ(t.draft_mode, ToString(mode));
    EXPECT_EQ(t.draft_reason, "");
    if (mode == DraftMode::kOff) {
      EXPECT_EQ(t.drafted, 0);
    }
    EXPECT_LE(t.accepted, t.drafted);
    EXPECT_NEAR(t.acceptance_length(),
                t.verify_steps == 0 ? 1.0 : 1.0 + double(t.accepted) / double(t.verify_steps),
                1e-12);
  }
}

TEST_F(GeneratorTest, AutoStopsUselessDrafting) {
  Generator generator(model_, tokenizer_, {},
                      OneDrafter(std::make_unique<RandomDrafter>(259, 100, 1)));
  GenerationOptions options;
  options.max_tokens = 400;
  options.max_rows = 64;  // 64 rows a step, next to none of them accepted
  options.ignore_eos = true;
  options.sampling.temperature = 2.0f;
  const GenerationResult result = generator.Generate(std::vector<TokenId>{9, 8}, options);
  // Measured time decides whether the switch or the gate acts first; either leaves few drafts.
  EXPECT_LT(result.timings.verify_steps, 200);  // of up to 399
  const bool off = result.timings.draft_mode == "off";
  EXPECT_EQ(result.timings.draft_reason.find("tokens/s") != std::string::npos, off);
}

class ComplainingDrafter : public RandomDrafter {
 public:
  using RandomDrafter::RandomDrafter;
  std::string Problem() const override { return "a complaint"; }
};

TEST_F(GeneratorTest, TimingsSayWhatIsWrongWithADrafter) {
  Generator generator(model_, tokenizer_, {},
                      OneDrafter(std::make_unique<ComplainingDrafter>(259, 4, 1)));
  GenerationOptions options;
  options.max_tokens = 8;
  const auto reason = [&](DraftMode mode) {
    options.draft = mode;
    return generator.Generate(std::vector<TokenId>{9, 8}, options).timings.draft_reason;
  };
  EXPECT_EQ(reason(DraftMode::kTree), "a complaint");
  EXPECT_NE(reason(DraftMode::kAuto).find("a complaint"), std::string::npos);
  EXPECT_EQ(reason(DraftMode::kNgram), "");  // not in use
  EXPECT_EQ(reason(DraftMode::kOff), "");
}

}  // namespace
}  // namespace tern
