// How fast a training run would go here, before starting it.
#ifndef TERN_TRAINER_PRETRAIN_BENCHMARK_H_
#define TERN_TRAINER_PRETRAIN_BENCHMARK_H_

#include <cstdint>

#include "engine/config.h"
#include "trainer/backbone.h"

namespace tern {

struct BenchmarkRequest {
  ModelConfig config;
  BackboneOptions backbone;
  int32_t accumulate = 1;
  uint64_t seed = 0;
  int32_t timed_steps = 5;      // the median of these counts, after one to warm up
  bool always_compose = false;  // compose even where the model fits
};

struct BenchmarkResult {
  bool composed = false;  // estimated from parts, since the model does not fit in memory
  double parameters = 0;
  double step_seconds = 0;  // median
  double tokens_per_second = 0;
  double gemm_macs_per_step = 0;
  double memory_bytes = 0;  // parameters, gradients, moments, activations (estimated)
  double available_bytes = 0;
  // The parts of a composed estimate, seconds per micro-batch (layer, rest) and per step
  // (optimiser).
  double layer_seconds = 0, embedding_and_loss_seconds = 0, optimiser_seconds = 0;
};

// Throws kInternal where parameters, gradients, moments and activations do not fit in memory.
void RequireTrainingMemory(const ModelConfig& config, const BackboneOptions& backbone);

// Times real steps on random tokens. Throws kUnsupported where not even two layers fit.
BenchmarkResult BenchmarkPretraining(const BenchmarkRequest& request);

}  // namespace tern

#endif  // TERN_TRAINER_PRETRAIN_BENCHMARK_H_
