// Gradients of heads in training against finite differences.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/dense_matmul.h"
#include "tests/support/relative_distance.h"
#include "tests/trainer/head_pass_fixture.h"

namespace tern::test {
namespace {

class HeadGradientTest : public HeadPassTest {
 protected:
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
};

// Along random directions of +-1 within each head's weights and biases, central differences with
// step e. The loss is of size 5 and its terms are fp32, rounded at about 4 ulps of 5: 2e-6, so the
// quotient errs by 2e-6 / e = 1e-3 for weights (e = 2^-9) and 1.3e-4 for biases (e = 2^-6). The
// next term of the series, e^2 / 6 times the third derivative along the direction, was seen to be
// smaller than these (halving e does not change the outcome).
void HeadGradientTest::CheckGradients(const HeadPassOptions& options,
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

TEST_F(HeadGradientTest, GradientsAreThoseOfFiniteDifferences) {
  CheckGradients(Options(/*bfloat16=*/false), parameters_, 1);
}

// Two blocks: one more nonlinearity, so twice the rounding.
TEST_F(HeadGradientTest, GradientsOfTwoBlocksAreThoseOfFiniteDifferences) {
  CheckGradients(Options(/*bfloat16=*/false, 2),
                 random_.Floats(2 * (kWeights + kBiases), -0.2f, 0.2f), 2);
}

TEST_F(HeadGradientTest, GradientsOverAPartAreThoseOfFiniteDifferences) {
  CheckGradients(PartOptions(), parameters_, 1);
}

// Of their own projections: along directions of +-1 on each head's table, of values up to 1 as the
// weights' inputs are, so with their step and rounding; over all tokens, and over a part with a
// teacher.
TEST_F(HeadGradientTest, GradientsOfOwnVocabulariesAreThoseOfFiniteDifferences) {
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
TEST_F(HeadGradientTest, GradientsOfRootWeightsAreThoseOfFiniteDifferences) {
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

TEST_F(HeadGradientTest, GradientsWithATeacherAreThoseOfFiniteDifferences) {
  AddTeacher(0.7f);
  HeadPassOptions whole = Options(/*bfloat16=*/false), part = PartOptions();
  whole.part.teacher = part.part.teacher = kTeacher;
  CheckGradients(whole, parameters_, 1);
  CheckGradients(part, parameters_, 1);
}

// bf16 GEMMs: inputs rounded to 8 bits of mantissa. Every gradient is a sum over rows of products
// of three rounded numbers (dlogits, table, x), so errors stay near 3 * 2^-8 of the sum of absolute
// terms; the whole gradient's error, measured against its norm, near that too.
TEST_F(HeadGradientTest, BFloat16GradientsAreNear) {
  if (!HasBFloat16Matmul()) GTEST_SKIP() << "this CPU multiplies no bf16";
  for (float& value : parameters_.span()) value = RoundToBFloat16(value);
  auto exact = AlignedBuffer<float>::Zeroed(kWeights + kBiases);
  auto rounded = AlignedBuffer<float>::Zeroed(kWeights + kBiases);
  const double loss = Loss(*MakeHeadPass(Table(), Options(false)), parameters_, 1, &exact);
  const double near = Loss(*MakeHeadPass(Table(), Options(true)), parameters_, 1, &rounded);
  EXPECT_NEAR(loss, near, loss * 0x1p-8);
  EXPECT_LT(RelativeDistance(rounded.span(), exact.span()), 3 * 0x1p-7);
}

}  // namespace
}  // namespace tern::test
