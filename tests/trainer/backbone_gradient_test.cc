// The whole backbone's gradient against an independent autograd
// (tests/golden/make_backbone_fixture.py).
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "engine/atomic_file.h"
#include "kernels/dense_matmul.h"
#include "kernels/parallel.h"
#include "tests/support/relative_distance.h"
#include "trainer/backbone.h"

namespace tern {
namespace {

struct Fixture {
  ModelConfig config;
  BackboneOptions options;
  std::vector<int32_t> tokens;
  std::string bytes;
  size_t at = 0;

  std::vector<float> Take(size_t count) {
    std::vector<float> values(count);
    EXPECT_LE(at + count * 4, bytes.size());
    std::memcpy(values.data(), bytes.data() + at, count * 4);
    at += count * 4;
    return values;
  }
};

Fixture ReadFixture() {
  Fixture f;
  f.bytes = ReadFile(TERN_SOURCE_DIR "/tests/golden/backbone_gradients.bin");
  int32_t header[9];
  std::memcpy(header, f.bytes.data(), sizeof(header));
  f.at = sizeof(header);
  f.config.vocab_size = header[0];
  f.config.hidden_size = header[1];
  f.config.intermediate_size = header[2];
  f.config.num_hidden_layers = header[3];
  f.config.num_attention_heads = header[4];
  f.config.num_key_value_heads = header[5];
  f.config.head_dim = header[6];
  f.config.max_position_embeddings = 32;
  f.config.rope_theta = 10000.0;
  f.options.batch = header[7];
  f.options.sequence = header[8];
  f.options.bfloat16 = false;
  f.tokens.resize(static_cast<size_t>(header[7] * (header[8] + 1)));
  std::memcpy(f.tokens.data(), f.bytes.data() + f.at, f.tokens.size() * 4);
  f.at += f.tokens.size() * 4;
  return f;
}

void LoadMasters(Fixture& f, Backbone& model) {
  for (const ParameterSlice& slice : model.slices()) {
    const std::vector<float> values = f.Take(slice.size());
    std::copy(values.begin(), values.end(),
              model.parameters().begin() + static_cast<ptrdiff_t>(slice.offset));
  }
  model.RefreshWeights();
}

// Largest difference of any gradient from the fixture, in units of the largest gradient of its
// tensor.
double LargestError(Fixture& f, Backbone& model, double factor) {
  double worst = 0;
  for (const ParameterSlice& slice : model.slices()) {
    const std::vector<float> want = f.Take(slice.size());
    double top = 0, error = 0;
    for (size_t i = 0; i < want.size(); ++i) {
      top = std::max(top, std::abs(double{want[i]}));
      error = std::max(error, std::abs(model.gradients()[slice.offset + i] - factor * want[i]));
    }
    EXPECT_GT(top, 0) << slice.name;
    EXPECT_LE(error, 0.05 * factor * top)
        << slice.name;  // names the tensor; the caller checks closely
    worst = std::max(worst, error / (factor * top));
  }
  return worst;
}

// The fixture is computed in double; both sides round to the same codes. What remains is fp32:
// about 2^-24 per operation, over sums of at most F = 48 terms in each of ~20 products and norms in
// a row, amplified by norms whose rows are small: 2^-24 * sqrt(48 * 20) * 10 ~ 2e-5.
constexpr double kTolerance = 2e-5;

TEST(BackboneGradient, EqualsAutograd) {
  for (bool recompute : {false, true}) {
    for (int threads : {1, 2}) {
      SetThreadCount(threads);
      Fixture f = ReadFixture();
      f.options.recompute = recompute;
      Backbone model(f.config, f.options);
      LoadMasters(f, model);
      const double loss = model.ForwardBackward(f.tokens, 0.5f);
      EXPECT_NEAR(loss, f.Take(1)[0], 1e-5);
      EXPECT_LE(LargestError(f, model, 0.5), kTolerance);
      EXPECT_NEAR(model.Loss(f.tokens), loss, 0);
    }
  }
}

TEST(BackboneGradient, AccumulatesOverCalls) {
  Fixture f = ReadFixture();
  Backbone model(f.config, f.options);
  LoadMasters(f, model);
  model.ForwardBackward(f.tokens, 0.25f);
  model.ForwardBackward(f.tokens, 0.75f);
  f.Take(1);
  EXPECT_LE(LargestError(f, model, 1.0), kTolerance);
}

// bf16 GEMM inputs: codes are exact, but gradients, attention operands and the hidden state are
// rounded to 8 bits, a relative error of 2^-9 each, and an int8 code next to a rounding boundary
// may flip (1/127 of its row's largest). Of the about 8 roundings per layer that a gradient passes,
// errors add at random: for two layers sqrt(16) * 2^-9 = 0.8% of the tensor's norm, and as much
// again for the flips, which cost 1/127 / sqrt(12) in a share of the codes. 5% leaves room; a wrong
// scale or a missing term would cost tens of per cent.
TEST(BackboneGradient, BFloat16StaysClose) {
  if (!HasBFloat16Matmul()) GTEST_SKIP() << "no bf16 matrix multiplication on this CPU";
  Fixture f = ReadFixture();
  Backbone exact(f.config, f.options);
  f.options.bfloat16 = true;
  Backbone rounded(f.config, f.options);
  exact.Initialise(3);
  rounded.Initialise(3);
  EXPECT_NEAR(exact.ForwardBackward(f.tokens, 1.0f), rounded.ForwardBackward(f.tokens, 1.0f), 0.01);
  for (const ParameterSlice& slice : exact.slices()) {
    EXPECT_LE(test::RelativeDistance(rounded.gradients().subspan(slice.offset, slice.size()),
                                     exact.gradients().subspan(slice.offset, slice.size())),
              0.05)
        << slice.name;
  }
}

TEST(BackboneGradient, SameBytesOnEveryRun) {
  for (bool bfloat16 : {false, true}) {
    std::vector<float> first;
    for (int run = 0; run < 2; ++run) {
      Fixture f = ReadFixture();
      f.options.bfloat16 = bfloat16;
      Backbone model(f.config, f.options);
      LoadMasters(f, model);
      model.ForwardBackward(f.tokens, 1.0f);
      std::vector<float> gradients(model.gradients().begin(), model.gradients().end());
      if (run == 0) first = gradients;
      EXPECT_EQ(first, gradients);
    }
  }
}

}  // namespace
}  // namespace tern
