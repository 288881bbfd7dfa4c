// What heads in training compute: losses, counts, and the same outputs as the engine's.
#include "trainer/head_pass.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "engine/medusa_heads.h"
#include "kernels/dense_matmul.h"
#include "tests/support/comparator.h"
#include "tests/trainer/head_pass_fixture.h"
#include "trainer/adamw.h"

namespace tern::test {
namespace {

// Own projections that all are the model's: the same losses, ranks and gradients of the blocks.
TEST_F(HeadPassTest, OwnVocabulariesLikeTheModelsAreTheModels) {
  AlignedBuffer<float> tables(kHeads * kVocab * kD);
  for (size_t i = 0; i < tables.size(); ++i) tables[i] = table_[i % table_.size()].ToFloat();
  AddTeacher(0.5f);
  HeadPassOptions options = PartOptions();
  options.part.teacher = kTeacher;
  const auto shared = MakeHeadPass(Table(), options);
  options.own_vocabularies = true;
  const auto own = MakeHeadPass(Table(), options);
  own->SetVocabularies(tables.View(kHeads * kVocab, kD));
  auto expected = AlignedBuffer<float>::Zeroed(kWeights + kBiases);
  auto got = AlignedBuffer<float>::Zeroed(kWeights + kBiases);
  auto unused = AlignedBuffer<float>::Zeroed(tables.size());
  const double loss = Loss(*shared, parameters_, 1, &expected);
  own->SetWeights(parameters_.View(kHeads * kD, kD), parameters_.span().subspan(kWeights));
  std::vector<HeadSums> sums(kHeads);
  HeadGradients gradients{got.View(kHeads * kD, kD),
                          got.span().subspan(kWeights),
                          {},
                          unused.View(kHeads * kVocab, kD)};
  EXPECT_NEAR(own->Run(Batch(), head_weights_, 1, &gradients, sums), loss, 1e-6 * loss);
  EXPECT_TRUE(std::ranges::equal(own->ranks(), shared->ranks()));
  // The GEMMs have other shapes: sums of 32 products of values up to 1 in another order.
  for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], expected[i], 1e-6) << i;
}

// A teacher that is sure of the token that came says what that token says; one that says what the
// head does leaves nothing to learn.
TEST_F(HeadPassTest, ATeachersLossIsTheDivergence) {
  auto plain = AlignedBuffer<float>::Zeroed(kWeights + kBiases);
  auto taught = AlignedBuffer<float>::Zeroed(kWeights + kBiases);
  HeadPassOptions options = PartOptions();
  options.part.teacher = 1;
  const auto pass = MakeHeadPass(Table(), options);
  const double expected = Loss(*pass, parameters_, 1, &plain);
  for (const int32_t target : targets_) teacher_ids_.push_back(std::max(target, 0));
  teacher_probs_.assign(targets_.size(), 0.3f);  // made to add up to 1
  teacher_weight_ = 1;
  EXPECT_NEAR(Loss(*pass, parameters_, 1, &taught), expected, 1e-6 * expected);
  for (size_t i = 0; i < plain.size(); ++i) EXPECT_NEAR(plain[i], taught[i], 1e-6) << i;

  AlignedBuffer<float> outputs(kBatch * kHeads * kD);
  pass->Outputs(outputs.View(kBatch * kHeads, kD));
  teacher_ids_.clear();
  teacher_probs_.clear();
  for (size_t r = 0; r < targets_.size(); ++r) {
    std::vector<double> logits(kVocab);
    double total = 0;
    for (size_t v = 0; v < kVocab; ++v) {
      for (size_t i = 0; i < kD; ++i)
        logits[v] += static_cast<double>(outputs[r * kD + i] * table_[v * kD + i].ToFloat());
      total += std::exp(logits[v]);
    }
    for (size_t v = 0; v < kVocab; ++v) {
      teacher_ids_.push_back(static_cast<int32_t>(v));
      teacher_probs_.push_back(static_cast<float>(std::exp(logits[v]) / total));
    }
  }
  options = Options(/*bfloat16=*/false);
  options.part.teacher = kVocab;
  auto nothing = AlignedBuffer<float>::Zeroed(kWeights + kBiases);
  // fp32 logits of size 5: 2^-22 each.
  EXPECT_NEAR(Loss(*MakeHeadPass(Table(), options), parameters_, 1, &nothing), 0, 1e-5);
  for (const float g : nothing.span()) EXPECT_NEAR(g, 0, 1e-5);
}

// exp(loss + logit of the target) is the normaliser. Its mean over many draws is the whole sum, for
// every row, whether its target is of the shortlist or not; the mean's own deviation is estimated
// from the draws.
TEST_F(HeadPassTest, ThePartsNormaliserIsRightOnAverage) {
  const auto whole = MakeHeadPass(Table(), Options(false)),
             part = MakeHeadPass(Table(), PartOptions());
  Loss(*whole, parameters_);
  const std::vector<float> exact(whole->losses().begin(), whole->losses().end());
  auto unused = AlignedBuffer<float>::Zeroed(kWeights + kBiases);
  constexpr int kDraws = 200;
  std::vector<double> sum(exact.size()), squares(exact.size());
  for (seed_ = 0; seed_ < kDraws; ++seed_) {
    Loss(*part, parameters_, 1, &unused);
    for (size_t r = 0; r < exact.size(); ++r) {
      const double ratio = std::exp(static_cast<double>(part->losses()[r] - exact[r]));
      sum[r] += ratio;
      squares[r] += ratio * ratio;
    }
  }
  for (size_t r = 0; r < exact.size(); ++r) {
    if (targets_[r] < 0) continue;
    const double mean = sum[r] / kDraws;
    const double deviation = std::sqrt((squares[r] / kDraws - mean * mean) / kDraws);
    EXPECT_NEAR(mean, 1, 4.5 * deviation + 1e-5) << "row " << r;
    EXPECT_GT(deviation, 0.001) << "row " << r << ": nothing was drawn";
  }
}

TEST_F(HeadPassTest, ScaleMultipliesAndCallsAdd) {
  const auto pass = MakeHeadPass(Table(), Options(/*bfloat16=*/false));
  auto once = AlignedBuffer<float>::Zeroed(kWeights + kBiases);
  auto twice = AlignedBuffer<float>::Zeroed(kWeights + kBiases);
  Loss(*pass, parameters_, 1.0f, &once);
  Loss(*pass, parameters_, 0.5f, &twice);  // a power of two: nothing rounds differently
  Loss(*pass, parameters_, 0.5f, &twice);
  float largest = 0;
  for (float g : once.span()) largest = std::max(largest, std::fabs(g));
  // Sums of kBatch products in another order.
  EXPECT_TRUE(AllNear(once.View(1, once.size()), twice.View(1, twice.size()),
                      {.absolute = static_cast<double>(largest) * kBatch * 0x1p-23}));
}

TEST_F(HeadPassTest, CountsHitsAndLossPerHead) {
  const auto pass = MakeHeadPass(Table(), Options(/*bfloat16=*/false));
  pass->SetWeights(parameters_.View(kHeads * kD, kD), parameters_.span().subspan(kWeights));
  std::vector<HeadSums> sums(kHeads);
  const double loss = pass->Run(Batch(), head_weights_, 1, nullptr, sums);
  AlignedBuffer<float> outputs(kBatch * kHeads * kD);
  pass->Outputs(outputs.View(kBatch * kHeads, kD));
  double expected = 0;
  for (size_t k = 0; k < kHeads; ++k) {
    uint64_t rows = 0, hits = 0;
    double sum = 0;
    for (size_t r = k; r < kBatch * kHeads; r += kHeads) {
      if (targets_[r] < 0) continue;
      std::vector<double> logits(kVocab);
      for (size_t v = 0; v < kVocab; ++v)
        for (size_t i = 0; i < kD; ++i)
          logits[v] += static_cast<double>(outputs[r * kD + i] * table_[v * kD + i].ToFloat());
      double total = 0;
      for (double logit : logits) total += std::exp(logit);
      const double own = logits[static_cast<size_t>(targets_[r])];
      sum += std::log(total) - own;
      hits += own == *std::ranges::max_element(logits);
      ++rows;
    }
    EXPECT_EQ(sums[k].rows, rows);
    EXPECT_EQ(sums[k].hits, hits);
    EXPECT_NEAR(sums[k].loss, sum, sum * 1e-5);  // fp32 sums of 32 products, 9 rows
    expected += static_cast<double>(head_weights_[k]) * sum / static_cast<double>(rows);
  }
  EXPECT_NEAR(loss, expected, expected * 1e-5);
}

// heads(hidden) in the trainer == heads(hidden) in the engine. Both sum d products and a bias in
// fp32, in their own orders: errors of d 2^-24 of the sum of absolute terms (d |w| |x| <= 32 * 0.2)
// on either side, twice that with root weights; SiLU's slope is below 1.1 and exp adds 2^-21 of the
// value. bf16 GEMMs round x + SiLU once more, to 2^-8 of it. A second block reads rows that differ
// by that already and passes it on by at most 1 + 1.1 |w| d.
TEST_F(HeadPassTest, OutputsAreTheEngines) {
  for (const auto& [layers, sees_root] :
       {std::pair(size_t{1}, false), {size_t{2}, false}, {size_t{1}, true}}) {
    MedusaHeads heads = ZeroMedusaHeads(kHeads, kD, static_cast<int32_t>(layers));
    AlignedBuffer<float> roots = random_.Floats(kWeights, -0.2f, 0.2f);
    std::ranges::transform(roots.span(), roots.data(), RoundToBFloat16);
    if (sees_root) {
      heads.root_weights = AlignedBuffer<BFloat16>(kWeights);
      std::ranges::transform(roots.span(), heads.root_weights.data(), BFloat16::FromFloat);
    }
    const AlignedBuffer<float> parameters =
        random_.Floats(layers * (kWeights + kBiases), -0.2f, 0.2f);
    for (size_t l = 0; l < layers; ++l) {
      for (size_t i = 0; i < kWeights; ++i)
        heads.blocks[l].weights[i] = BFloat16::FromFloat(parameters[l * kWeights + i]);
      for (size_t i = 0; i < kBiases; ++i)
        heads.blocks[l].biases[i] =
            RoundToBFloat16(parameters[layers * kWeights + l * kBiases + i]);
    }
    AlignedBuffer<float> rounded(parameters.size());
    std::ranges::transform(parameters.span(), rounded.data(), RoundToBFloat16);
    AlignedBuffer<float> expected(kBatch * kHeads * kD), got(kBatch * kHeads * kD);
    std::vector<float> x(kD), root(kD);
    for (size_t b = 0; b < kBatch; ++b) {
      for (size_t i = 0; i < kD; ++i) x[i] = hidden_[b * kD + i].ToFloat();
      for (size_t i = 0; i < kD; ++i) root[i] = roots_[b * kD + i].ToFloat();
      ApplyHeads(heads, x, root, expected.View(kBatch * kHeads, kD).Rows(b * kHeads, kHeads));
    }
    const double passed_on = layers == 1 ? 1 : 2 + 1.1 * 0.2 * kD;
    const double sum_error = (sees_root ? 4 : 2) * kD * 0x1p-24 * (kD * 0.2 + 0.2) * 1.1;
    for (bool bfloat16 : {false, true}) {
      HeadPassOptions options = Options(bfloat16, layers);
      options.sees_root = sees_root;
      const auto pass = MakeHeadPass(Table(), options);
      if (sees_root) pass->SetRootWeights(roots.View(kHeads * kD, kD));
      Loss(*pass, rounded);
      pass->Outputs(got.View(kBatch * kHeads, kD));
      const bool rounds = bfloat16 && HasBFloat16Matmul();
      // A first block's outputs are below 1 + |z| with |z| <= kD * 0.2.
      const double block1 = rounds && layers > 1 ? 0x1p-9 * (1 + kD * 0.2) : 0;
      EXPECT_TRUE(AllNear(expected.View(kBatch * kHeads, kD), got.View(kBatch * kHeads, kD),
                          {.absolute = (sum_error + 0x1p-21 + block1) * passed_on,
                           .relative = 0x1p-21 + (rounds ? 0x1p-8 : 0)}))
          << layers << " blocks";
    }
  }
}

// Nine rows are learned by heart.
TEST_F(HeadPassTest, TheLossFalls) {
  const auto pass = MakeHeadPass(Table(), Options(/*bfloat16=*/true));
  auto parameters = AlignedBuffer<float>::Zeroed(kWeights + kBiases);
  auto gradient = AlignedBuffer<float>::Zeroed(kWeights + kBiases);
  AdamWState moments(parameters.size());
  const std::vector<ParameterSlice> slices = {{"weights", 0, kHeads * kD, kD, -1, false, true},
                                              {"biases", kWeights, kBiases, 1, -1, false, false}};
  const double before = Loss(*pass, parameters);
  for (uint64_t step = 1; step <= 200; ++step) {
    Loss(*pass, parameters, 1, &gradient);
    ApplyAdamW({}, {step, {0.01, 0}, 1}, slices, parameters.span(), gradient.span(), moments);
  }
  EXPECT_GT(before, 3.0);
  EXPECT_LT(Loss(*pass, parameters), 0.1 * before);
}

}  // namespace
}  // namespace tern::test
