// The int8 logits that drafts are made from, and the shortlist of tokens they are made for.
#include "engine/draft_logits.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <random>

#include "engine/draft_shortlist.h"
#include "engine/error.h"
#include "engine/head_calibration.h"
#include "engine/medusa_drafter.h"
#include "kernels/random_data.h"
#include "kernels/vector_math.h"
#include "tests/support/comparator.h"
#include "tests/support/model_dir.h"
#include "tests/support/random_heads.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"

namespace tern {
namespace {

constexpr int32_t kHeads = 3;

class DraftLogitsTest : public ::testing::Test {
 protected:
  DraftLogitsTest() {
    RandomData random(5);
    hidden_ = random.Floats(kHidden, -0.8f, 0.8f);
  }
  std::shared_ptr<const MedusaHeads> Heads(std::vector<int32_t> shortlist = {}) const {
    MedusaHeads heads = RandomHeads(kHeads, static_cast<int32_t>(kHidden), 0.2f, 7);
    heads.shortlist = std::move(shortlist);
    return std::make_shared<const MedusaHeads>(std::move(heads));
  }

  Model model_ = MakeTinyModel();
  const size_t kHidden = static_cast<size_t>(model_.config.hidden_size);
  AlignedBuffer<float> hidden_;
};

// A vector, and how far each element may be off after rounding.
struct Rounded {
  std::vector<double> value, error;
};

// Half a step of an int8 code more.
void AddRounding(Rounded& x) {
  double absmax = 0.0;
  for (size_t i = 0; i < x.value.size(); ++i)
    absmax = std::max(absmax, std::abs(x.value[i]) + x.error[i]);
  for (double& error : x.error) error += 0.5 * absmax / 127;
}

Rounded Product(MatView<const BFloat16> weights, const Rounded& x) {
  Rounded y = {std::vector<double>(weights.rows), std::vector<double>(weights.rows)};
  for (size_t r = 0; r < weights.rows; ++r) {
    double absmax = 0.0;
    for (const BFloat16 w : weights.RowSpan(r))
      absmax = std::max(absmax, std::abs(static_cast<double>(w.ToFloat())));
    for (size_t c = 0; c < weights.cols; ++c) {
      const auto w = static_cast<double>(weights.Row(r)[c].ToFloat());
      y.value[r] += w * x.value[c];
      y.error[r] +=
          std::abs(w) * x.error[c] + (std::abs(x.value[c]) + x.error[c]) * 0.5 * absmax / 127;
    }
  }
  return y;
}

TEST_F(DraftLogitsTest, AreTheHeadsLogitsWithinTheirRounding) {
  const auto heads = Heads();
  DraftLogits draft(model_, *heads);
  const MatView<const float> logits = draft.Evaluate(hidden_.span(), 0, 0, kHeads);
  Rounded x = {std::vector<double>(kHidden), std::vector<double>(kHidden)};
  for (size_t c = 0; c < kHidden; ++c) x.value[c] = static_cast<double>(hidden_[c]);
  Rounded rounded = x;
  AddRounding(rounded);
  const MatView<const BFloat16> weights = heads->blocks[0].weights.View(kHeads * kHidden, kHidden);
  double largest_bound = 0.0, spread = 0.0;
  for (size_t k = 0; k < kHeads; ++k) {
    Rounded h = Product(weights.Rows(k * kHidden, kHidden), rounded);
    for (size_t c = 0; c < kHidden; ++c) {
      const double z = h.value[c] + static_cast<double>(heads->blocks[0].biases[k * kHidden + c]);
      h.value[c] = x.value[c] + z / (1.0 + std::exp(-z));
      h.error[c] *= 1.1;  // silu's steepest slope
    }
    AddRounding(h);
    const Rounded expected = Product(model_.OutputEmbedding(), h);
    for (size_t v = 0; v < expected.value.size(); ++v) {
      // The fp32 steps round by less than 2^-20 of sums below 2^6.
      EXPECT_NEAR(static_cast<double>(logits.Row(k)[v]), expected.value[v],
                  expected.error[v] + 0x1p-14);
      largest_bound = std::max(largest_bound, expected.error[v]);
      spread = std::max(spread, std::abs(expected.value[v]));
    }
  }
  EXPECT_LT(largest_bound, spread / 2) << "the bound says nothing";
}

TEST_F(DraftLogitsTest, OfAHeadDoNotDependOnTheOthers) {
  DraftLogits all(model_, *Heads()), one(model_, *Heads());
  const MatView<const float> logits = all.Evaluate(hidden_.span(), 0, 0, kHeads);
  for (int32_t k = 0; k < kHeads; ++k) {
    EXPECT_TRUE(test::SameBits(logits.Rows(static_cast<size_t>(k), 1),
                               one.Evaluate(hidden_.span(), 0, k, 1)));
  }
}

TEST_F(DraftLogitsTest, OfAShortlistAreThoseOfItsTokens) {
  DraftLogits all(model_, *Heads()), some(model_, *Heads({200, 3, 77}));
  ASSERT_EQ(std::vector<TokenId>(some.tokens().begin(), some.tokens().end()),
            (std::vector<TokenId>{3, 77, 200}));
  const MatView<const float> a = all.Evaluate(hidden_.span(), 0, 0, kHeads);
  const MatView<const float> b = some.Evaluate(hidden_.span(), 0, 0, kHeads);
  ASSERT_EQ(b.cols, 3u);
  for (size_t k = 0; k < kHeads; ++k) {
    for (size_t c = 0; c < 3; ++c)
      EXPECT_EQ(b.Row(k)[c], a.Row(k)[static_cast<size_t>(some.tokens()[c])]);
  }
}

TEST_F(DraftLogitsTest, DraftsOfAShortlistHoldOnlyItsTokens) {
  MedusaDrafter drafter(std::make_shared<DraftLogits>(model_, *Heads({200, 3, 77})), 60);
  DraftTree tree(64);
  const TokenId root = 4;
  drafter.Propose({{&root, 1}, hidden_.span(), 10}, tree);
  ASSERT_GT(tree.size(), 3);
  for (const DraftNode& node : tree.nodes())
    EXPECT_TRUE(node.token == 200 || node.token == 3 || node.token == 77) << node.token;
}

// The likeliest candidate at each depth is the one the sampler would take from the head's logits,
// with the noise of that position.
TEST_F(DraftLogitsTest, SampledTextsAreDraftedWithTheirNoise) {
  const auto heads = Heads({});
  DraftLogits logits(model_, *heads);
  MedusaDrafter drafter(std::make_shared<DraftLogits>(model_, *heads), 60);
  const std::vector<TokenId> tokens = {4, 9, 2};
  int differ = 0;
  for (uint64_t seed = 0; seed < 40; ++seed) {
    const SamplingOptions sampling{.temperature = 0.8f, .seed = seed, .stream = 3};
    DraftTree tree(64);
    drafter.Reset();
    drafter.Propose({tokens, hidden_.span(), 1, 64, nullptr, &sampling}, tree);
    ASSERT_GT(tree.size(), 0);
    const auto row = logits.Evaluate(hidden_.span(), 0, 0, 1).RowSpan(0);
    TokenId best = 0, likeliest = 0;
    float best_score = -1e30f, largest = -1e30f;
    for (size_t i = 0; i < row.size(); ++i) {
      const TokenId token = logits.tokens()[i];
      const float score = row[i] / 0.8f + GumbelNoise(seed, 3, 3, static_cast<uint32_t>(token));
      if (score > best_score) best = token, best_score = score;
      if (row[i] > largest) likeliest = token, largest = row[i];
    }
    EXPECT_EQ(tree[0].token, best);
    differ += best != likeliest;
  }
  EXPECT_GT(differ, 10);
}

// Probabilities that are true on average, whatever the heads believe.
TEST(HeadCalibration, LearnsHowOftenCandidatesCome) {
  std::mt19937 random(3);
  std::uniform_real_distribution<float> uniform(0.0f, 1.0f);
  for (const float came_when_sure : {0.3f, 0.6f, 0.9f}) {
    HeadCalibration calibration(2);
    const float before = calibration.Spread(0.7f, 1);
    double expected = 0.0, came = 0.0;
    for (int i = 0; i < 6000; ++i) {
      // Two candidates, four apart in the head's logits.
      const float p = 1.0f / (1.0f + std::exp(-4.0f / calibration.Spread(0.7f, 2)));
      const bool hit = uniform(random) < came_when_sure;
      calibration.Learn(0.7f, 2, p, hit);
      if (i < 3000) continue;
      expected += static_cast<double>(p);
      came += hit ? 1.0 : 0.0;
    }
    // With two candidates the likelier one cannot be expected less than every other time.
    EXPECT_NEAR(expected / 3000, std::max(came / 3000, 0.62), 0.03) << came_when_sure;
    EXPECT_EQ(calibration.Spread(0.7f, 1), before);  // another head
    EXPECT_EQ(calibration.Spread(0.0f, 2), HeadCalibration(2).Spread(0.0f, 2));
  }
}

TEST_F(DraftLogitsTest, DraftsOnlyWhatCanBeWorthARow) {
  const auto propose = [&](const StepCost* cost) {
    MedusaDrafter drafter(std::make_shared<DraftLogits>(model_, *Heads({200, 3, 77})), 60);
    DraftTree tree(64);
    const TokenId root = 4;
    drafter.Propose({{&root, 1}, hidden_.span(), 10, 64, cost}, tree);
    return tree;
  };
  const DraftTree all = propose(nullptr);
  for (const double share : {0.02, 0.1, 0.3, 0.5, 0.9}) {
    const StepCost cost(share);
    const DraftTree some = propose(&cost);
    // Of those worth a row, heads too deep to pay are not asked.
    int32_t worth = 0;
    for (const DraftNode& node : all.nodes()) worth += node.score >= static_cast<float>(share);
    EXPECT_LE(some.size(), worth) << share;
    const bool first_pays = all[0].score >= static_cast<float>(share);
    EXPECT_EQ(some.size() > 0, first_pays) << share;
    for (const DraftNode& node : some.nodes()) EXPECT_GE(node.score, static_cast<float>(share));
  }
}

TEST_F(DraftLogitsTest, AsksDeeperHeadsWhereRowsAreCheap) {
  const auto depth = [&](double share) {
    const StepCost cost(share);
    MedusaDrafter drafter(std::make_shared<DraftLogits>(model_, *Heads({200})),
                          60);  // one token, of probability 1 at every head
    DraftTree tree(64);
    const TokenId root = 4;
    drafter.Propose({{&root, 1}, hidden_.span(), 10, 8, &cost}, tree);
    return tree.size();
  };
  EXPECT_EQ(depth(0.05), static_cast<int32_t>(kHeads));
  // Seven rows gain 0.07 tokens, then 0.021: less than a head must be able to.
  EXPECT_EQ(depth(0.99), static_cast<int32_t>(kHeads));
  EXPECT_EQ(depth(0.997), 1);
}

TEST(Shortlist, RanksByCount) {
  const std::vector<int64_t> counts = {0, 5, 9, 0, 5, 1};
  EXPECT_EQ(RankTokens(counts), (std::vector<TokenId>{2, 1, 4, 5}));
}

TEST(Shortlist, TravelsWithTheHeads) {
  const TempDir dir;
  const Model model = MakeTinyModel();
  MedusaHeads heads = RandomHeads(1, model.config.hidden_size, 0.5f, 1);
  heads.shortlist = {258, 0, 17};
  SaveMedusaHeads(dir.path(), heads, model.config.vocab_size);
  EXPECT_EQ(LoadMedusaHeads(dir.path(), model).shortlist, heads.shortlist);
  heads.shortlist.clear();
  SaveMedusaHeads(dir.path(), heads, model.config.vocab_size);
  EXPECT_EQ(LoadMedusaHeads(dir.path(), model).shortlist, heads.shortlist);
}

TEST(Shortlist, EveryDefectIsOneError) {
  const TempDir dir;
  for (const char* text : {"", "[1]", "{}", "{\"tokens\": 3}", "{\"tokens\": []}",
                           "{\"tokens\": [1, 259]}", "{\"tokens\": [-1]}", "{\"tokens\": [1.5]}",
                           "{\"tokens\": [7, 8, 7]}", "{\"tokens\": [\"a\"]}"}) {
    WriteBytes(dir / "tern_shortlist.json", text);
    try {
      ReadShortlist(dir.path(), 259);
      ADD_FAILURE() << "read " << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), Error::Kind::kBadFile) << error.what();
      EXPECT_NE(std::string(error.what()).find("tern_shortlist.json"), std::string::npos);
    }
  }
}

}  // namespace
}  // namespace tern
