// Losslessness at random: many short texts at once under random samplers, drafters, planners,
// costs, chunks, threads and arrivals are those of plain decoding, one at a time.
// TERN_CAMPAIGN_SEED=n runs one trial again, the one that a failure names.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "engine/draft_heads.h"
#include "engine/generator.h"
#include "engine/scheduler.h"
#include "kernels/parallel.h"
#include "tests/support/byte_tokenizer.h"
#include "tests/support/random_heads.h"
#include "tests/support/test_drafters.h"
#include "tests/support/tiny_model.h"

namespace tern {
namespace {

#ifdef TERN_LONG_CAMPAIGN
constexpr int64_t kTexts = 60000;
#else
constexpr int64_t kTexts = 1000;
#endif
constexpr uint64_t kFirstSeed = 1;
constexpr int32_t kContext = 128;

// Draws of one trial.
class Dice {
 public:
  explicit Dice(uint64_t seed) : random_(seed) {}
  uint64_t Seed() { return random_(); }
  int32_t Between(int32_t low, int32_t high) {
    return low + static_cast<int32_t>(random_() % static_cast<uint64_t>(high - low + 1));
  }
  bool Once(int32_t in) { return Between(1, in) == 1; }
  template <class T>
  T Of(std::initializer_list<T> values) {
    return values.begin()[Between(0, static_cast<int32_t>(values.size()) - 1)];
  }

 private:
  std::mt19937_64 random_;
};

// Texts and how they go on, for drafters that know the future.
using KnownTexts = std::vector<std::vector<TokenId>>;

// Drafts what comes next, now and then a wrong token, and wrong siblings.
class KnowingDrafter : public Drafter {
 public:
  KnowingDrafter(std::shared_ptr<const KnownTexts> texts, uint64_t seed)
      : texts_(std::move(texts)), dice_(seed) {}
  void Reset() override {}
  void Propose(const DraftContext& context, DraftTree& tree) override {
    const std::span<const TokenId> now = context.tokens;
    for (const std::vector<TokenId>& text : *texts_) {
      if (text.size() <= now.size() || !std::equal(now.begin(), now.end(), text.begin())) continue;
      int32_t parent = -1;
      const int32_t depth = std::min(
          {context.max_depth, dice_.Between(1, 8), static_cast<int32_t>(text.size() - now.size())});
      for (int32_t i = 0; i < depth && (i == 0 || parent >= 0); ++i) {
        for (int32_t siblings = dice_.Between(0, 2); siblings > 0; --siblings)
          tree.Add(parent, dice_.Between(0, 258), 0.5f);
        const TokenId next = text[now.size() + static_cast<size_t>(i)];
        parent = tree.Add(parent, dice_.Once(6) ? dice_.Between(0, 258) : next, 0.9f);
      }
    }
  }

 private:
  std::shared_ptr<const KnownTexts> texts_;
  Dice dice_;
};

// Any part that is a tree, of any size.
class RandomPlanner : public Planner {
 public:
  explicit RandomPlanner(uint64_t seed) : dice_(seed) {}
  void Plan(const DraftTree& proposed, int32_t max_rows, DraftTree& kept) override {
    kept.Clear();
    placed_.assign(static_cast<size_t>(proposed.size()), -1);
    const int32_t keep = dice_.Between(1, 4);
    for (int32_t i = 0; i < proposed.size() && kept.size() + 1 < max_rows; ++i) {
      const int32_t parent = proposed[i].parent;
      if (parent >= 0 && placed_[static_cast<size_t>(parent)] < 0) continue;
      if (dice_.Once(keep + 1)) continue;
      placed_[static_cast<size_t>(i)] =
          kept.AddCopy(parent < 0 ? -1 : placed_[static_cast<size_t>(parent)], proposed[i]);
    }
  }

 private:
  Dice dice_;
  std::vector<int32_t> placed_;
};

// Best first by costs of a machine that never was; it owns them.
class RandomCostPlanner : public Planner {
 public:
  explicit RandomCostPlanner(uint64_t seed) : cost_(MakeCost(seed)), planner_(512, cost_) {}
  void Plan(const DraftTree& proposed, int32_t max_rows, DraftTree& kept) override {
    planner_.Plan(proposed, max_rows, kept);
  }

 private:
  static StepCost MakeCost(uint64_t seed) {
    Dice dice(seed);
    StepCost cost(dice.Between(0, 100) / 100.0);
    for (int32_t i = dice.Between(0, 60); i > 0; --i)
      cost.Report(dice.Between(1, kMaxRows), dice.Between(1, 1000) / 1000.0);
    return cost;
  }
  StepCost cost_;
  BestFirstPlanner planner_;
};

// What all trials share: a tied model, which repeats itself, and an untied one, which rambles, with
// a cache of either type each.
class Campaign : public ::testing::Test {
 protected:
  Campaign() { SetThreadCount(2); }
  ~Campaign() override { SetThreadCount(AvailableCores()); }

  static Model MakeModelOf(bool tied) {
    ModelConfig config = TinyConfig();
    config.tie_word_embeddings = tied;
    return MakeTinyModel(config);
  }

  SamplingOptions RandomSampling(Dice& dice) {
    SamplingOptions sampling;
    sampling.temperature = dice.Of({0.0f, 0.0f, 0.3f, 0.7f, 1.0f, 1.5f});
    if (dice.Once(3)) sampling.top_k = dice.Between(1, 40);
    if (dice.Once(3)) sampling.top_p = static_cast<float>(dice.Between(5, 100)) / 100.0f;
    if (dice.Once(4)) sampling.min_p = static_cast<float>(dice.Between(0, 50)) / 100.0f;
    if (dice.Once(4)) sampling.repetition_penalty = dice.Of({0.9f, 1.1f, 1.5f});
    if (dice.Once(4)) sampling.frequency_penalty = dice.Of({-0.5f, 0.3f, 1.0f});
    if (dice.Once(4)) sampling.presence_penalty = dice.Of({-0.5f, 0.8f});
    if (dice.Once(5)) sampling.logit_bias = {{dice.Between(3, 258), 4.0f}, {70, -100.0f}};
    sampling.seed = dice.Seed();
    sampling.stream = static_cast<uint32_t>(dice.Between(0, 3));
    return sampling;
  }

  TextRequest RandomRequest(Dice& dice, const std::vector<TokenId>& shared) {
    TextRequest request;
    // Prompts often begin alike: prefixes are found again.
    if (dice.Once(2)) {
      const int32_t part = dice.Between(1, static_cast<int32_t>(shared.size()));
      request.prompt.assign(shared.begin(), shared.begin() + part);
    }
    for (int32_t more = dice.Between(request.prompt.empty() ? 1 : 0, 25); more > 0; --more)
      request.prompt.push_back(dice.Between(3, dice.Once(2) ? 6 : 258));
    GenerationOptions& options = request.options;
    options.sampling = RandomSampling(dice);
    options.max_tokens = dice.Between(1, 32);
    options.ignore_eos = dice.Once(2);
    if (dice.Once(3)) options.logprobs = dice.Between(0, 3);
    if (dice.Once(3)) options.stops = {std::string(1, static_cast<char>(dice.Between(97, 122)))};
    options.draft = dice.Of({DraftMode::kAuto, DraftMode::kAuto, DraftMode::kTree,
                             DraftMode::kChain, DraftMode::kNgram, DraftMode::kOff});
    options.max_rows = dice.Between(1, dice.Once(4) ? kMaxRows : 8);
    options.prefill_chunk = dice.Between(1, 40);
    return request;
  }

  DraftingParts RandomDrafting(Dice& dice, const Model& model,
                               const std::shared_ptr<const KnownTexts>& known) {
    DraftingParts parts;
    const int32_t kind = dice.Between(0, 4), rows = dice.Between(2, 16);
    const uint64_t seed = dice.Seed();
    std::shared_ptr<const MedusaHeads> heads;
    if (kind >= 3)
      heads = std::make_shared<const MedusaHeads>(RandomHeads(
          dice.Between(1, 4), model.config.hidden_size, dice.Of({0.0f, 0.05f, 100.0f}), seed));
    parts.drafters = [=, &model] {
      std::vector<std::unique_ptr<Drafter>> drafters;
      if (heads != nullptr) drafters = MakeDrafters(model, heads, rows);
      if (kind == 1) drafters.push_back(std::make_unique<RandomDrafter>(259, 2 * rows, seed));
      if (kind == 2 || kind == 4) drafters.push_back(std::make_unique<KnowingDrafter>(known, seed));
      return drafters;
    };
    const int32_t planner = dice.Between(0, 5);
    if (planner < 2) return parts;  // the engine's own, by the clock
    parts.planner = [planner, rows, seed]() -> std::unique_ptr<Planner> {
      if (planner == 2) return std::make_unique<RandomPlanner>(seed);
      if (planner == 3) return std::make_unique<ChainPlanner>();
      if (planner == 4) return std::make_unique<StaticTreePlanner>(rows);
      return std::make_unique<RandomCostPlanner>(seed);
    };
    return parts;
  }

  static void ExpectSame(const GenerationResult& got, const GenerationResult& plain) {
    EXPECT_EQ(got.token_ids, plain.token_ids);
    EXPECT_EQ(got.text, plain.text);
    EXPECT_EQ(got.finish_reason, plain.finish_reason);
    EXPECT_EQ(got.logprobs, plain.logprobs);
    EXPECT_EQ(got.top_logprobs, plain.top_logprobs);
  }

  // The request's text, plainly and alone.
  GenerationResult Plain(Generator& generator, const TextRequest& request) {
    GenerationOptions options = request.options;
    options.draft = DraftMode::kOff;
    options.prefill_chunk = 16;
    SetThreadCount(1);
    return generator.Generate(request.prompt, options);
  }

  void Trial(uint64_t seed) {
    Dice dice(seed);
    const bool tied = dice.Once(2);
    const KvType kv_type = dice.Of({KvType::kBFloat16, KvType::kInt8});
    const Model& model = tied ? tied_ : untied_;
    std::unique_ptr<Generator>& plain = plain_[tied ? 1 : 0][kv_type == KvType::kInt8 ? 1 : 0];
    if (plain == nullptr)
      plain = std::make_unique<Generator>(
          model, tokenizer_,
          GeneratorLimits{.max_context = kContext, .fixed_threads = true, .kv_type = kv_type});
    const int32_t texts = dice.Between(1, 8);
    std::vector<TokenId> shared(80);
    for (TokenId& token : shared) token = dice.Between(3, 258);
    std::vector<TextRequest> requests;
    std::vector<GenerationResult> expected, got(static_cast<size_t>(texts));
    const auto known = std::make_shared<KnownTexts>();
    for (int32_t i = 0; i < texts; ++i) {
      requests.push_back(RandomRequest(dice, shared));
      expected.push_back(Plain(*plain, requests.back()));
      known->push_back(requests.back().prompt);
      known->back().insert(known->back().end(), expected.back().token_ids.begin(),
                           expected.back().token_ids.end());
    }
    SetThreadCount(2);
    const int32_t places = dice.Between(1, 6);
    Scheduler scheduler(model, tokenizer_,
                        {.max_sequences = places,
                         .max_context = kContext,
                         .kv_blocks = dice.Once(2) ? 0 : dice.Between(2, 2 * places),
                         .max_rows = dice.Between(1, dice.Once(4) ? kMaxRows : 12),
                         .prefill_chunk = dice.Between(1, 64),
                         .kv_type = kv_type,
                         .reuse_prefixes = dice.Once(2),
                         .fixed_threads = dice.Once(2)},
                        RandomDrafting(dice, model, known));
    SetThreadCount(dice.Once(4) ? 2 : 1);
    // They come one by one, between steps.
    for (size_t i = 0; i < requests.size(); ++i) {
      requests[i].on_finish = [&got, i](GenerationResult result) { got[i] = std::move(result); };
      scheduler.Submit(requests[i]);
      for (int32_t steps = dice.Between(0, 4); steps > 0; --steps) scheduler.Step();
    }
    while (scheduler.Step()) {
    }
    for (size_t i = 0; i < got.size(); ++i) {
      SCOPED_TRACE("TERN_CAMPAIGN_SEED=" + std::to_string(seed) + ", text " + std::to_string(i));
      ExpectSame(got[i], expected[i]);
      drafted_ += got[i].timings.drafted;
      accepted_ += got[i].timings.accepted;
      tokens_ += static_cast<int64_t>(got[i].token_ids.size());
    }
    texts_ += texts;
  }

  Model tied_ = MakeModelOf(true), untied_ = MakeModelOf(false);
  ByteTokenizer tokenizer_;
  std::unique_ptr<Generator> plain_[2][2];  // [tied][int8]
  int64_t texts_ = 0, tokens_ = 0, drafted_ = 0, accepted_ = 0;
};

TEST_F(Campaign, EveryTextIsThatOfPlainDecoding) {
  if (const char* seed = std::getenv("TERN_CAMPAIGN_SEED"); seed != nullptr)
    return Trial(std::strtoull(seed, nullptr, 10));
  uint64_t seed = kFirstSeed;
  for (; texts_ < kTexts && !HasFailure(); ++seed) Trial(seed);
  std::printf("seeds %llu to %llu: %lld texts of %lld tokens, %lld of %lld drafted ones accepted\n",
              static_cast<unsigned long long>(kFirstSeed),
              static_cast<unsigned long long>(seed - 1), static_cast<long long>(texts_),
              static_cast<long long>(tokens_), static_cast<long long>(accepted_),
              static_cast<long long>(drafted_));
  // It is about accepted tokens.
  EXPECT_GT(accepted_, tokens_ / 10);
}

}  // namespace
}  // namespace tern
