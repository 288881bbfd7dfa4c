// Zero skipping changes no bit of a decode step, and reads less.
#include "engine/zero_skip.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "engine/hash.h"
#include "engine/synthetic_weights.h"
#include "kernels/dispatch.h"
#include "kernels/parallel.h"
#include "kernels/random_data.h"
#include "tests/support/error_text.h"
#include "tests/support/forward_runner.h"
#include "tests/support/tiny_model.h"

namespace tern {
namespace {

struct Decoded {
  uint64_t hash = 0;           // of hidden rows and logits
  int64_t skipped_bytes = 0;   // of all steps
  bool every_step_did = true;  // skip something
};

Decoded Decode(const Model& model, std::span<const TokenId> tokens, bool skip_zeros) {
  KvCache cache(model.config, 1, 128, 2);
  Workspace workspace(model.config, 1, 1, 128);
  cache.AddSequence();
  const int32_t row = 0;
  Decoded decoded;
  for (size_t i = 0; i < tokens.size(); ++i) {
    const ForwardResult result = Forward(
        model, {.tokens = tokens.subspan(i, 1), .logit_rows = {&row, 1}, .skip_zeros = skip_zeros},
        cache, workspace);
    decoded.hash = HashBytes(std::as_bytes(result.hidden.RowSpan(0)), decoded.hash);
    decoded.hash = HashBytes(std::as_bytes(result.logits.RowSpan(0)), decoded.hash);
    decoded.skipped_bytes += result.skipped_bytes;
    decoded.every_step_did &= result.skipped_bytes != 0;
    cache.CommitAll(0);
  }
  return decoded;
}

// Equal with and without, on every target and on one and three threads. Returns what skipping did.
Decoded ExpectSameBits(const Model& model, size_t steps = 40) {
  const std::vector<TokenId> tokens = RandomTokens(steps, model.config.vocab_size, 11);
  Decoded skipping;
  for (const std::string& target : SupportedTargets()) {
    EXPECT_TRUE(SetMaxTarget(target));
    for (const int count : {1, 3}) {
      const WithThreads threads(count);
      const Decoded dense = Decode(model, tokens, false);
      skipping = Decode(model, tokens, true);
      EXPECT_EQ(dense.hash, skipping.hash) << target << ", " << count << " threads";
      EXPECT_EQ(dense.skipped_bytes, 0);
    }
  }
  return skipping;
}

Model Tiny(double zero_gates) {
  Model model = MakeModel(*MakeSyntheticWeights("tiny", {.seed = 3, .zero_gates = zero_gates}));
  AddZeroSkipping(model);
  return model;
}

// Squared ReLU of a row that all gates share: in one step all of them are 0, in another none.
// Gates times `sign`, outputs of up_proj times `up`.
Model WithEqualGates(int sign = 1, float up = 1.0f) {
  Model model = MakeTinyModel();
  RandomData random(5);
  for (LayerWeights& w : model.layers) {
    const size_t rows = w.gate_proj.rows, cols = w.gate_proj.cols;
    const AlignedBuffer<int8_t> row = random.Ternaries(cols);
    AlignedBuffer<int8_t> codes(rows * cols);
    for (size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<int8_t>(sign * row[i % cols]);
    w.gate_proj = PackTernary(codes.View(rows, cols), w.gate_proj.scale);
    w.up_proj.scale *= up;
  }
  AddZeroSkipping(model);
  return model;
}

TEST(ZeroSkip, SameBitsWithMostGatesZero) {
  const Decoded decoded = ExpectSameBits(Tiny(0.8));
  EXPECT_TRUE(decoded.every_step_did);
  EXPECT_GT(decoded.skipped_bytes, 0);
}

// Some rows of up_proj are more than pay, others not; a row of 160 gates is one block of codes, in
// part.
TEST(ZeroSkip, SameBitsWithHalfTheGatesZero) {
  ExpectSameBits(Tiny(0.5));
  Model model = MakeTinyModel();
  AddZeroSkipping(model);
  ExpectSameBits(model);
}

TEST(ZeroSkip, SameBitsWithAllGatesZeroOrNone) {
  const Decoded decoded = ExpectSameBits(WithEqualGates());
  EXPECT_NE(decoded.skipped_bytes, 0);
  EXPECT_FALSE(decoded.every_step_did);
}

TEST(ZeroSkip, SameBitsWithoutASubNorm) {
  ModelConfig config = TinyConfig();
  config.ffn_sub_norm = config.attn_sub_norm = false;
  Model model = MakeTinyModel(config);
  AddZeroSkipping(model);
  ExpectSameBits(model);
}

// 0 times an infinite output of up_proj is not 0. That shows where all gates are 0, as those of the
// first layer are for one of the signs, and before any other step left its NaN in the cache.
TEST(ZeroSkip, SameBitsWhereOutputsOverflow) {
  for (const int sign : {1, -1})
    ExpectSameBits(WithEqualGates(sign, std::numeric_limits<float>::infinity()), 1);
}

TEST(ZeroSkip, OnlySingleRowsSkip) {
  const Model model = Tiny(0.8);
  const std::vector<TokenId> tokens = RandomTokens(2, model.config.vocab_size, 1);
  KvCache cache(model.config, 1, 64, 1);
  Workspace workspace(model.config, 2, 1, 64);
  cache.AddSequence();
  EXPECT_EQ(Forward(model, {.tokens = tokens}, cache, workspace).skipped_bytes, 0);
  cache.DropPending(0);
  EXPECT_GT(Forward(model, {.tokens = std::span(tokens).first(1)}, cache, workspace).skipped_bytes,
            0);
}

TEST(ZeroSkip, CopiesTakeWhatIsSaid) {
  const Model model = Tiny(0.8);
  size_t bytes = 0;
  for (const LayerWeights& w : model.layers)
    bytes += w.up_rows.data.size() + w.down_columns.data.size();
  EXPECT_EQ(bytes, ZeroSkipBytes(model.config));
}

TEST(ZeroSkip, RefusesOtherGatesAndActivations) {
  for (const ModelConfig& config : {TinyLlamaConfig(), TinyQwenConfig()}) {
    Model model = MakeTinyModel(config);
    const std::string error = test::ErrorText([&] { AddZeroSkipping(model); });
    EXPECT_NE(error.find("expected a model whose gates are squared ReLU"), std::string::npos);
    EXPECT_NE(error.find("SiLU"), std::string::npos);
  }
}

}  // namespace
}  // namespace tern
