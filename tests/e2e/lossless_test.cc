// Speculation never changes anything but speed: token ids, text, log-probabilities to the bit and
// finish reason are those of plain decoding, for every sampler setting, drafter, tree and thread
// count.
#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "engine/draft_heads.h"
#include "engine/generator.h"
#include "kernels/parallel.h"
#include "tests/support/byte_tokenizer.h"
#include "tests/support/random_heads.h"
#include "tests/support/test_drafters.h"
#include "tests/support/tiny_model.h"

namespace tern {
namespace {

const StepCost kFreeRows(0.0);  // every node that fits is verified

// One way to decode: a generator, and how it is asked to draft.
struct Variant {
  std::string name;
  std::unique_ptr<Generator> generator;
  DraftMode mode;
  int32_t max_rows;
  OracleDrafter* oracle = nullptr;  // told the text before each run
  int64_t drafted = 0, accepted = 0;
};

// Both models are random. The tied one, whose output is near its input, soon repeats itself and
// drafts well; the untied one rambles.
ModelConfig Config(bool tied) {
  ModelConfig config = TinyConfig();
  config.tie_word_embeddings = tied;
  return config;
}

class Lossless : public ::testing::TestWithParam<std::tuple<bool, KvType>> {
 protected:
  // Workspaces are made for the threads in force now; runs may use fewer.
  Lossless() { SetThreadCount(2); }
  ~Lossless() override { SetThreadCount(AvailableCores()); }

  void AddVariant(const std::string& name, DraftMode mode, int32_t max_rows,
                  GeneratorLimits limits) {
    variants_.push_back(
        {name, std::make_unique<Generator>(model_, tokenizer_, limits), mode, max_rows, nullptr});
  }
  void AddDrafting(const std::string& name, std::vector<std::unique_ptr<Drafter>> drafters,
                   int32_t max_rows, GeneratorLimits limits, DraftMode mode = DraftMode::kAuto) {
    // Without a planner of its own, mode auto turns drafts off by the clock.
    std::unique_ptr<Planner> planner;
    if (mode == DraftMode::kAuto) planner = std::make_unique<BestFirstPlanner>(512, kFreeRows);
    variants_.push_back({name,
                         std::make_unique<Generator>(model_, tokenizer_, limits,
                                                     std::move(drafters), std::move(planner)),
                         mode, max_rows, nullptr});
  }
  // N-gram drafts, as many as fit: how many pay depends on time.
  void AddNgram(const std::string& name, int32_t max_rows, GeneratorLimits limits) {
    AddDrafting(name, {}, max_rows, limits);
  }
  void AddRandom(const std::string& name, int32_t nodes, int32_t max_rows, GeneratorLimits limits) {
    AddDrafting(name,
                OneDrafter(std::make_unique<RandomDrafter>(model_.config.vocab_size, nodes, 5)),
                max_rows, limits);
  }
  void AddOracle(const std::string& name, int32_t depth, int32_t width, int32_t max_rows,
                 GeneratorLimits limits) {
    auto oracle = std::make_unique<OracleDrafter>(depth, width, model_.config.vocab_size, 9);
    OracleDrafter* told = oracle.get();
    AddDrafting(name, OneDrafter(std::move(oracle)), max_rows, limits);
    variants_.back().oracle = told;
  }
  // Wrong heads, which guess beside n-gram look-up. `scale` 0: every head repeats the backbone's
  // own guess; huge: their products overflow.
  void AddHeads(const std::string& name, float scale, int32_t max_rows, GeneratorLimits limits,
                DraftMode mode = DraftMode::kAuto) {
    AddHeads(name, RandomHeads(4, model_.config.hidden_size, scale, 11), max_rows, limits, mode);
  }
  void AddHeads(const std::string& name, MedusaHeads made, int32_t max_rows, GeneratorLimits limits,
                DraftMode mode = DraftMode::kAuto) {
    auto heads = std::make_shared<const MedusaHeads>(std::move(made));
    AddDrafting(name, MakeDrafters(model_, heads, max_rows), max_rows, limits, mode);
  }
  static bool Tied() { return std::get<0>(GetParam()); }
  void AddAllVariants(GeneratorLimits limits) {
    limits.kv_type = std::get<1>(GetParam());
    AddVariant("auto", DraftMode::kAuto, 8, limits);  // also switches threads on its way
    limits.fixed_threads = true;
    plain_ = std::make_unique<Generator>(model_, tokenizer_, limits);
    AddVariant("one row", DraftMode::kNgram, 1, limits);
    AddVariant("ngram where it pays", DraftMode::kNgram, 8, limits);
    AddNgram("ngram", 8, limits);
    AddNgram("ngram, 64 rows", 64, limits);
    AddVariant("ngram chain", DraftMode::kChain, 6, limits);
    AddVariant("ngram static tree", DraftMode::kTree, 16, limits);
    AddRandom("random, 3 rows", 6, 3, limits);
    AddRandom("random, 64 rows", 100, 64, limits);
    AddOracle("oracle deep chain", 40, 1, 64, limits);
    AddOracle("oracle narrow", 3, 2, 12, limits);
    AddOracle("oracle wide", 5, 6, 64, limits);
    AddHeads("random heads", 0.05f, 8, limits);
    AddHeads("garbage heads, 64 rows", 100.0f, 64, limits);
    AddHeads("zero heads", 0.0f, 16, limits);
    AddHeads("overflowing heads", 3e38f, 8, limits);
    AddHeads("random heads, static tree", 0.05f, 16, limits, DraftMode::kTree);
    const int32_t d = model_.config.hidden_size, v = model_.config.vocab_size;
    AddHeads("heads with vocabularies", WithVocabularies(RandomHeads(2, d, 0.05f, 12), v, 13), 8,
             limits);
    AddHeads("two-matrix heads", RandomTwoMatrixHeads(3, 2, d, 0.05f, 14), 8, limits);
  }

  // Runs the request plainly and by every variant; all must agree. Returns the plain result.
  GenerationResult ExpectSame(const std::vector<TokenId>& prompt,
                              const GenerationOptions& request) {
    GenerationOptions options = request;
    options.draft = DraftMode::kOff;
    options.prefill_chunk = 17;
    SetThreadCount(1);
    GenerationResult plain = plain_->Generate(prompt, options);
    std::vector<TokenId> whole = prompt;
    whole.insert(whole.end(), plain.token_ids.begin(), plain.token_ids.end());
    // The oracle also knows what would have come after the end.
    for (int i = 0; i < 20; ++i) whole.push_back(whole[whole.size() / 2]);
    for (size_t i = 0; i < variants_.size(); ++i) {
      Variant& variant = variants_[i];
      SetThreadCount(two_threads_ ? 2 : 1);
      options.draft = variant.mode;
      options.max_rows = variant.max_rows;
      options.prefill_chunk = 1 + static_cast<int32_t>(7 * i);
      if (variant.oracle != nullptr) variant.oracle->SetText(whole);
      std::string streamed;
      const GenerationResult result = variant.generator->Generate(
          prompt, options, [&](std::string_view piece) { streamed += piece; });
      SCOPED_TRACE(variant.name);
      EXPECT_EQ(result.token_ids, plain.token_ids);
      EXPECT_EQ(result.text, plain.text);
      EXPECT_EQ(streamed, plain.text);
      EXPECT_EQ(result.finish_reason, plain.finish_reason);
      EXPECT_EQ(result.logprobs, plain.logprobs);
      EXPECT_EQ(result.top_logprobs, plain.top_logprobs);
      variant.drafted += result.timings.drafted;
      variant.accepted += result.timings.accepted;
    }
    return plain;
  }
  int64_t Accepted(const std::string& name) const {
    for (const Variant& variant : variants_) {
      if (variant.name == name) return variant.accepted;
    }
    return -1;
  }

  Model model_ = MakeTinyModel(Config(Tied()));
  ByteTokenizer tokenizer_;
  std::unique_ptr<Generator> plain_;
  std::vector<Variant> variants_;
  bool two_threads_ = false;
};

std::vector<SamplingOptions> ManySettings() {
  std::vector<SamplingOptions> list;
  const auto add = [&list](float temperature, auto change) {
    SamplingOptions options;
    options.temperature = temperature;
    options.seed = 100 + list.size();
    change(options);
    list.push_back(options);
  };
  add(0.0f, [](auto&) {});
  add(0.0f, [](auto& o) { o.repetition_penalty = 1.1f; });
  add(0.0f, [](auto& o) { o.frequency_penalty = 0.7f; });
  add(0.0f, [](auto& o) { o.presence_penalty = 1.5f; });
  add(0.7f, [](auto&) {});
  add(1.3f, [](auto& o) { o.top_k = 6; });
  add(1.0f, [](auto& o) { o.top_p = 0.9f; });
  add(1.0f, [](auto& o) { o.min_p = 0.1f; });
  add(0.8f, [](auto& o) {
    o.top_k = 30;
    o.top_p = 0.95f;
    o.min_p = 0.02f;
    o.repetition_penalty = 1.05f;
    o.frequency_penalty = 0.2f;
    o.presence_penalty = -0.3f;
    o.logit_bias = {{70, 3.0f}, {71, 2.0f}, {80, -100.0f}};
    o.stream = 3;
  });
  return list;
}

// Random bytes, or a random phrase again and again.
std::vector<TokenId> MakePrompt(size_t length, bool repeats, uint64_t seed) {
  const std::vector<TokenId> random = RandomTokens(length, 256, seed);
  std::vector<TokenId> prompt(length);
  for (size_t i = 0; i < length; ++i) prompt[i] = 3 + random[repeats ? i % 9 : i];
  return prompt;
}

TEST_P(Lossless, EverySettingPromptAndTree) {
  AddAllVariants({});
  size_t distinct = 0, tokens = 0;
  uint64_t seed = 0;
  for (const SamplingOptions& sampling : ManySettings()) {
    for (size_t length : {1u, 20u, 63u, 130u}) {
      ++seed;
      GenerationOptions options;
      options.sampling = sampling;
      options.sampling.seed += seed;
      options.max_tokens = 80;
      options.logprobs = 3;
      options.ignore_eos = true;
      SCOPED_TRACE("setting of seed " + std::to_string(options.sampling.seed) + ", prompt of " +
                   std::to_string(length));
      two_threads_ = seed % 9 == 0;
      const GenerationResult plain = ExpectSame(MakePrompt(length, seed % 2 == 0, seed), options);
      tokens += plain.token_ids.size();
      distinct += std::set<TokenId>(plain.token_ids.begin(), plain.token_ids.end()).size();
      if (HasFailure()) return;
    }
  }
  // The test is about accepted tokens: there must have been many, in texts that are not one token
  // repeated.
  std::printf("%zu distinct of %zu tokens\n", distinct, tokens);
  for (const Variant& variant : variants_) {
    std::printf("%-20s accepted %lld of %lld\n", variant.name.c_str(),
                static_cast<long long>(variant.accepted), static_cast<long long>(variant.drafted));
  }
  const bool tied = Tied();
  EXPECT_GT(distinct, tokens / (tied ? 40 : 2));
  EXPECT_EQ(Accepted("one row"), 0);
  for (const char* name : {"ngram", "ngram, 64 rows", "ngram chain", "ngram static tree"}) {
    EXPECT_GT(Accepted(name), tied ? 2000 : 200) << name;
  }
  EXPECT_GT(Accepted("random, 64 rows"), 100);
  EXPECT_GT(Accepted("oracle deep chain"), 2500);
  EXPECT_GT(Accepted("oracle narrow"), 1800);
  EXPECT_GT(Accepted("oracle wide"), 1900);
  // Heads that repeat the backbone's guess are often right where the text repeats itself.
  for (const char* name : {"random heads", "zero heads", "random heads, static tree"}) {
    EXPECT_GT(Accepted(name), tied ? 2000 : 100) << name;
  }
}

TEST_P(Lossless, MaxTokensCutsInsideAPath) {
  AddAllVariants({});
  const std::vector<TokenId> prompt = MakePrompt(12, true, 3);
  GenerationOptions options;
  options.logprobs = 0;
  for (options.max_tokens = 1; options.max_tokens <= 40; ++options.max_tokens) {
    const GenerationResult plain = ExpectSame(prompt, options);
    EXPECT_EQ(plain.token_ids.size(), static_cast<size_t>(options.max_tokens));
    EXPECT_EQ(plain.finish_reason, FinishReason::kMaxTokens);
  }
}

TEST_P(Lossless, TheContextCutsInsideAPath) {
  GeneratorLimits limits;
  limits.max_context = 70;
  AddAllVariants(limits);
  GenerationOptions options;
  options.sampling.temperature = 0.5f;
  for (size_t length : {69u, 68u, 64u, 60u, 50u, 33u, 1u}) {
    const GenerationResult plain = ExpectSame(MakePrompt(length, true, length), options);
    EXPECT_EQ(plain.token_ids.size(), 70 - length);
    EXPECT_EQ(plain.finish_reason, FinishReason::kContext);
  }
  EXPECT_GT(Accepted("oracle deep chain"), 100);
}

TEST_P(Lossless, StopStringsCutInsideAPath) {
  AddAllVariants({});
  for (uint64_t seed = 0; seed < 12; ++seed) {
    const std::vector<TokenId> prompt = MakePrompt(10 + seed, false, seed);
    GenerationOptions options;
    options.sampling.temperature = 0.8f;
    options.sampling.seed = seed;
    options.max_tokens = 60;
    options.ignore_eos = true;
    options.logprobs = 1;
    const std::string text = ExpectSame(prompt, options).text;
    ASSERT_GT(text.size(), 40u);
    const size_t at = 5 + 2 * seed;
    options.stops = {"not in the text", text.substr(at, 1 + seed % 4), text.substr(at + 1, 2)};
    const GenerationResult cut = ExpectSame(prompt, options);
    EXPECT_EQ(cut.finish_reason, FinishReason::kStopString);
    // The third may be complete before the second, which begins before it.
    EXPECT_LE(cut.text.size(), at + 1);
    EXPECT_EQ(cut.text, text.substr(0, cut.text.size()));
  }
}

TEST_P(Lossless, EndOfSequenceCutsInsideAPath) {
  const std::vector<TokenId> prompt = MakePrompt(15, false, 4);
  GenerationOptions options;
  options.sampling.temperature = 0.9f;
  options.max_tokens = 50;
  AddAllVariants({});
  const std::vector<TokenId> ids = ExpectSame(prompt, options).token_ids;
  for (size_t at : {0u, 1u, 7u, 20u, 33u}) {
    // The model's configuration now says that this token of the text ends it.
    model_.config.eos_token_ids = {ids[at]};
    variants_.clear();
    AddAllVariants({});
    const GenerationResult cut = ExpectSame(prompt, options);
    EXPECT_EQ(cut.finish_reason, FinishReason::kEos);
    EXPECT_EQ(cut.token_ids.back(), ids[at]);
    EXPECT_LE(cut.token_ids.size(), at + 1);
    options.ignore_eos = true;
    EXPECT_EQ(ExpectSame(prompt, options).token_ids, ids);
    options.ignore_eos = false;
  }
}

INSTANTIATE_TEST_SUITE_P(Models, Lossless,
                         ::testing::Combine(::testing::Values(true, false),
                                            ::testing::Values(KvType::kBFloat16, KvType::kInt8)),
                         [](const auto& param_info) {
                           const bool int8 = std::get<1>(param_info.param) == KvType::kInt8;
                           return std::string(std::get<0>(param_info.param) ? "Tied" : "Untied") +
                                  (int8 ? "Int8" : "");
                         });

}  // namespace
}  // namespace tern
