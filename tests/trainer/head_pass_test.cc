// Heads in training: gradients against finite differences, and the same outputs as the engine's.
#include "trainer/head_pass.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "engine/medusa_heads.h"
#include "kernels/dense_matmul.h"
#include "kernels/parallel.h"
#include "kernels/random_data.h"
#include "tests/support/comparator.h"
#include "tests/support/relative_distance.h"
#include "trainer/adamw.h"

namespace tern::test {
namespace {

constexpr size_t kHeads = 3, kD = 32, kVocab = 50, kBatch = 9;
constexpr size_t kWeights = kHeads * kD * kD, kBiases = kHeads * kD;
constexpr size_t kTeacher = 4;                    // tokens of a teacher
constexpr size_t kShortlist = 20, kSamples = 12;  // of kVocab

HeadPassOptions Options(bool bfloat16, size_t layers = 1) {
  HeadPassOptions options;
  options.heads = kHeads;
  options.layers = layers;
  options.batch = kBatch;
  options.bfloat16 = bfloat16;
  return options;
}

HeadPassOptions PartOptions() {
  HeadPassOptions options = Options(/*bfloat16=*/false);
  options.part = {{3, 1, 4, 15, 9, 2, 6, 5, 35, 8, 7, 32, 38, 46, 26, 43, 33, 27, 49, 44},
                  kShortlist,
                  kSamples};
  return options;
}

class HeadPassTest : public ::testing::Test {
 protected:
  HeadPassTest() {
    for (size_t i = 0; i < kBatch * kHeads; ++i)
      targets_.push_back(i % 7 == 3 ? -1 : static_cast<int32_t>(random_.Below(kVocab)));
  }
  HeadBatch Batch() const {
    HeadBatch batch{hidden_.View(kBatch, kD), roots_.View(kBatch, kD), targets_, seed_};
    if (teacher_weight_ == 0) return batch;
    const size_t rows = targets_.size(), top = teacher_ids_.size() / rows;
    batch.teacher_ids = {teacher_ids_.data(), rows, top};
    batch.teacher_probs = {teacher_probs_.data(), rows, top};
    batch.teacher_weight = teacher_weight_;
    return batch;
  }
  // Of every row but each fifth: the token that came, where the row is even, and others.
  void AddTeacher(float weight) {
    teacher_weight_ = weight;
    for (size_t r = 0; r < targets_.size(); ++r) {
      const auto first = static_cast<int32_t>(random_.Below(kVocab));
      for (int32_t i = 0; i < static_cast<int32_t>(kTeacher); ++i) {
        const int32_t token = r % 2 == 0 && targets_[r] >= 0 ? targets_[r] : first;
        teacher_ids_.push_back((token + 7 * i) % static_cast<int32_t>(kVocab));
        teacher_probs_.push_back(r % 5 == 4 || i == 3 ? 0.0f : 0.5f / static_cast<float>(i + 1));
      }
    }
  }
  MatView<const BFloat16> Table() const { return table_.View(kVocab, kD); }

  // The loss at parameters [weights, biases]; gradients are added to `gradient` of the same layout.
  double Loss(HeadPass& pass, const AlignedBuffer<float>& parameters, float scale = 1,
              AlignedBuffer<float>* gradient = nullptr) {
    const size_t layers = parameters.size() / (kWeights + kBiases), rows = layers * kHeads * kD;
    pass.SetWeights(parameters.View(rows, kD), parameters.span().subspan(layers * kWeights));
    std::vector<HeadSums> sums(kHeads);
    if (gradient == nullptr) return pass.Run(Batch(), head_weights_, scale, nullptr, sums);
    HeadGradients gradients{gradient->View(rows, kD), gradient->span().subspan(layers * kWeights)};
    return pass.Run(Batch(), head_weights_, scale, &gradients, sums);
  }

  void CheckGradients(const HeadPassOptions& options, const AlignedBuffer<float>& parameters,
                      double slack);
  // Of loss(parameters) at `at`, along a random direction of +-1 within [begin, end), by central
  // differences.
  template <class LossOf>
  void CheckDirection(const LossOf& loss, const AlignedBuffer<float>& at,
                      const AlignedBuffer<float>& gradient, size_t begin, size_t end, float step,
                      double rounding) {
    AlignedBuffer<float> up(at.size()), down(at.size());
    std::ranges::copy(at.span(), up.data());
    std::ranges::copy(at.span(), down.data());
    double expected = 0, norm = 0;
    for (size_t i = begin; i < end; ++i) {
      const float sign = random_.Below(2) == 0 ? -1.0f : 1.0f;
      up[i] += sign * step;
      down[i] -= sign * step;
      expected += static_cast<double>(gradient[i] * sign);
      norm += static_cast<double>(gradient[i]) * static_cast<double>(gradient[i]);
    }
    const double quotient = (loss(up) - loss(down)) / (2.0 * static_cast<double>(step));
    EXPECT_NEAR(quotient, expected, rounding) << "from " << begin;
    EXPECT_GT(std::sqrt(norm), 5 * rounding) << "from " << begin << ": proves nothing";
  }

  RandomData random_{7};
  AlignedBuffer<BFloat16> hidden_ = random_.BFloat16s(kBatch * kD);
  AlignedBuffer<BFloat16> table_ = random_.BFloat16s(kVocab * kD);
  AlignedBuffer<BFloat16> roots_ = random_.BFloat16s(kBatch * kD);
  AlignedBuffer<float> parameters_ = random_.Floats(kWeights + kBiases, -0.2f, 0.2f);
  std::vector<int32_t> targets_;  // [batch, heads]
  float teacher_weight_ = 0;      // 0: no teacher
  std::vector<int32_t> teacher_ids_;
  std::vector<float> teacher_probs_;
  uint64_t seed_ = 1;
  std::vector<float> head_weights_ = {0.5f, 0.3f, 0.2f};
};

// Along random directions of +-1 within each head's weights and biases, central differences with
// step e. The loss is of size 5 and its terms are fp32, rounded at about 4 ulps of 5: 2e-6, so the
// quotient errs by 2e-6 / e = 1e-3 for weights (e = 2^-9) and 1.3e-4 for biases (e = 2^-6). The
// next term of the series, e^2 / 6 times the third derivative along the direction, was seen to be
// smaller than these (halving e does not change the outcome).
void HeadPassTest::CheckGradients(const HeadPassOptions& options,
                                  const AlignedBuffer<float>& parameters, double slack) {
  const auto pass = MakeHeadPass(Table(), options);
  const size_t weights_end = options.layers * kWeights;
  auto gradient = AlignedBuffer<float>::Zeroed(parameters.size());
  Loss(*pass, parameters, 1, &gradient);
  for (size_t block = 0; block < 2 * options.layers * kHeads; ++block) {
    const bool weights = block < options.layers * kHeads;
    const size_t begin =
        weights ? block * kD * kD : weights_end + (block - options.layers * kHeads) * kD;
    const size_t end = begin + (weights ? kD * kD : kD);
    const float step = weights ? 0x1p-9f : 0x1p-6f;
    const double rounding = slack * 2e-6 / static_cast<double>(step);
    for (int trial = 0; trial < 4; ++trial) {
      CheckDirection(
          [&](const AlignedBuffer<float>& at) {
            // With gradients: the loss over the part of the vocabulary that training looks at.
            auto unused = AlignedBuffer<float>::Zeroed(at.size());
            return Loss(*pass, at, 1, &unused);
          },
          parameters, gradient, begin, end, step, rounding);
    }
  }
}

TEST_F(HeadPassTest, GradientsAreThoseOfFiniteDifferences) {
  CheckGradients(Options(/*bfloat16=*/false), parameters_, 1);
}

// Two blocks: one more nonlinearity, so twice the rounding.
TEST_F(HeadPassTest, GradientsOfTwoBlocksAreThoseOfFiniteDifferences) {
  CheckGradients(Options(/*bfloat16=*/false, 2),
                 random_.Floats(2 * (kWeights + kBiases), -0.2f, 0.2f), 2);
}

TEST_F(HeadPassTest, GradientsOverAPartAreThoseOfFiniteDifferences) {
  CheckGradients(PartOptions(), parameters_, 1);
}

// Of their own projections: along directions of +-1 on each head's table, of values up to 1 as the
// weights' inputs are, so with their step and rounding; over all tokens, and over a part with a
// teacher.
TEST_F(HeadPassTest, GradientsOfOwnVocabulariesAreThoseOfFiniteDifferences) {
  constexpr size_t kTable = kVocab * kD;
  HeadPassOptions options = Options(/*bfloat16=*/false);
  for (const bool part : {false, true}) {
    if (part) {
      AddTeacher(0.7f);
      options = PartOptions();
      options.part.teacher = kTeacher;
    }
    options.own_vocabularies = true;
    const auto pass = MakeHeadPass(Table(), options);
    const AlignedBuffer<float> tables = random_.Floats(kHeads * kTable, -1, 1);
    const auto loss = [&](const AlignedBuffer<float>& at, AlignedBuffer<float>& gradient,
                          AlignedBuffer<float>& table_gradient) {
      pass->SetWeights(parameters_.View(kHeads * kD, kD), parameters_.span().subspan(kWeights));
      pass->SetVocabularies(at.View(kHeads * kVocab, kD));
      std::vector<HeadSums> sums(kHeads);
      HeadGradients gradients{gradient.View(kHeads * kD, kD),
                              gradient.span().subspan(kWeights),
                              {},
                              table_gradient.View(kHeads * kVocab, kD)};
      return pass->Run(Batch(), head_weights_, 1, &gradients, sums);
    };
    auto gradient = AlignedBuffer<float>::Zeroed(tables.size());
    auto unused = AlignedBuffer<float>::Zeroed(kWeights + kBiases);
    loss(tables, unused, gradient);
    for (size_t k = 0; k < kHeads; ++k) {
      SCOPED_TRACE(part ? "part" : "whole");
      CheckDirection(
          [&](const AlignedBuffer<float>& at) {
            auto ignored = AlignedBuffer<float>::Zeroed(tables.size());
            return loss(at, unused, ignored);
          },
          tables, gradient, k * kTable, (k + 1) * kTable, 0x1p-9f, 2e-6 / 0x1p-9);
    }
  }
}

// As for the other weights of the first block; of two blocks, so that their gradient has come
// through the second.
TEST_F(HeadPassTest, GradientsOfRootWeightsAreThoseOfFiniteDifferences) {
  HeadPassOptions options = Options(/*bfloat16=*/false, 2);
  options.sees_root = true;
  const auto pass = MakeHeadPass(Table(), options);
  const AlignedBuffer<float> others = random_.Floats(2 * (kWeights + kBiases), -0.2f, 0.2f);
  const AlignedBuffer<float> weights = random_.Floats(kWeights, -0.2f, 0.2f);
  const auto loss = [&](const AlignedBuffer<float>& at, AlignedBuffer<float>& gradient) {
    pass->SetWeights(others.View(2 * kHeads * kD, kD), others.span().subspan(2 * kWeights));
    pass->SetRootWeights(at.View(kHeads * kD, kD));
    auto unused = AlignedBuffer<float>::Zeroed(others.size());
    std::vector<HeadSums> sums(kHeads);
    HeadGradients gradients{unused.View(2 * kHeads * kD, kD), unused.span().subspan(2 * kWeights),
                            gradient.View(kHeads * kD, kD)};
    return pass->Run(Batch(), head_weights_, 1, &gradients, sums);
  };
  auto gradient = AlignedBuffer<float>::Zeroed(kWeights);
  loss(weights, gradient);
  for (size_t k = 0; k < kHeads; ++k) {
    CheckDirection(
        [&](const AlignedBuffer<float>& at) {
          auto ignored = AlignedBuffer<float>::Zeroed(kWeights);
          return loss(at, ignored);
        },
        weights, gradient, k * kD * kD, (k + 1) * kD * kD, 0x1p-9f, 2 * 2e-6 / 0x1p-9);
  }
}

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

TEST_F(HeadPassTest, GradientsWithATeacherAreThoseOfFiniteDifferences) {
  AddTeacher(0.7f);
  HeadPassOptions whole = Options(/*bfloat16=*/false), part = PartOptions();
  whole.part.teacher = part.part.teacher = kTeacher;
  CheckGradients(whole, parameters_, 1);
  CheckGradients(part, parameters_, 1);
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

// bf16 GEMMs: inputs rounded to 8 bits of mantissa. Every gradient is a sum over rows of products
// of three rounded numbers (dlogits, table, x), so errors stay near 3 * 2^-8 of the sum of absolute
// terms; the whole gradient's error, measured against its norm, near that too.
TEST_F(HeadPassTest, BFloat16GradientsAreNear) {
  if (!HasBFloat16Matmul()) GTEST_SKIP() << "this CPU multiplies no bf16";
  for (float& value : parameters_.span()) value = RoundToBFloat16(value);
  auto exact = AlignedBuffer<float>::Zeroed(kWeights + kBiases);
  auto rounded = AlignedBuffer<float>::Zeroed(kWeights + kBiases);
  const double loss = Loss(*MakeHeadPass(Table(), Options(false)), parameters_, 1, &exact);
  const double near = Loss(*MakeHeadPass(Table(), Options(true)), parameters_, 1, &rounded);
  EXPECT_NEAR(loss, near, loss * 0x1p-8);
  EXPECT_LT(RelativeDistance(rounded.span(), exact.span()), 3 * 0x1p-7);
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
