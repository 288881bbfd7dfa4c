// Gradients against central differences of what they are gradients of. A ternary linear is a
// staircase, so differences say nothing about it: here are the steps between such layers, and of
// the whole backbone what lies behind the last.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "kernels/activation.h"
#include "kernels/norm.h"
#include "kernels/training_attention.h"
#include "kernels/training_rows.h"
#include "trainer/backbone.h"
#include "trainer/model_presets.h"

namespace tern::test {
namespace {

using Values = std::vector<float>;

Values RandomValues(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  Values values(count);
  for (float& value : values) value = normal(random);
  return values;
}

double Dot(const Values& a, const Values& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += double{a[i]} * b[i];
  return sum;
}

// The norm of (gradient - difference) in units of the gradient's, over all of `x`.
double RelativeError(std::span<float> x, std::span<const float> gradient, float step,
                     const std::function<double()>& objective) {
  double error = 0, power = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const float at = x[i];
    x[i] = at + step;
    const double up = objective();
    x[i] = at - step;
    const double down = objective();
    x[i] = at;
    error += std::pow((up - down) / (2.0 * step) - gradient[i], 2);
    power += std::pow(gradient[i], 2);
  }
  return std::sqrt(error / power);
}

// Values and their derivatives are of size 1. A central difference at step h is wrong by h^2 / 6 of
// the third derivative and by fp32's 2^-24 * sqrt(terms) / h: at h = 2^-6, 4e-5 and 4e-5 for 100
// terms. Derivatives of products of several such values can be some ten times larger.
constexpr float kStep = 1.0f / 64;
constexpr double kTolerance = 1e-3;

TEST(FiniteDifference, RmsNorm) {
  const size_t n = 37;
  Values x = RandomValues(n, 1), gain = RandomValues(n, 2), weights = RandomValues(n, 3);
  Values y(n), dx(n), dgain(n);
  const auto objective = [&] {
    RmsNorm({x.data(), 1, n}, gain, 1e-5f, {y.data(), 1, n});
    return Dot(y, weights);
  };
  RmsNormGrad(x.data(), gain.data(), 1e-5f, weights.data(), 1.0f, n, false, dx.data(),
              dgain.data());
  EXPECT_LE(RelativeError(x, dx, kStep, objective), kTolerance);
  EXPECT_LE(RelativeError(gain, dgain, kStep, objective), kTolerance);
}

TEST(FiniteDifference, ReluSquaredGate) {
  const size_t n = 37;
  Values gate = RandomValues(n, 1), up = RandomValues(n, 2), weights = RandomValues(n, 3);
  for (float& value : gate) value += std::copysign(kStep, value);  // away from the kink
  Values out(n), dgate(n), dup(n);
  const auto objective = [&] {
    ReluSquaredGate({gate.data(), 1, n}, {up.data(), 1, n}, {out.data(), 1, n});
    return Dot(out, weights);
  };
  ReluSquaredGateGrad(gate.data(), up.data(), weights.data(), 1.0f, 1.0f, n, dgate.data(),
                      dup.data());
  EXPECT_LE(RelativeError(gate, dgate, kStep, objective), kTolerance);
  EXPECT_LE(RelativeError(up, dup, kStep, objective), kTolerance);
}

TEST(FiniteDifference, CrossEntropy) {
  const size_t n = 37;
  Values logits = RandomValues(n, 1), gradient(n), ignored(n);
  const auto objective = [&] {
    return double{CrossEntropyRow(logits.data(), n, 5, 1.0f, ignored.data())};
  };
  CrossEntropyRow(logits.data(), n, 5, 1.0f, gradient.data());
  EXPECT_LE(RelativeError(logits, gradient, kStep, objective), kTolerance);
}

TEST(FiniteDifference, Attention) {
  const size_t tokens = 11, heads = 2, width = 8, wide = heads * width;
  Values q = RandomValues(tokens * wide, 1), k = RandomValues(tokens * width, 2);
  Values v = RandomValues(tokens * width, 3), weights = RandomValues(tokens * wide, 4);
  Values out(tokens * wide), log_sums(heads * tokens);
  Values dq(q.size()), dk(k.size()), dv(v.size());
  AttentionTrainingScratch<float> scratch;
  const AttentionInputs<float> in{
      {q.data(), tokens, wide}, {k.data(), tokens, width}, {v.data(), tokens, width}, heads};
  const auto objective = [&] {
    TrainingAttention(in, scratch, log_sums, {out.data(), tokens, wide});
    return Dot(out, weights);
  };
  objective();
  TrainingAttentionGrad(in, log_sums, scratch,
                        {{out.data(), tokens, wide},
                         {weights.data(), tokens, wide},
                         {weights.data(), tokens, wide},
                         {dq.data(), tokens, wide},
                         {dk.data(), tokens, width},
                         {dv.data(), tokens, width}});
  EXPECT_LE(RelativeError(q, dq, kStep, objective), kTolerance);
  EXPECT_LE(RelativeError(k, dk, kStep, objective), kTolerance);
  EXPECT_LE(RelativeError(v, dv, kStep, objective), kTolerance);
}

// The loss as a function of the last norm's gain and of the embeddings of tokens that are only
// predicted.
TEST(FiniteDifference, Head) {
  ModelConfig config = FindPreset("tiny").config;
  config.vocab_size = 32;
  BackboneOptions options;
  options.batch = 2;
  options.sequence = 8;
  options.bfloat16 = false;
  Backbone model(config, options);
  model.Initialise(5);
  const int32_t first_target = 24;
  std::vector<int32_t> tokens;
  for (int32_t i = 0; i < 2 * (8 + 1); ++i)
    tokens.push_back(i % 9 == 8 ? first_target + i / 9 : (5 * i) % first_target);
  const auto objective = [&] {
    model.RefreshWeights();
    return model.Loss(tokens);
  };
  for (const ParameterSlice& slice : model.slices()) {
    const bool embedding = slice.name == "model.embed_tokens.weight";
    if (!embedding && slice.name != "model.norm.weight") continue;
    // Forward rounds both to bf16: values and steps are multiples of 2^-6, which below 4 are exact.
    const std::span<float> all = model.parameters().subspan(slice.offset, slice.size());
    for (float& value : all) value = std::round(value * (embedding ? 20 : 1) / kStep) * kStep;
  }
  model.RefreshWeights();
  std::ranges::fill(model.gradients(), 0.0f);
  model.ForwardBackward(tokens, 1.0f);
  for (const ParameterSlice& slice : model.slices()) {
    size_t begin = slice.offset, count = slice.size();
    if (slice.name == "model.embed_tokens.weight") {
      begin += static_cast<size_t>(first_target) * slice.cols;
      count = 8 * slice.cols;
    } else if (slice.name != "model.norm.weight") {
      continue;
    }
    const Values gradient(model.gradients().begin() + static_cast<ptrdiff_t>(begin),
                          model.gradients().begin() + static_cast<ptrdiff_t>(begin + count));
    EXPECT_LE(RelativeError(model.parameters().subspan(begin, count), gradient, kStep, objective),
              kTolerance)
        << slice.name;
  }
}

}  // namespace
}  // namespace tern::test
