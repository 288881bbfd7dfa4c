// Cross-entropy of draft heads' outputs H [rows, d] under the frozen vocabulary projection T [V,
// d], over the whole vocabulary or, in training, over a part of it that changes with every batch.
//
// The part: a shortlist S of the most frequent tokens, always, and N of the R = V - |S| others,
// drawn evenly without replacement, the same for all rows of a batch. A row's normaliser is
// estimated by
//
//   Z = sum_S e^l + sum_X e^l + (R - |X|) / (N - |X in the sample|) * sum_{sample without X} e^l
//
// where X are the row's own targets outside S, which get exact logits. Z's expectation is the whole
// sum; gradients are those of log Z - l(target) as computed. So the factor joins the sampled logits
// as a logarithm (the correction of Bengio and Senecal 2008, "Adaptive importance sampling", for an
// even proposal).
#ifndef TERN_TRAINER_VOCABULARY_LOSS_H_
#define TERN_TRAINER_VOCABULARY_LOSS_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/aligned_buffer.h"
#include "kernels/bfloat16.h"
#include "kernels/mat_view.h"

namespace tern {

// Which part; the whole vocabulary where shortlist + samples reach it, or samples is 0.
struct VocabularyPart {
  std::vector<int32_t> order;  // tokens, the most frequent first; those left out come behind
  size_t shortlist = 0, samples = 0;
  bool Whole(size_t vocab) const { return samples == 0 || shortlist + samples >= vocab; }
};

struct LossTargets {
  std::span<const int32_t> tokens;     // [rows]; -1: the row counts nothing
  std::span<const float> grad_scales;  // [heads]: row r has that of r % heads
};

// E: element type of the GEMMs' inputs, BFloat16 or float.
template <class E>
class VocabularyLoss {
 public:
  // `table` [V, d] outlives the loss. For outputs of up to `rows` rows.
  VocabularyLoss(MatView<const BFloat16> table, size_t rows, const VocabularyPart& part);

  // Losses and ranks over the whole vocabulary.
  void Evaluate(MatView<const E> outputs, const LossTargets& targets);
  // Losses, and the gradient with respect to `outputs`, [rows, d], over the part that `seed` draws.
  void Gradient(MatView<const E> outputs, const LossTargets& targets, uint64_t seed,
                MatView<float> output_grad);

  // Of the last call: nats, 0 for rows that count nothing.
  std::span<const float> losses() const { return losses_; }
  // Of the last call: how many of the tokens looked at have a higher logit than the target.
  std::span<const uint32_t> ranks() const { return ranks_; }
  // Columns of logits in training: V, or |S| + N.
  size_t columns() const { return columns_; }

 private:
  void Draw(uint64_t seed);
  // With `output_grad`, over the part; else over the whole vocabulary.
  void Run(MatView<const E> outputs, const LossTargets& targets, MatView<float>* output_grad);
  // One row's loss, rank and gradient by logits; logits [columns + 1] where a part is used.
  void RunRow(size_t row, const E* output, const LossTargets& targets, bool part, float* logits,
              E* grad);
  void Restrict(const E* output, int32_t target, float* logits) const;
  void AddOwnColumn(int32_t target, float grad, float* output_grad) const;

  const size_t vocab_, d_;
  const size_t shortlist_, samples_, columns_;
  const bool whole_;
  const size_t elements_;         // of logits at a time
  AlignedBuffer<E> widened_;      // the table, where E is float
  MatView<const E> table_;        // [V, d]
  std::vector<int32_t> order_;    // [V]
  std::vector<int32_t> column_;   // [V] of a token in the part; -1: not there
  AlignedBuffer<E> gathered_;     // [columns, d]
  AlignedBuffer<float> logits_;   // [rows at a time, columns or columns + 1 rounded up]
  AlignedBuffer<E> logits_grad_;  // as logits_
  std::vector<float> losses_;
  std::vector<uint32_t> ranks_;
};

}  // namespace tern

#endif  // TERN_TRAINER_VOCABULARY_LOSS_H_
