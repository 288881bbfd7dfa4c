// Forward and backward of a backbone in training over one micro-batch. E is the element type that
// the GEMMs are fed: BFloat16 where the CPU multiplies it in hardware, else float.
//
// Every GEMM of a ternary linear is fed integer codes; the row's and the matrix's scale come
// afterwards, so the result has the engine's bits. Backward runs through both quantisers as if they
// were the identity (straight-through). With g = dY * row_scale * weight_scale, rounded once:
//   dX = (g T) / row_scale      dW = (g^T codes) / weight_scale
#ifndef TERN_TRAINER_TRAINING_PASS_H_
#define TERN_TRAINER_TRAINING_PASS_H_

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "kernels/aligned_buffer.h"
#include "kernels/rope.h"
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

// Int8 codes of n rows as GEMM input, with the value of one unit.
template <class E>
struct QuantisedInput {
  AlignedBuffer<E> codes;       // [n, width]
  AlignedBuffer<float> scales;  // [n]
};

// What the backward pass of one layer reads.
template <class E>
struct LayerActivations {
  QuantisedInput<E> attention_in;  // [N, d]
  AlignedBuffer<E> q, k, v;        // [N, d], [N, kv_width]; q and k rotated
  AlignedBuffer<float> log_sums;   // [batch, heads, sequence]
  AlignedBuffer<float> attention;  // [N, d] before attn_sub_norm
  QuantisedInput<E> o_in;          // [N, d]
  AlignedBuffer<float> middle;     // [N, d] residual stream between the blocks
  QuantisedInput<E> ffn_in;        // [N, d]
  AlignedBuffer<float> gate_up;    // [N, 2f] integer products; scales not yet applied
  QuantisedInput<E> down_in;       // [N, f]
};

// Ternary weights as GEMM operands; projections that read the same input are stacked.
template <class E>
struct LayerOperands {
  AlignedBuffer<E> qkv, o, gate_up, down;  // [qkv_width, d], [d, d], [2f, d], [d, f]
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
  using Input = QuantisedInput<E>;
  LayerActivations<E>& Activations(size_t layer) {
    return activations_[state_.options.recompute ? 0 : layer];
  }
  template <class T>
  AlignedBuffer<T> Allocate(size_t count);
  void AllocateLayer(LayerActivations<E>& a);
  void CheckTokens(std::span<const int32_t> tokens) const;

  // Forward (training_forward.cc). The stream of layer l is stream_[l]; its result goes to
  // stream_[l + 1].
  void Embed(std::span<const int32_t> tokens);
  void ForwardLayer(size_t layer);
  void FinalNorm();
  double LossAndGradient(std::span<const int32_t> tokens, float scale, bool backward);
  void SplitHeads(size_t layer);
  void Attend(LayerActivations<E>& a);
  void GateAndQuantise(size_t layer);
  void NormQuantise(const AlignedBuffer<float>& x, size_t gain, Input& out, size_t layer);
  void AddToStream(const AlignedBuffer<float>& x, const Input& input, float weight_scale,
                   AlignedBuffer<float>& out);
  void Project(const Input& input, const AlignedBuffer<E>& weights, size_t outputs, size_t inputs,
               AlignedBuffer<float>& out);

  // Backward (training_backward.cc). stream_grad_ holds the gradient of the residual stream
  // throughout.
  void BackwardLayer(size_t layer);
  void BackwardFfn(size_t layer);
  void BackwardAttention(size_t layer);
  void AttentionGrad(LayerActivations<E>& a);
  void EmbeddingGrad(std::span<const int32_t> tokens);
  void RoundStreamGrad(const Input& input, float weight_scale);
  // input_grad_ = product_grad_ T, and the masters' gradients of the stacked `slices`.
  void BackwardLinear(const AlignedBuffer<E>& weights, const Input& input,
                      std::span<const size_t> slices);
  // Norm whose output was quantised as `input`: from input_grad_ to dx.
  void NormGrad(const AlignedBuffer<float>& x, size_t gain, const Input& input, bool accumulate,
                AlignedBuffer<float>& dx);
  void AddGainPartials(size_t gain);

  BackboneState& state_;
  const PassSizes sizes_;
  RopeTable rope_;
  size_t bytes_ = 0;
  std::vector<LayerOperands<E>> operands_;        // [L]
  AlignedBuffer<E> embedding_;                    // [V, d], bf16 values
  std::vector<LayerActivations<E>> activations_;  // [L], or one where recomputing
  std::vector<AlignedBuffer<float>> stream_;      // [L + 1] of [N, d]
  AlignedBuffer<float> product_;                  // [N, qkv_width] GEMM results to be scaled
  AlignedBuffer<E> hidden_;                       // [N, d]
  AlignedBuffer<float> logits_;                   // [loss_rows, V]
  AlignedBuffer<E> logits_grad_;                  // [loss_rows, V]
  AlignedBuffer<float> losses_;                   // [N]
  std::vector<ErrorSums> error_sums_;             // [L * row blocks]

  AlignedBuffer<float> stream_grad_;         // [N, d]
  AlignedBuffer<E> product_grad_;            // [N, max(2f, qkv_width)], g of the formulas above
  AlignedBuffer<float> input_grad_;          // [N, max(d, f)]
  AlignedBuffer<float> attention_grad_;      // [N, d]
  AlignedBuffer<E> attention_grad_rounded_;  // [N, d]
  AlignedBuffer<float> weight_grad_;         // [largest stacked matrix]
  AlignedBuffer<float> gain_partials_;       // [gain blocks, max(d, f)]
};

// Rows that one call of a row kernel handles, and whose gain gradients are summed before they are
// combined in block order: sums do not depend on the thread count.
inline constexpr size_t kRowBlock = 16;
inline constexpr size_t kGainBlock = 128;

// Row scratch of the calling thread, grown on demand.
struct RowScratch {
  AlignedBuffer<float> values, more;  // at least `floats` each
  AlignedBuffer<int8_t> codes;
  AlignedBuffer<int32_t> sums;
  static RowScratch& Get(size_t floats);
};

}  // namespace tern

#endif  // TERN_TRAINER_TRAINING_PASS_H_
