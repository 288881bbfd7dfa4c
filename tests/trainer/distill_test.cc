// Distilled conversations: what the model answers, what is stored of it, and that hidden states
// computed later are those of generation.
#include "trainer/distill.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <vector>

#include "engine/generator.h"
#include "engine/medusa_heads.h"
#include "tests/support/byte_tokenizer.h"
#include "tests/support/error_text.h"
#include "tests/support/forward_runner.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"
#include "trainer/distill_prompts.h"
#include "trainer/hidden_states.h"

namespace tern::test {
namespace {

constexpr int32_t kMaxTokens = 12;
constexpr size_t kTopK = 3;

class DistillTest : public ::testing::Test {
 protected:
  DistillTest() {
    for (uint64_t i = 0; i < 5; ++i) {
      prompts_.push_back({RandomTokens(4 + i, 259, i)});
      for (uint64_t turn = 0; turn < i % 3; ++turn)
        prompts_.back().replies.push_back(RandomTokens(3, 259, 100 + i + turn));
    }
    options_.max_tokens = kMaxTokens;
    options_.sampling.temperature = 1;
  }
  HiddenCacheInfo Info() const {
    HiddenCacheInfo info;
    info.backbone_fingerprint = BackboneFingerprint(model_);
    info.hidden_size = model_.config.hidden_size;
    info.vocab_size = model_.config.vocab_size;
    info.planned_sequences = prompts_.size();
    info.made_by = nlohmann::json::object();
    info.teacher_top_k = kTopK;
    return info;
  }
  void Run(const std::string& dir, const HiddenCacheInfo& info) const {
    HiddenCacheWriter writer(dir, info, 1 << 20);
    Distill(model_, tokenizer_, prompts_, options_, writer, {});
  }
  std::string Dir(const std::string& name) { return dir_ / name; }

  Model model_ = MakeTinyModel();
  ByteTokenizer tokenizer_;
  std::vector<DistillPrompt> prompts_;
  DistillOptions options_;
  TempDir dir_;
};

TEST_F(DistillTest, EveryAnswerIsWhatTheModelWritesThere) {
  Run(Dir("data"), Info());
  const HiddenCache cache(Dir("data"));
  Generator generator(model_, tokenizer_);
  GenerationOptions generation;
  generation.max_tokens = kMaxTokens;
  generation.sampling.temperature = 1;
  for (uint32_t i = 0; i < prompts_.size(); ++i) {
    generation.sampling.stream = i;
    const HiddenSequence got = cache.Sequence(i);
    const std::vector<TokenId> tokens(got.tokens.begin(), got.tokens.end());
    size_t answers = 0;
    for (size_t t = 1; t < tokens.size(); ++t) {
      if (got.assistant[t] == 0 || got.assistant[t - 1] == 1) continue;
      ++answers;
      const GenerationResult result = generator.Generate(std::span(tokens).first(t), generation);
      for (size_t a = 0; a < result.token_ids.size(); ++a) {
        const bool dropped = result.finish_reason == FinishReason::kEos &&
                             a + 1 == result.token_ids.size() && t + a < tokens.size() &&
                             got.assistant[t + a] == 0;
        if (dropped) continue;
        EXPECT_EQ(tokens[t + a], result.token_ids[a]) << i << " " << t << " " << a;
      }
    }
    EXPECT_EQ(answers, prompts_[i].replies.size() + 1) << i;
  }
}

TEST_F(DistillTest, HiddenStatesAndTeacherAreForwards) {
  Run(Dir("data"), Info());
  const HiddenCache cache(Dir("data"));
  for (uint32_t i = 0; i < prompts_.size(); ++i) {
    const HiddenSequence got = cache.Sequence(i);
    const std::vector<RowResult> rows = DecodeOneByOne(model_, got.tokens);
    for (size_t r = 0; r + 1 < got.tokens.size(); ++r) {
      for (size_t c = 0; c < got.hidden.cols; ++c)
        ASSERT_EQ(got.hidden.Row(r)[c], BFloat16::FromFloat(rows[r].hidden[c])) << r << " " << c;
      const auto probs = got.teacher.probs.RowSpan(r);
      if (got.assistant[r + 1] == 0) {
        EXPECT_EQ(*std::ranges::max_element(probs), 0.0f) << r;
        continue;
      }
      const std::vector<float>& logits = rows[r].logits;
      const double largest = *std::ranges::max_element(logits);
      double sum = 0;
      for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - largest);
      for (size_t k = 0; k < kTopK; ++k) {
        const auto id = static_cast<size_t>(got.teacher.ids.Row(r)[k]);
        // Log-probabilities are floats of a few units: off by less than 1e-6.
        EXPECT_NEAR(probs[k], std::exp(static_cast<double>(logits[id]) - largest) / sum, 1e-5);
        EXPECT_LE(probs[k], k > 0 ? probs[k - 1] : 1.0f);
      }
      EXPECT_EQ(static_cast<double>(logits[static_cast<size_t>(got.teacher.ids.Row(r)[0])]),
                largest);
    }
    EXPECT_EQ(got.teacher.probs.Row(got.tokens.size() - 1)[0], 0.0f);
  }
}

TEST_F(DistillTest, HiddenStatesComputedLaterAreTheStoredOnes) {
  Run(Dir("stored"), Info());
  HiddenCacheInfo info = Info();
  info.hidden_stored = false;
  Run(Dir("computed"), info);
  const HiddenCache stored(Dir("stored")), tokens(Dir("computed"));
  const uint64_t two_texts = HiddenStateBytes(tokens.info()) / 2;
  HiddenStates expected(model_, stored, 0), all(model_, tokens, 1 << 30),
      some(model_, tokens, two_texts);
  for (int round = 0; round < 2; ++round) {
    for (uint64_t s = 0; s < 5; ++s) {
      const HiddenSequence a = stored.Sequence(s), b = tokens.Sequence(s);
      ASSERT_TRUE(std::ranges::equal(a.tokens, b.tokens));
      ASSERT_TRUE(std::ranges::equal(a.assistant, b.assistant));
      const size_t size = a.tokens.size() * a.hidden.cols;
      EXPECT_TRUE(std::equal(a.teacher.probs.data, a.teacher.probs.data + a.tokens.size() * kTopK,
                             b.teacher.probs.data));
      const MatView<const BFloat16> want = expected.Of(s);
      for (HiddenStates* states : {&all, &some}) {
        const MatView<const BFloat16> got = states->Of(s);
        ASSERT_EQ(got.rows, a.tokens.size());
        EXPECT_TRUE(std::equal(want.data, want.data + size, got.data)) << s;
      }
    }
  }
  EXPECT_EQ(expected.computed(), 0u);
  EXPECT_EQ(all.computed(), 5u);
  EXPECT_EQ(some.computed(), 10u);
}

// Stopping anywhere and going on gives the same files as never stopping.
TEST_F(DistillTest, GoesOnInTheMiddle) {
  Run(Dir("data"), Info());
  {
    struct Stop {};
    HiddenCacheWriter writer(Dir("other"), Info(), 1);  // a text a shard
    EXPECT_THROW(Distill(model_, tokenizer_, prompts_, options_, writer,
                         [](const DistillCounts& now) {
                           if (now.prompts == 2) throw Stop();
                         }),
                 Stop);
  }
  HiddenCacheWriter writer(Dir("other"), Info(), 1);
  EXPECT_EQ(writer.sequences(), 2u);
  Distill(model_, tokenizer_, prompts_, options_, writer, {});
  const HiddenCache a(Dir("data")), b(Dir("other"));
  ASSERT_EQ(b.sequences(), 5u);
  for (uint64_t s = 0; s < 5; ++s)
    EXPECT_TRUE(std::ranges::equal(a.Sequence(s).tokens, b.Sequence(s).tokens)) << s;
}

TEST(DistilledText, TheEndOfAnAnswerStandsThereOnce) {
  const DistillPrompt prompt{{1, 10}, {{50, 2, 11, 12}, {13}, {14}}};
  DistilledText text(prompt, 0, 1);
  const auto top = [](TokenId first, TokenId second) {
    return std::vector<TokenLogprob>{{first, 0.0f}, {second, std::log(0.5f)}};
  };
  EXPECT_TRUE(text.Answer(std::vector<TokenId>{20, 2}, true, top(20, 3), 100));  // 50 2 are there
  EXPECT_TRUE(text.Answer(std::vector<TokenId>{21, 2}, true, top(21, 4), 100));  // no 2 in {13}
  EXPECT_TRUE(text.Answer(std::vector<TokenId>{22, 23}, false, top(22, 23), 100));
  EXPECT_FALSE(text.Answer(std::vector<TokenId>{24, 2}, true, top(24, 2), 100));
  const HiddenSequence got = text.Finish();
  const std::vector<TokenId> tokens = {1, 10, 20, 2, 11, 12, 21, 13, 22, 23, 14, 24, 2};
  const std::vector<uint8_t> assistant = {0, 0, 1, 1, 0, 0, 1, 0, 1, 1, 0, 1, 1};
  const std::vector<TokenId> teacher = {0, 20, 3, 0, 0, 21, 0, 22, 23, 0, 24, 2, 0};
  EXPECT_TRUE(std::ranges::equal(got.tokens, tokens));
  EXPECT_TRUE(std::ranges::equal(got.assistant, assistant));
  EXPECT_TRUE(std::equal(teacher.begin(), teacher.end(), got.teacher.ids.data));
  EXPECT_EQ(got.prompt_length, 2);
  EXPECT_EQ(text.answered(), 8u);
  EXPECT_EQ(got.teacher.probs.data[2], 0.5f);

  DistilledText full(prompt, 0, 0);
  EXPECT_FALSE(full.Answer(std::vector<TokenId>{20}, false, {}, 7)) << "a reply of 4 has no room";
}

TEST(DistillPrompts, ConversationsAreWrittenAsTheTemplateDoes) {
  const ModelConfig config = TinyConfig();
  const ByteTokenizer tokenizer;
  const ChatTemplate chat(ReadFile(TERN_SOURCE_DIR "/tools/story.jinja"), "");
  ASSERT_EQ(chat.Problem(), "");
  std::vector<Prompt> prompts(2);
  prompts[0].text = "answer me";
  prompts[0].turns = {{{"user", "answer me"}}, {{"user", "and answer+"}}, {{"user", "c"}}};
  prompts[0].file = "f";
  prompts[0].line = 3;
  prompts[1].text = "plain";
  const auto encode = [&](ConversationUse use, const ChatTemplate& with) {
    return EncodePrompts(config, tokenizer, with, prompts, use);
  };
  const auto all = encode(ConversationUse::kAllAnswers, chat);
  EXPECT_EQ(tokenizer.Decode(all[0].tokens), "answer me");
  ASSERT_EQ(all[0].replies.size(), 2u);
  EXPECT_EQ(tokenizer.Decode(all[0].replies[0]), "\nand answer+");
  EXPECT_EQ(tokenizer.Decode(all[0].replies[1]), "\nc");
  EXPECT_EQ(tokenizer.Decode(all[1].tokens), "plain");
  EXPECT_TRUE(all[1].replies.empty());
  EXPECT_TRUE(encode(ConversationUse::kFirstAnswer, chat)[0].replies.empty());
  EXPECT_EQ(encode(ConversationUse::kRaw, ChatTemplate())[0].tokens, all[0].tokens);
  const std::string error =
      ErrorText([&] { encode(ConversationUse::kFirstAnswer, ChatTemplate()); });
  EXPECT_NE(error.find("f:3: conversation: this model has no chat template"), std::string::npos)
      << error;
  EXPECT_NE(error.find("--raw"), std::string::npos) << error;
}

}  // namespace
}  // namespace tern::test
