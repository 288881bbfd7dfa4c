// Heads that see the root: their formula, what a drafter makes of it, and their file.
#include "engine/root_weights.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <memory>
#include <vector>

#include "engine/draft_logits.h"
#include "engine/error.h"
#include "engine/medusa_drafter.h"
#include "engine/medusa_heads.h"
#include "kernels/random_data.h"
#include "tests/support/comparator.h"
#include "tests/support/model_dir.h"
#include "tests/support/random_heads.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"

namespace tern {
namespace {

constexpr int32_t kHeads = 3;

class RootWeightsTest : public ::testing::Test {
 protected:
  size_t d() const { return static_cast<size_t>(model_.config.hidden_size); }
  std::vector<float> Input(TokenId root) const {
    std::vector<float> e(d());
    RootInput(model_, root, e);
    return e;
  }
  // R e + b in double precision: row r of head k at [k * d + r].
  std::vector<double> Biases(TokenId root) const {
    const std::vector<float> e = Input(root);
    std::vector<double> sums(kHeads * d());
    for (size_t r = 0; r < sums.size(); ++r) {
      sums[r] = static_cast<double>(heads_.blocks[0].biases[r]);
      for (size_t c = 0; c < d(); ++c)
        sums[r] += static_cast<double>(heads_.root_weights[r * d() + c].ToFloat() * e[c]);
    }
    return sums;
  }
  std::string LoadError(const std::string& dir) const {
    try {
      LoadMedusaHeads(dir, model_);
    } catch (const Error& error) {
      return error.what();
    }
    return "loaded";
  }

  Model model_ = MakeTinyModel();
  MedusaHeads heads_ =
      WithRootWeights(RandomHeads(kHeads, model_.config.hidden_size, 0.2f, 7), 0.2f, 8);
  AlignedBuffer<float> hidden_ = RandomData(5).Floats(d(), -0.8f, 0.8f);
};

TEST_F(RootWeightsTest, TheInputIsTheNormalisedEmbedding) {
  const auto vocab = static_cast<size_t>(model_.config.vocab_size);
  for (const TokenId root : {0, 77}) {
    const auto row = model_.embed_tokens.View(vocab, d()).RowSpan(static_cast<size_t>(root));
    double squares = 0.0;
    for (const BFloat16 x : row) squares += std::pow(static_cast<double>(x.ToFloat()), 2);
    const double rms = std::sqrt(squares / static_cast<double>(d()) +
                                 static_cast<double>(model_.config.rms_norm_eps));
    const std::vector<float> e = Input(root);
    for (size_t i = 0; i < d(); ++i) {
      const double expected =
          static_cast<double>(row[i].ToFloat()) / rms * static_cast<double>(model_.norm[i]);
      EXPECT_NEAR(static_cast<double>(e[i]), expected, 1e-5 * std::abs(expected) + 1e-7);
    }
  }
}

TEST_F(RootWeightsTest, HeadsAddItToTheirFirstBlock) {
  AlignedBuffer<float> out(kHeads * d());
  for (const TokenId root : {4, 200}) {
    ApplyHeads(heads_, hidden_.span(), Input(root), out.View(kHeads, d()));
    const std::vector<double> biases = Biases(root);
    for (size_t r = 0; r < out.size(); ++r) {
      double z = biases[r];
      for (size_t c = 0; c < d(); ++c)
        z += static_cast<double>(heads_.blocks[0].weights[r * d() + c].ToFloat() * hidden_[c]);
      const double expected = static_cast<double>(hidden_[r % d()]) + z / (1.0 + std::exp(-z));
      // Two products of 64 terms below 1, fp32, and exp within 2^-18 of values below 2^5.
      EXPECT_NEAR(static_cast<double>(out[r]), expected, 0x1p-12) << root << ", row " << r;
    }
  }
}

// Within what int8 rounds of weights below 0.2 and inputs below m: half a step of each in every one
// of d products.
TEST_F(RootWeightsTest, ADraftersBiasesAreTheFormulas) {
  RootBiases roots(model_, heads_);
  for (const TokenId root : {4, 200, 4}) {
    float largest = 0.0f;
    for (const float x : Input(root)) largest = std::max(largest, std::abs(x));
    const double bound =
        static_cast<double>(d()) * 1.1 * 0.2 * static_cast<double>(largest) / 127.0;
    const std::vector<double> expected = Biases(root);
    const MatView<const float> got = roots.Of(root, 0, kHeads);
    double spread = 0.0;
    for (size_t r = 0; r < expected.size(); ++r) {
      EXPECT_NEAR(static_cast<double>(got.data[r]), expected[r], bound);
      spread = std::max(spread, std::abs(expected[r]));
    }
    EXPECT_LT(bound, spread) << "the bound says nothing";
  }
}

// Whatever was asked before: other heads, other tokens, and more tokens than are kept.
TEST_F(RootWeightsTest, ADraftersBiasesDependOnTheRootAlone) {
  RootBiases roots(model_, heads_);
  for (TokenId root = 0; root < model_.config.vocab_size; ++root) {
    RootBiases fresh(model_, heads_);
    const int32_t first = root % kHeads;
    EXPECT_TRUE(test::SameBits(roots.Of(root, first, 1), fresh.Of(root, first, 1)));
  }
  for (TokenId root = model_.config.vocab_size; root-- > 0;) {
    RootBiases fresh(model_, heads_);
    EXPECT_TRUE(test::SameBits(roots.Of(root, 0, kHeads), fresh.Of(root, 0, kHeads)));
  }
}

TEST_F(RootWeightsTest, FewSlotsServeALargeVocabulary) {
  ModelConfig config = model_.config;
  config.vocab_size = 3000;  // more than are kept
  const Model large = MakeTinyModel(config);
  RootBiases roots(large, heads_);
  for (const TokenId root : {5, 1029, 2053, 5}) {
    RootBiases fresh(large, heads_);
    EXPECT_TRUE(test::SameBits(roots.Of(root, 0, kHeads), fresh.Of(root, 0, kHeads))) << root;
  }
}

// Logits differ by root, a head's alone are its among others, and are near those of the formula.
TEST_F(RootWeightsTest, DraftLogitsAreThoseOfTheRoot) {
  DraftLogits draft(model_, heads_), alone(model_, heads_);
  std::vector<float> before;
  AlignedBuffer<float> rows(kHeads * d());
  for (const TokenId root : {4, 200}) {
    const MatView<const float> logits = draft.Evaluate(hidden_.span(), root, 0, kHeads);
    ApplyHeads(heads_, hidden_.span(), Input(root), rows.View(kHeads, d()));
    for (size_t k = 0; k < kHeads; ++k) {
      EXPECT_TRUE(test::SameBits(logits.Rows(k, 1),
                                 alone.Evaluate(hidden_.span(), root, static_cast<int32_t>(k), 1)));
      double error = 0.0, size = 0.0;
      for (size_t v = 0; v < logits.cols; ++v) {
        double expected = 0.0;
        for (size_t c = 0; c < d(); ++c)
          expected +=
              static_cast<double>(rows[k * d() + c] * model_.OutputEmbedding().Row(v)[c].ToFloat());
        error += std::pow(static_cast<double>(logits.Row(k)[v]) - expected, 2);
        size += expected * expected;
      }
      EXPECT_LT(std::sqrt(error / size), 0.05);  // as in heads_formats_test.cc
    }
    const std::vector<float> now(logits.data, logits.data + logits.rows * logits.cols);
    EXPECT_NE(now, before);
    before = now;
  }
}

// Heads that see the root know what follows it: successors speak from depth 2 on.
TEST_F(RootWeightsTest, SuccessorsSpeakBehindTheFirstDraft) {
  const auto v = static_cast<size_t>(model_.config.vocab_size);
  for (size_t y = 0; y <= v; ++y) heads_.successors.starts.push_back(static_cast<int32_t>(y));
  for (size_t y = 0; y < v; ++y) {
    heads_.successors.tokens.push_back(static_cast<TokenId>((y + 1) % v));
    heads_.successors.gains.push_back(32.0f);
  }
  DraftLogits draft(model_, heads_);
  EXPECT_FALSE(draft.HasSuccessors(1));
  EXPECT_TRUE(draft.HasSuccessors(2));
  MedusaDrafter drafter(std::make_shared<DraftLogits>(model_, heads_), 14);
  const std::vector<TokenId> text = {9, 4};
  DraftTree tree(16);
  drafter.Propose({text, hidden_.span(), 3}, tree);
  const auto row = draft.Evaluate(hidden_.span(), 4, 0, 1).RowSpan(0);
  const auto best = std::ranges::max_element(row) - row.begin();
  EXPECT_EQ(tree[0].token, draft.tokens()[static_cast<size_t>(best)]);
  int32_t deeper = 0;
  for (const DraftNode& node : tree.nodes()) {
    if (node.parent < 0) continue;
    ++deeper;
    EXPECT_EQ(static_cast<size_t>(node.token),
              (static_cast<size_t>(tree[node.parent].token) + 1) % v);
  }
  EXPECT_GT(deeper, 0);
}

TEST_F(RootWeightsTest, TravelWithTheHeads) {
  const TempDir dir;
  SaveMedusaHeads(dir.path(), heads_, model_.config.vocab_size);
  const MedusaHeads loaded = LoadMedusaHeads(dir.path(), model_);
  EXPECT_TRUE(std::ranges::equal(loaded.root_weights.span(), heads_.root_weights.span()));
  heads_.root_weights = {};
  SaveMedusaHeads(dir.path(), heads_, model_.config.vocab_size);
  EXPECT_FALSE(LoadMedusaHeads(dir.path(), model_).sees_root());
  EXPECT_FALSE(std::filesystem::exists(dir / "tern_root.safetensors"));
}

// Heads that were trained to see the root are not run without: they would draft badly for no
// reason that anybody sees.
TEST_F(RootWeightsTest, EveryDefectOfTheFileIsOneError) {
  const TempDir dir;
  SaveMedusaHeads(dir.path(), heads_, model_.config.vocab_size);
  const std::string file = dir / "tern_root.safetensors";
  std::filesystem::remove(file);
  EXPECT_NE(LoadError(dir.path()).find("tern_root.safetensors"), std::string::npos);
  WriteRootWeights(dir.path(), heads_.root_weights.span().first(2 * d() * d()),
                   model_.config.hidden_size);
  EXPECT_NE(LoadError(dir.path())
                .find("tensor weights: expected BF16 [192, 64], got BF16 [128, "
                      "64]"),
            std::string::npos)
      << LoadError(dir.path());
  heads_.root_weights[3].bits = 0x7fff;  // a NaN
  WriteRootWeights(dir.path(), heads_.root_weights.span(), model_.config.hidden_size);
  EXPECT_NE(LoadError(dir.path()).find("tern_root.safetensors"), std::string::npos);
  WriteBytes(file, "nothing");
  EXPECT_NE(LoadError(dir.path()).find("tern_root.safetensors"), std::string::npos);
}

}  // namespace
}  // namespace tern
