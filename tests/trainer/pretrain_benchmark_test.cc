#include "trainer/pretrain_benchmark.h"

#include <gtest/gtest.h>

#include "tests/support/error_text.h"
#include "trainer/model_presets.h"

namespace tern::test {
namespace {

BenchmarkRequest TinyRequest() {
  BenchmarkRequest request;
  request.config = FindPreset("tiny").config;
  request.config.vocab_size = 300;
  request.config.num_hidden_layers = 5;
  request.backbone.batch = 2;
  request.backbone.sequence = 32;
  request.accumulate = 3;
  request.timed_steps = 1;
  return request;
}

TEST(PretrainBenchmarkTest, ComposedIsTheSameWork) {
  BenchmarkRequest request = TinyRequest();
  const BenchmarkResult whole = BenchmarkPretraining(request);
  EXPECT_FALSE(whole.composed);
  request.always_compose = true;
  const BenchmarkResult composed = BenchmarkPretraining(request);
  EXPECT_TRUE(composed.composed);
  EXPECT_EQ(composed.gemm_macs_per_step, whole.gemm_macs_per_step);
  EXPECT_EQ(composed.memory_bytes, whole.memory_bytes);
  EXPECT_EQ(composed.parameters, whole.parameters);
  EXPECT_DOUBLE_EQ(composed.step_seconds,
                   3 * (composed.embedding_and_loss_seconds + 5 * composed.layer_seconds) +
                       composed.optimiser_seconds);
  EXPECT_DOUBLE_EQ(composed.tokens_per_second, 3 * 2 * 32 / composed.step_seconds);
}

TEST(PretrainBenchmarkTest, WhatCannotFitIsRefusedBeforeItIsAllocated) {
  BenchmarkRequest request = TinyRequest();
  request.config.hidden_size = 1 << 17;  // two layers of 5e11 weights
  request.config.intermediate_size = 1 << 20;
  request.config.num_attention_heads = request.config.num_key_value_heads = 1 << 11;
  const std::string problem = ErrorText([&] { BenchmarkPretraining(request); });
  EXPECT_NE(problem.find("not even two layers fit in memory"), std::string::npos) << problem;
}

}  // namespace
}  // namespace tern::test
