// What one backbone in training consists of: masters, gradients, and what RefreshWeights derives
// from the masters. Plain data; trainer/backbone.cc owns it and trainer/training_pass.h computes on
// it.
#ifndef TERN_TRAINER_BACKBONE_STATE_H_
#define TERN_TRAINER_BACKBONE_STATE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/aligned_buffer.h"
#include "trainer/backbone.h"

namespace tern {

// Indices into BackboneState::slices.
struct LayerSlices {
  size_t q, k, v, o, gate, up, down;
  size_t input_layernorm, attn_sub_norm, post_attention_layernorm, ffn_sub_norm;
};

struct BackboneState {
  BackboneState(const ModelConfig& config, const BackboneOptions& options);

  ModelConfig config;
  BackboneOptions options;
  std::vector<ParameterSlice> slices;
  std::vector<LayerSlices> layers;  // [L]
  size_t embedding = 0, norm = 0;   // slices
  AlignedBuffer<float> parameters, gradients;

  AlignedBuffer<int8_t> codes;       // ternary weights, slice after slice
  std::vector<size_t> code_offsets;  // [slices], where a ternary slice's codes begin
  std::vector<float> weight_scales;  // [slices], bf16 values: what the packed file stores
  std::vector<LayerQuantisation> quantisation;  // [L]

  AlignedBuffer<float> gains;        // of all norms as bf16 values, what the files store
  std::vector<size_t> gain_offsets;  // [slices], where a norm's gain begins

  // Derives codes, weight_scales and gains from the masters.
  void Quantise();

  MatView<float> Parameter(size_t slice) { return View(parameters, slice); }
  MatView<float> Gradient(size_t slice) { return View(gradients, slice); }
  MatView<const int8_t> Codes(size_t slice) const {
    return {codes.data() + code_offsets[slice], slices[slice].rows, slices[slice].cols};
  }
  std::span<const float> Gain(size_t slice) const {
    return {gains.data() + gain_offsets[slice], slices[slice].size()};
  }

 private:
  MatView<float> View(AlignedBuffer<float>& buffer, size_t slice) {
    return {buffer.data() + slices[slice].offset, slices[slice].rows, slices[slice].cols};
  }
};

}  // namespace tern

#endif  // TERN_TRAINER_BACKBONE_STATE_H_
