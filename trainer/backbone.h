// A BitNet b1.58 backbone in training: fp32 master weights, ternary weights and int8 activations in
// the forward pass with the engine's numerics, straight-through gradients. Knows nothing of files,
// schedules or optimisers: parameters and gradients are flat buffers that the training loop owns
// the use of.
#ifndef TERN_TRAINER_BACKBONE_H_
#define TERN_TRAINER_BACKBONE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/config.h"
#include "kernels/aligned_buffer.h"

namespace tern {

// One named tensor of the flat parameter buffer; names are Hugging Face's
// ("model.layers.0.self_attn.q_proj.weight").
struct ParameterSlice {
  std::string name;
  size_t offset = 0;          // in floats; 16-float aligned
  size_t rows = 0, cols = 0;  // cols = 1 for vectors (norm gains)
  int32_t layer = -1;
  bool ternary = false;  // quantised in the forward pass
  bool decays = false;   // weight decay applies (matrices; not norm gains)
  size_t size() const { return rows * cols; }
};

struct BackboneOptions {
  int32_t batch = 8;       // sequences per micro-batch
  int32_t sequence = 512;  // tokens per sequence
  bool recompute = false;  // activation checkpointing: keep layer inputs only, recompute the rest
  bool bfloat16 = true;    // bf16 GEMM inputs where the CPU has them; false forces fp32
};

// What the quantisation does to one layer, for the training log.
struct LayerQuantisation {
  float activation_error =
      0;  // relative RMS error of int8 activations, over the layer's linear inputs, last forward
  float zero_share = 0;  // share of ternary weights that are 0
};

class Backbone {
 public:
  Backbone(const ModelConfig& config, const BackboneOptions& options);
  ~Backbone();

  const ModelConfig& config() const;
  const std::vector<ParameterSlice>& slices() const;
  std::span<float> parameters();  // all masters, flat
  std::span<const float> parameters() const;
  std::span<float> gradients();  // same layout
  // Bytes of activations and buffers, without parameters, gradients and optimiser state.
  size_t workspace_bytes() const;

  // Normal(0, std) matrices (std 0.02, output projections scaled by 1/sqrt(2L)), gains 1.
  // Deterministic in seed.
  void Initialise(uint64_t seed);

  // Call after parameters changed: re-ternarises and re-rounds what the forward pass reads.
  void RefreshWeights();

  // Mean next-token cross-entropy (nats) over tokens [batch, sequence + 1] (row b predicts
  // tokens[b][1..] from tokens[b][..sequence-1]), and adds its gradient times `scale` to
  // gradients().
  double ForwardBackward(std::span<const int32_t> tokens, float scale);
  // The loss alone.
  double Loss(std::span<const int32_t> tokens);
  // Logits [batch * sequence, V] of the last Loss/ForwardBackward input: for tests against the
  // engine and the reference. Recomputed on demand.
  void Logits(std::span<const int32_t> tokens, std::span<float> logits);

  std::vector<LayerQuantisation> QuantisationStats() const;
  // Ternary codes (-1, 0, 1) of every ternary weight in slice order, in force since RefreshWeights:
  // the loop compares two of these for the share of flipped weights.
  std::span<const int8_t> TernaryCodes() const;
  // Scale of every slice's codes (1 for slices that are not ternary), a bf16 value: what the packed
  // file stores.
  std::span<const float> WeightScales() const;
  // Multiply-accumulates of one ForwardBackward's GEMMs (with recomputation if on): for the share
  // of peak.
  double GemmMacsPerStep() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Writes `dir` as Hugging Face BitNetForCausalLM: config.json, model.safetensors packed
// (weight_scale multiplies, linear_class autobitlinear, offline), and `dir`/masters with bf16
// masters (online) for --init. Tokenizer files are the caller's. Atomic per file.
void ExportBackbone(const Backbone& backbone, const std::string& dir);
// Loads masters (bf16, fp16 or fp32 safetensors, online) into `backbone`; throws on any mismatch.
void ImportMasters(const std::string& dir, Backbone& backbone);

}  // namespace tern

#endif  // TERN_TRAINER_BACKBONE_H_
