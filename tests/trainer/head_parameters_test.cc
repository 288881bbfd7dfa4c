// What is trained of draft heads: the weights that it stands for, and the gradients on the way
// back.
#include "trainer/head_parameters.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <vector>

#include "kernels/bfloat16.h"
#include "kernels/random_data.h"

namespace tern::test {
namespace {

constexpr size_t kHeads = 2, kLayers = 2, kD = 16, kRank = 4;
constexpr size_t kOutputs = kHeads * kLayers * kD;

HeadShape Shape(size_t rank, bool ternary) { return {kHeads, kLayers, kD, rank, ternary}; }

TEST(HeadParameters, AllBeginAsTheIdentity) {
  for (const HeadShape& shape : {Shape(0, false), Shape(kRank, false), Shape(0, true)}) {
    HeadParameters parameters(shape);
    std::vector<float> values(parameters.size(), 1.0f);
    parameters.Initialise(3, {}, values);
    const HeadWeights weights = parameters.Weights(values);
    ASSERT_EQ(weights.weights.rows, kOutputs);
    for (size_t r = 0; r < kOutputs; ++r)
      for (float w : weights.weights.RowSpan(r)) ASSERT_EQ(w, 0.0f);
    for (float b : weights.biases) ASSERT_EQ(b, 0.0f);
  }
}

TEST(HeadParameters, PlainWeightsAreTheParameters) {
  HeadParameters parameters(Shape(0, false));
  std::vector<float> values(parameters.size()), gradients(parameters.size());
  EXPECT_EQ(parameters.Weights(values).weights.data, values.data());
  EXPECT_EQ(parameters.Gradients(gradients).weights.data, gradients.data());
}

TEST(HeadParameters, TernaryValuesAreExactInBFloat16) {
  HeadParameters parameters(Shape(0, true));
  RandomData random(5);
  const AlignedBuffer<float> values = random.Floats(parameters.size(), -0.1f, 0.1f);
  const HeadWeights weights = parameters.Weights(values.span());
  for (size_t block = 0; block < kHeads * kLayers; ++block) {
    std::set<float> seen;
    double absolute = 0;
    for (size_t i = 0; i < kD * kD; ++i) {
      const float w = weights.weights.data[block * kD * kD + i];
      EXPECT_EQ(w, RoundToBFloat16(w));
      seen.insert(w);
      absolute += std::fabs(static_cast<double>(values[block * kD * kD + i]));
    }
    ASSERT_EQ(seen.size(), 3u);
    const float scale = RoundToBFloat16(static_cast<float>(absolute / (kD * kD)));
    EXPECT_EQ(std::vector<float>(seen.begin(), seen.end()),
              (std::vector<float>{-scale, 0.0f, scale}));
  }
}

// sum(G * A B) is linear in each entry of A and of B: differences with step 1 are exact but for the
// rounding of fp32 sums of 16 * 16 * 4 products below 1.
TEST(HeadParameters, LowRankGradientsAreThoseOfTheProduct) {
  HeadParameters parameters(Shape(kRank, false));
  RandomData random(6);
  AlignedBuffer<float> values = random.Floats(parameters.size(), -1, 1);
  const AlignedBuffer<float> g = random.Floats(kOutputs * kD, -1, 1);
  const auto product = [&] {
    const HeadWeights weights = parameters.Weights(values.span());
    double sum = 0;
    for (size_t i = 0; i < g.size(); ++i)
      sum += static_cast<double>(g[i]) * static_cast<double>(weights.weights.data[i]);
    return sum;
  };
  auto gradients = AlignedBuffer<float>::Zeroed(parameters.size());
  for (int call = 0; call < 2; ++call) {  // calls add
    const HeadGradients into = parameters.Gradients(gradients.span());
    std::ranges::copy(g.span(), into.weights.data);
    parameters.Accumulate(values.span(), gradients.span());
  }
  for (size_t slice = 0; slice < 2; ++slice) {
    const ParameterSlice& s = parameters.slices()[slice];
    for (size_t i = 0; i < s.size(); i += 37) {
      const double before = product();
      values[s.offset + i] += 1;
      const double after = product();
      values[s.offset + i] -= 1;
      EXPECT_NEAR(static_cast<double>(gradients[s.offset + i]), 2 * (after - before), 1e-3)
          << s.name << " " << i;
    }
  }
}

}  // namespace
}  // namespace tern::test
