// Forward and backward of K Medusa heads over one batch of hidden states x [B, d]. E is the element
// type that the GEMMs are fed: BFloat16 where the CPU multiplies it in hardware, else float.
//
//   Z = x W^T                    [B, K d]   all heads in one GEMM, W stacked [K d, d]
//   H = x + SiLU(Z + b)          [B K, d]   the same memory order: row b K + k
//   logits = H T^T               [B K, V]   T [V, d]: the backbone's output embedding, frozen
//   loss = sum_k weight_k * mean over the rows that have a target of CE(logits, target)
//   dH = dlogits T,  dZ = dH SiLU'(Z + b),  dW = dZ^T x,  db = column sums of dZ
#ifndef TERN_TRAINER_HEAD_PASS_H_
#define TERN_TRAINER_HEAD_PASS_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "kernels/aligned_buffer.h"
#include "kernels/bfloat16.h"
#include "kernels/mat_view.h"

namespace tern {

struct HeadBatch {
  MatView<const BFloat16> hidden;    // [B, d]
  std::span<const int32_t> targets;  // [B, K]; -1: the text ends before
};

// Of one head, over the rows that have a target.
struct HeadSums {
  uint64_t rows = 0;
  double loss = 0;    // nats
  uint64_t hits = 0;  // rows where no token has a higher logit than the target
};

struct HeadGradients {
  MatView<float> weights;   // [K d, d]
  std::span<float> biases;  // [K d]
};

class HeadPass {
 public:
  virtual ~HeadPass() = default;
  // Takes over weights [K d, d] and biases [K d]; with bf16 GEMMs rounded to bf16, as heads files
  // store them.
  virtual void SetWeights(MatView<const float> weights, std::span<const float> biases) = 0;
  // Adds to `sums` [K]. Where `gradients` is given, adds the loss's gradient times `scale`.
  virtual double Run(const HeadBatch& batch, std::span<const float> head_weights, float scale,
                     HeadGradients* gradients, std::span<HeadSums> sums) = 0;
  // H of the last Run, [B K, d].
  virtual void Outputs(MatView<float> out) const = 0;
};

// For batches of `batch` rows. `table` [V, d] outlives the pass. bf16 GEMMs where `bfloat16` asks
// for them and the CPU has them, else fp32.
std::unique_ptr<HeadPass> MakeHeadPass(MatView<const BFloat16> table, size_t heads, size_t batch,
                                       bool bfloat16);

template <class E>
class TypedHeadPass final : public HeadPass {
 public:
  TypedHeadPass(MatView<const BFloat16> table, size_t heads, size_t batch);
  void SetWeights(MatView<const float> weights, std::span<const float> biases) override;
  double Run(const HeadBatch& batch, std::span<const float> head_weights, float scale,
             HeadGradients* gradients, std::span<HeadSums> sums) override;
  void Outputs(MatView<float> out) const override;

 private:
  void Forward(const HeadBatch& batch);
  // Fills losses_ and hits_ and, with `backward`, output_grad_.
  void Loss(std::span<const int32_t> targets, bool backward);
  void Backward(HeadGradients& gradients);

  const size_t heads_, d_, vocab_, batch_;
  const size_t loss_rows_;  // rows of H whose logits exist at a time
  AlignedBuffer<E> widened_;
  MatView<const E> table_;            // [V, d]
  AlignedBuffer<E> weights_;          // [K d, d]
  AlignedBuffer<float> biases_;       // [K d]
  AlignedBuffer<E> hidden_;           // [B, d]
  AlignedBuffer<float> products_;     // [B, K d] = Z
  AlignedBuffer<E> outputs_;          // [B K, d] = H
  AlignedBuffer<float> logits_;       // [loss_rows, V]
  AlignedBuffer<E> logits_grad_;      // [loss_rows, V]
  AlignedBuffer<float> output_grad_;  // [B K, d]
  AlignedBuffer<E> products_grad_;    // [B, K d]
  std::vector<float> losses_;         // [B K]
  std::vector<uint8_t> hits_;         // [B K]
  std::vector<float> grad_scales_;    // [K] of each head's rows
};

}  // namespace tern

#endif  // TERN_TRAINER_HEAD_PASS_H_
