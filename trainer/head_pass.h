// Forward and backward of K Medusa heads of L residual blocks over one batch of hidden states
// x [B, d]. E is the element type that the GEMMs are fed: BFloat16 where the CPU multiplies it in
// hardware, else float.
//
//   X_1 = x for every head; of block l = 1..L, W [K d, d] stacked:
//   Z = X_l W^T                  [B, K d]   block 1: all heads in one GEMM, plus E R^T where heads
//                                           see the root, E [B, d] (engine/root_weights.h); behind
//                                           it one per head
//   X_(l+1) = X_l + SiLU(Z + b)  [B K, d]   the same memory order: row b K + k
//   logits = X_(L+1) T^T         [B K, V]   T [V, d]: the backbone's output embedding, frozen, or
//                                           T_k of each head's own, trained: dT_k = dlogits^T
//                                           X_(L+1)
//   loss = sum_k weight_k * mean over the rows that have a target of CE(logits, target)
//   dZ = dX_(l+1) SiLU'(Z + b),  dW = dZ^T X_l,  db = column sums of dZ,  dX_l = dX_(l+1) + dZ W,
//   dR = dZ^T E of block 1
//
// vocabulary_loss.h has the part of the vocabulary that training looks at.
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
#include "trainer/vocabulary_loss.h"

namespace tern {

struct HeadPassOptions {
  size_t heads = 1, layers = 1, batch = 1;
  bool bfloat16 = true;           // bf16 GEMMs where the CPU has them, else fp32
  bool own_vocabularies = false;  // every head has its own T
  bool sees_root = false;
  VocabularyPart part;  // that gradients look at; default: the whole vocabulary
};

struct HeadBatch {
  MatView<const BFloat16> hidden;    // [B, d]
  MatView<const BFloat16> roots;     // [B, d] E; not read where heads do not see the root
  std::span<const int32_t> targets;  // [B, K]; -1: the text ends before
  uint64_t seed = 0;                 // draws the part of the vocabulary
  // For gradients, as in LossTargets, with rows b K + k.
  MatView<const int32_t> teacher_ids = {};
  MatView<const float> teacher_probs = {};
  float teacher_weight = 0;
};

// Of one head, over the rows that have a target.
struct HeadSums {
  static constexpr uint32_t kTop = 5;
  uint64_t rows = 0;
  double loss = 0;    // nats
  uint64_t hits = 0;  // rows where no token looked at has a higher logit than the target
  uint64_t top = 0;   // rows where fewer than kTop have
};

struct HeadGradients {
  MatView<float> weights;            // [L K d, d]
  std::span<float> biases;           // [L K d]
  MatView<float> root_weights = {};  // [K d, d] R, where heads see the root
  MatView<float> vocabularies = {};  // [K V, d] with HeadPassOptions::own_vocabularies
};

class HeadPass {
 public:
  virtual ~HeadPass() = default;
  // Takes over weights [L K d, d] and biases [L K d]; with bf16 GEMMs rounded to bf16, as heads
  // files store them.
  virtual void SetWeights(MatView<const float> weights, std::span<const float> biases) = 0;
  // Takes over R [K d, d], likewise. REQUIRES sees_root.
  virtual void SetRootWeights(MatView<const float> weights) = 0;
  // Takes over the heads' own T, [K V, d], likewise. REQUIRES own_vocabularies.
  virtual void SetVocabularies(MatView<const float> tables) = 0;
  // Adds to `sums` [K]. Where `gradients` is given, adds the loss's gradient times `scale`; the
  // loss is then that over the part of the vocabulary.
  virtual double Run(const HeadBatch& batch, std::span<const float> head_weights, float scale,
                     HeadGradients* gradients, std::span<HeadSums> sums) = 0;
  // X_(L+1) of the last Run, [B K, d].
  virtual void Outputs(MatView<float> out) const = 0;
  // Of the last Run, [B, K], as in VocabularyLoss.
  virtual std::span<const float> losses() const = 0;
  virtual std::span<const uint32_t> ranks() const = 0;
  // Multiply-accumulates of GEMMs in a Run with gradients.
  virtual double GemmMacs() const = 0;
};

// `table` [V, d], T, outlives the pass; with own_vocabularies it says only V and d.
std::unique_ptr<HeadPass> MakeHeadPass(MatView<const BFloat16> table,
                                       const HeadPassOptions& options);

template <class E>
class TypedHeadPass final : public HeadPass {
 public:
  TypedHeadPass(MatView<const BFloat16> table, const HeadPassOptions& options);
  void SetWeights(MatView<const float> weights, std::span<const float> biases) override;
  void SetRootWeights(MatView<const float> weights) override;
  void SetVocabularies(MatView<const float> tables) override;
  double Run(const HeadBatch& batch, std::span<const float> head_weights, float scale,
             HeadGradients* gradients, std::span<HeadSums> sums) override;
  void Outputs(MatView<float> out) const override;
  std::span<const float> losses() const override { return losses_; }
  std::span<const uint32_t> ranks() const override { return ranks_; }
  double GemmMacs() const override;

 private:
  struct Block {
    AlignedBuffer<E> weights;       // [K d, d]
    AlignedBuffer<float> biases;    // [K d]
    AlignedBuffer<float> products;  // [B, K d] = Z
    AlignedBuffer<E> outputs;       // [B K, d]
  };
  void Forward(const HeadBatch& batch);
  // Losses and ranks, and with `gradients` output_grad_ and those of own vocabularies.
  void Loss(const HeadBatch& batch, HeadGradients* gradients);
  void OwnLoss(const HeadBatch& batch, size_t head, HeadGradients* gradients);
  void Backward(HeadGradients& gradients);
  void BackwardBlock(size_t layer, MatView<float> weights, std::span<float> biases);
  // Rows of one head, [B, d], of a matrix [B, K d].
  template <class T>
  MatView<T> OfHead(T* data, size_t head) const {
    return {data + head * d_, batch_, d_, heads_ * d_};
  }

  const size_t heads_, d_, batch_, vocab_;
  const bool own_;
  std::vector<Block> blocks_;  // L
  AlignedBuffer<E> hidden_;    // [B, d]
  AlignedBuffer<E> roots_;     // [B, d], and R [K d, d]; empty where heads do not see the root
  AlignedBuffer<E> root_weights_;
  AlignedBuffer<E> tables_;  // [K V, d] own ones, or T where E is float; else empty
  std::vector<std::unique_ptr<VocabularyLoss<E>>> loss_;  // of all heads, or of each its own
  std::vector<float> losses_;                             // [B, K]
  std::vector<uint32_t> ranks_;                           // [B, K]
  std::vector<int32_t> own_targets_;                      // [B] of one head
  AlignedBuffer<float> output_grad_;                      // [B K, d]
  AlignedBuffer<E> products_grad_;                        // [B, K d]
  std::vector<float> grad_scales_;                        // [K] of each head's rows
};

}  // namespace tern

#endif  // TERN_TRAINER_HEAD_PASS_H_
