// Forward and backward of a backbone in training over one micro-batch.
//
// Ternary linears run forward through the engine's own kernel (TernaryMatmul), so what is trained
// is what the engine computes, bit for bit. Attention, the loss and everything backward are dense
// GEMMs; E is the element type that they are fed: BFloat16 where the CPU multiplies it in hardware,
// else float. Backward runs through both quantisers as if they were the identity
// (straight-through). With g = dY * row_scale * weight_scale, rounded once, and integer codes and
// ternary T, exact in E:
//   dX = (g T) / row_scale      dW = (g^T codes) / weight_scale
#ifndef TERN_TRAINER_TRAINING_PASS_H_
#define TERN_TRAINER_TRAINING_PASS_H_

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "kernels/aligned_buffer.h"
#include "kernels/quantize.h"
#include "kernels/rope.h"
#include "kernels/ternary_pack.h"
#include "kernels/training_rows.h"
#include "trainer/backbone_state.h"

namespace tern {

class TrainingPass {
 public:
  virtual ~TrainingPass() = default;
  // Derives the GEMM operands from state's codes and embedding.
  virtual void RefreshWeights() = 0;
  // tokens [batch, sequence + 1]. Returns the mean loss; with `backward`, adds the gradient times
  // `scale`.
  virtual double Run(std::span<const int32_t> tokens, float scale, bool backward) = 0;
  // Logits [batch * sequence, V] of the same input.
  virtual void Logits(std::span<const int32_t> tokens, std::span<float> logits) = 0;
  virtual size_t bytes() const = 0;
};

// bf16 GEMMs where options ask for them and the CPU has them, else fp32.
std::unique_ptr<TrainingPass> MakeTrainingPass(BackboneState& state);

// The sizes a pass works with.
struct PassSizes {
  explicit PassSizes(const BackboneState& state);
  size_t batch, sequence, rows;  // rows = batch * sequence
  size_t d, f, heads, kv_heads, head_dim, kv_width, qkv_width, vocab, layers;
  size_t loss_rows;  // rows whose logits exist at a time
};

// Int8 rows that a ternary linear reads, kept for its gradient.
struct QuantisedInput {
  AlignedBuffer<int8_t> codes;  // [n, PadK(width)]
  AlignedBuffer<float> scales;  // [n], value of one unit
  AlignedBuffer<int32_t> sums;  // [n]
  size_t width = 0;
  QuantizedRows Rows(size_t begin, size_t count) {
    const size_t stride = PadK(width);
    return {{codes.data() + begin * stride, count, stride},
            {&scales[begin], count},
            {&sums[begin], count}};
  }
};

// What the backward pass of one layer reads.
template <class E>
struct LayerActivations {
  QuantisedInput attention_in;     // [N, d]
  AlignedBuffer<E> q, k, v;        // [N, d], [N, kv_width]; q and k rotated
  AlignedBuffer<float> log_sums;   // [batch, heads, sequence]
  AlignedBuffer<float> attention;  // [N, d] before attn_sub_norm
  QuantisedInput o_in;             // [N, d]
  AlignedBuffer<float> middle;     // [N, d] residual stream between the blocks
  QuantisedInput ffn_in;           // [N, d]
  AlignedBuffer<float> gate_up;    // [N, 2f]
  QuantisedInput down_in;          // [N, f]
};

// The ternary weights of one layer: packed for the forward pass; as E for dX, where projections
// that read the same input are stacked.
template <class E>
struct LayerOperands {
  TernaryMatrix q, k, v, o, gate, up, down;
  AlignedBuffer<E> qkv, o_grad, gate_up, down_grad;  // [qkv_width, d], [d, d], [2f, d], [d, f]
};

template <class E>
class TypedTrainingPass final : public TrainingPass {
 public:
  explicit TypedTrainingPass(BackboneState& state);
  void RefreshWeights() override;
  double Run(std::span<const int32_t> tokens, float scale, bool backward) override;
  void Logits(std::span<const int32_t> tokens, std::span<float> logits) override;
  size_t bytes() const override { return bytes_; }

 private:
  LayerActivations<E>& Activations(size_t layer) {
    return activations_[state_.options.recompute ? 0 : layer];
  }
  template <class T>
  AlignedBuffer<T> Allocate(size_t count);
  void AllocateLayer(LayerActivations<E>& a);
  void CheckTokens(std::span<const int32_t> tokens) const;

  // Forward (training_forward.cc). The stream of layer l is stream_[l]; its result goes to
  // stream_[l + 1].
  void Forward(std::span<const int32_t> tokens);
  void Embed(std::span<const int32_t> tokens);
  void ForwardLayer(size_t layer);
  void ProjectHeads(size_t layer, size_t begin, size_t count);
  void SplitHeads(LayerActivations<E>& a, size_t begin, MatView<float> qkv);
  void Attend(LayerActivations<E>& a);
  void FinishLayer(size_t layer, size_t begin, size_t count);
  void NormQuantise(MatView<const float> x, size_t gain, QuantisedInput& out, size_t layer,
                    size_t begin);
  void FinalNorm();
  double LossAndGradient(std::span<const int32_t> tokens, float scale, bool backward);

  // Backward (training_backward.cc). stream_grad_ holds the gradient of the residual stream
  // throughout.
  void BackwardLayer(size_t layer);
  void BackwardFfn(size_t layer);
  void BackwardAttention(size_t layer);
  void AttentionGrad(LayerActivations<E>& a);
  void EmbeddingGrad(std::span<const int32_t> tokens);
  void RoundStreamGrad(const QuantisedInput& input, float weight_scale);
  // input_grad_ = product_grad_ T, and the masters' gradients of the stacked `slices`.
  void BackwardLinear(const AlignedBuffer<E>& weights, const QuantisedInput& input,
                      std::span<const size_t> slices);
  // Norm whose output was quantised as `input`: from input_grad_ to dx.
  void NormGrad(const AlignedBuffer<float>& x, size_t gain, const QuantisedInput& input,
                bool accumulate, AlignedBuffer<float>& dx);
  void AddGainPartials(size_t gain);

  BackboneState& state_;
  const PassSizes sizes_;
  RopeTable rope_;
  size_t bytes_ = 0;
  std::vector<LayerOperands<E>> operands_;        // [L]
  AlignedBuffer<E> embedding_;                    // [V, d], bf16 values
  std::vector<LayerActivations<E>> activations_;  // [L], or one where recomputing
  std::vector<AlignedBuffer<float>> stream_;      // [L + 1] of [N, d]
  AlignedBuffer<E> hidden_;                       // [N, d]
  AlignedBuffer<float> logits_;                   // [loss_rows, V]
  AlignedBuffer<E> logits_grad_;                  // [loss_rows, V]
  AlignedBuffer<float> losses_;                   // [N]
  std::vector<ErrorSums> error_sums_;             // [L * row chunks]

  AlignedBuffer<float> stream_grad_;         // [N, d]
  AlignedBuffer<float> qkv_grad_;            // [N, qkv_width]
  AlignedBuffer<E> codes_;                   // [N, max(d, f)] an input's codes, widened
  AlignedBuffer<E> product_grad_;            // [N, max(2f, qkv_width)], g of the formulas above
  AlignedBuffer<float> input_grad_;          // [N, max(d, f)]
  AlignedBuffer<float> attention_grad_;      // [N, d]
  AlignedBuffer<E> attention_grad_rounded_;  // [N, d]
  AlignedBuffer<float> weight_grad_;         // [largest stacked matrix]
  AlignedBuffer<float> gain_partials_;       // [gain blocks, max(d, f)]
};

// Rows that go through a whole block of a layer at a time, so that what lies between its steps
// stays in the L2 cache: 64 rows of the default model's widest step take 64 * 1536 * 4 bytes = 384
// KiB.
inline constexpr size_t kRowChunk = 64;
// Rows of a linear's gradient at a time: both its GEMMs read them while they are in the cache.
inline constexpr size_t kGradRows = 512;
// Rows whose gain gradients are summed before they are combined in block order: sums do not depend
// on the thread count.
inline constexpr size_t kGainBlock = 128;

// Row scratch of the calling thread, grown on demand.
struct RowScratch {
  AlignedBuffer<float> first, second;
  static RowScratch& Get(size_t first_floats, size_t second_floats);
};

}  // namespace tern

#endif  // TERN_TRAINER_TRAINING_PASS_H_
