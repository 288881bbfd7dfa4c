// Cross-entropy of draft heads' outputs H [rows, d] under the vocabulary projection T [V, d],
// frozen or trained, over the whole vocabulary or, in training, over a part of it that changes with
// every batch.
//
// The part: a shortlist S of the most frequent tokens, always, and N of the R = V - |S| others,
// drawn evenly without replacement, the same for all rows of a batch. A row's normaliser is
// estimated by
//
//   Z = sum_S e^l + sum_X e^l + (R - |X|) / (N - |X in the sample|) * sum_{sample without X} e^l
//
// where X are the row's own targets outside S, which get exact logits: the token that came and,
// with a teacher, its most probable ones. Z's expectation is the whole
// sum; gradients are those of log Z - l(target) as computed. So the factor joins the sampled logits
// as a logarithm (the correction of Bengio and Senecal 2008, "Adaptive importance sampling", for an
// even proposal). A sample that is nothing but X says nothing of the others: N is to be larger.
//
// With a teacher's probabilities p of its T most probable tokens, which are made to add up to 1,
// and its weight w, a row's loss is
//
//   (1 - w) (log Z - l(target)) + w sum_i p_i (log p_i - (l_i - log Z))
//
// cross-entropy and the Kullback-Leibler divergence of the teacher from the head; the gradient by
// the logits is softmax - (1 - w) [target] - w p.
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
  size_t teacher = 0;  // T, tokens of a teacher that a row of targets may have
  bool Whole(size_t vocab) const { return samples == 0 || shortlist + samples >= vocab; }
};

struct LossTargets {
  std::span<const int32_t> tokens;     // [rows]; -1: the row counts nothing
  std::span<const float> grad_scales;  // [heads]: row r has that of r % heads
  // [rows, T], distinct tokens; those of probability 0 count nothing, a row of zeros has no
  // teacher.
  MatView<const int32_t> teacher_ids = {};
  MatView<const float> teacher_probs = {};
  float teacher_weight = 0;  // w; 0: there is no teacher
};

// E: element type of the GEMMs' inputs, BFloat16 or float.
template <class E>
class VocabularyLoss {
 public:
  // `table` [V, d] outlives the loss. For outputs of up to `rows` rows.
  VocabularyLoss(MatView<const E> table, size_t rows, const VocabularyPart& part);
  // To be called whenever the table's values have changed.
  void TableChanged();

  // Losses and ranks over the whole vocabulary.
  void Evaluate(MatView<const E> outputs, const LossTargets& targets);
  // Losses, and the gradient with respect to `outputs`, [rows, d], over the part that `seed` draws.
  // That with respect to the table, dlogits^T H, is added to `table_grad` [V, d] where it is given.
  void Gradient(MatView<const E> outputs, const LossTargets& targets, uint64_t seed,
                MatView<float> output_grad, MatView<float>* table_grad = nullptr);

  // Of the last call: nats, 0 for rows that count nothing.
  std::span<const float> losses() const { return losses_; }
  // Of the last call: how many of the tokens looked at have a higher logit than the target.
  std::span<const uint32_t> ranks() const { return ranks_; }
  // Columns of logits in training: V, or |S| + N.
  size_t columns() const { return columns_; }

 private:
  void Draw(uint64_t seed);
  // With `output_grad`, over the part; else over the whole vocabulary.
  void Run(MatView<const E> outputs, const LossTargets& targets, MatView<float>* output_grad,
           MatView<float>* table_grad);
  // Adds the gradients by logits of rows from `begin` on to those by the table.
  void AddTableGrad(size_t begin, MatView<const E> outputs, MatView<const E> grad, bool part,
                    MatView<float> table_grad);
  // One row's loss, rank and gradient by logits; logits [columns + own] where a part is used.
  void RunRow(size_t row, const E* output, const LossTargets& targets, bool part, float* logits,
              E* grad);
  void Restrict(size_t row, const E* output, const LossTargets& targets, float* logits);
  void Teach(size_t row, const LossTargets& targets, bool part, const float* logits, E* grad);
  void AddOwnColumns(size_t row, const E* grad, float* output_grad) const;
  std::span<const int32_t> OwnOf(size_t row) const {
    return std::span(own_).subspan(row * exact_, exact_);
  }
  bool Listed(int32_t token) const {
    const int32_t column = column_[static_cast<size_t>(token)];
    return column >= 0 && static_cast<size_t>(column) < shortlist_;
  }
  // Where `row`'s logits have a target's.
  size_t ColumnOf(size_t row, int32_t token, bool part) const;

  const size_t vocab_, d_;
  const size_t shortlist_, samples_, columns_;
  const size_t exact_;  // 1 + T: columns behind those, for a row's own targets
  const bool whole_;
  const size_t elements_;               // of logits at a time
  MatView<const E> table_;              // [V, d]
  std::vector<int32_t> order_;          // [V]
  std::vector<int32_t> column_;         // [V] of a token in the part; -1: not there
  std::vector<int32_t> part_;           // [columns] its tokens
  AlignedBuffer<E> gathered_;           // [columns, d]
  AlignedBuffer<float> gathered_grad_;  // [columns, d]; empty until a table's gradient is asked for
  AlignedBuffer<float> logits_;         // [rows at a time, columns or columns + exact rounded up]
  AlignedBuffer<E> logits_grad_;        // as logits_
  std::vector<float> losses_;
  std::vector<uint32_t> ranks_;
  std::vector<int32_t> own_;  // [rows, exact] targets outside the shortlist; -1: none
};

}  // namespace tern

#endif  // TERN_TRAINER_VOCABULARY_LOSS_H_
