// What `tern pretrain --init DIR` rests on: training continues where exported masters ended.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "engine/error.h"
#include "engine/safetensors_writer.h"
#include "tests/support/error_text.h"
#include "tests/support/temp_dir.h"
#include "trainer/adamw.h"
#include "trainer/backbone.h"
#include "trainer/model_presets.h"

namespace tern::test {
namespace {

constexpr int32_t kBatch = 2, kSequence = 24;

ModelConfig Config() {
  ModelConfig config = FindPreset("tiny").config;
  config.vocab_size = 64;
  return config;
}

BackboneOptions Options() {
  BackboneOptions options;
  options.batch = kBatch;
  options.sequence = kSequence;
  options.bfloat16 = false;
  return options;
}

// Counting in steps that differ by row: soon learnt.
std::vector<int32_t> Tokens() {
  std::vector<int32_t> tokens;
  for (int32_t row = 0; row < kBatch; ++row) {
    for (int32_t i = 0; i <= kSequence; ++i) tokens.push_back((7 + i * (row + 3)) % 64);
  }
  return tokens;
}

// Returns the loss before the first update.
double Train(Backbone& backbone, int steps) {
  const std::vector<int32_t> tokens = Tokens();
  AdamWState moments(backbone.parameters().size());
  double first = 0;
  for (int step = 1; step <= steps; ++step) {
    const double loss = backbone.ForwardBackward(tokens, 1.0f);
    if (step == 1) first = loss;
    const AdamWStep update{static_cast<uint64_t>(step), {1e-3, 0}, 1.0};
    ApplyAdamW({}, update, backbone.slices(), backbone.parameters(), backbone.gradients(), moments);
    backbone.RefreshWeights();
  }
  return first;
}

TEST(ContinueFromMasters, StartsWhereTrainingEnded) {
  const TempDir dir;
  Backbone first(Config(), Options());
  first.Initialise(3);
  first.RefreshWeights();
  const double untrained = Train(first, 60);
  const double trained = first.Loss(Tokens());
  ASSERT_LT(trained, 0.7 * untrained);
  ExportBackbone(first, dir.path());

  Backbone second(Config(), Options());
  second.Initialise(4);
  ImportMasters(dir / "masters", second);
  // Masters rounded to bf16 (2^-9 of each): every value of the embedding moves by at most that, and
  // one ternary weight in a thousand, those nearest to a boundary, may change. Both move logits by
  // some percent of their size; the loss by far less than a twentieth of what was learnt.
  EXPECT_NEAR(second.Loss(Tokens()), trained, 0.05 * (untrained - trained));
  const double continued = Train(second, 20);
  EXPECT_NEAR(continued, trained, 0.05 * (untrained - trained));
  EXPECT_LT(second.Loss(Tokens()), trained);
}

TEST(ContinueFromMasters, RoundedMastersComeBackExactly) {
  const TempDir dir;
  Backbone first(Config(), Options());
  first.Initialise(3);
  first.RefreshWeights();
  ExportBackbone(first, dir / "a");
  Backbone second(Config(), Options());
  ImportMasters(dir / "a/masters", second);
  ExportBackbone(second, dir / "b");
  Backbone third(Config(), Options());
  ImportMasters(dir / "b/masters", third);
  EXPECT_EQ(third.Loss(Tokens()), second.Loss(Tokens()));
  EXPECT_EQ(ReadFile(dir / "b/masters/model.safetensors"),
            ReadFile(dir / "a/masters/model.safetensors"));
}

// Where the configuration promises a shape that the file does not hold.
TEST(ContinueFromMasters, AWrongShapeIsOneClearLine) {
  const TempDir dir;
  Backbone narrow(Config(), Options());
  narrow.Initialise(3);
  narrow.RefreshWeights();
  ExportBackbone(narrow, dir / "narrow");
  ModelConfig config = Config();
  config.intermediate_size += 32;
  Backbone wide(config, Options());
  wide.Initialise(3);
  wide.RefreshWeights();
  ExportBackbone(wide, dir / "wide");
  dir.Write("wide/masters/model.safetensors", ReadFile(dir / "narrow/masters/model.safetensors"));

  const std::string problem = ErrorText([&] { ImportMasters(dir / "wide/masters", wide); });
  for (const char* part :
       {"wide/masters/model.safetensors", "_proj.weight", "[160, 64]", "[128, 64]"}) {
    EXPECT_NE(problem.find(part), std::string::npos) << part << " is not in: " << problem;
  }
  EXPECT_EQ(problem.find('\n'), std::string::npos) << problem;
}

}  // namespace
}  // namespace tern::test
