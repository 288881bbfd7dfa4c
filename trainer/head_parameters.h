// What is trained of draft heads, and the weights that it stands for; root weights are always
// plain.
//
//   plain     W itself
//   low rank  W = A B of every head and block, A [d, r], B [r, d]
//   ternary   W = s * clamp(round(M / s), -1, 1) of every head and block, s = mean |M| rounded to
//             bf16, M [d, d]; gradients pass straight through to M
#ifndef TERN_TRAINER_HEAD_PARAMETERS_H_
#define TERN_TRAINER_HEAD_PARAMETERS_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/aligned_buffer.h"
#include "kernels/mat_view.h"
#include "trainer/backbone.h"
#include "trainer/head_pass.h"

namespace tern {

struct HeadShape {
  size_t heads = 1, layers = 1, d = 1;
  size_t rank = 0;  // 0: not of low rank
  bool ternary = false;
  bool sees_root = false;
  size_t vocabulary = 0;  // V of the heads' own projections; 0: they share the model's
  size_t outputs() const { return layers * heads * d; }
};

// As HeadPass takes them.
struct HeadWeights {
  MatView<const float> weights;            // [L K d, d]
  std::span<const float> biases;           // [L K d]
  MatView<const float> root_weights = {};  // [K d, d] where heads see the root
  MatView<const float> vocabularies = {};  // [K V, d] the heads' own, if any
};
void SetWeights(const HeadWeights& weights, HeadPass& pass);

class HeadParameters {
 public:
  // REQUIRES not both low rank and ternary.
  explicit HeadParameters(const HeadShape& shape);
  const std::vector<ParameterSlice>& slices() const { return slices_; }
  size_t size() const { return size_; }  // floats
  const ParameterSlice& biases() const { return slices_[shape_.rank > 0 ? 2 : 1]; }
  // Of heads that see the root only.
  const ParameterSlice& root_weights() const { return slices_[shape_.rank > 0 ? 3 : 2]; }
  // Of own projections only.
  const ParameterSlice& vocabularies() const { return slices_.back(); }

  // All weights and biases 0, so that every head returns its input; of low rank A is 0 and B
  // random. Own projections begin as `table` [V, d].
  void Initialise(uint64_t seed, MatView<const BFloat16> table, std::span<float> parameters) const;
  // Valid until the next call, and while `parameters` live.
  HeadWeights Weights(std::span<const float> parameters);
  // Where a pass adds its gradients; Accumulate then brings them into `gradients`.
  HeadGradients Gradients(std::span<float> gradients);
  void Accumulate(std::span<const float> parameters, std::span<float> gradients);

 private:
  HeadShape shape_;
  // Weights, or A and B; biases; root weights; own projections.
  std::vector<ParameterSlice> slices_;
  size_t size_ = 0;
  AlignedBuffer<float> weights_;           // [L K d, d], where they are not the parameters
  AlignedBuffer<float> weights_gradient_;  // the same, of low rank
};

}  // namespace tern

#endif  // TERN_TRAINER_HEAD_PARAMETERS_H_
