#include "trainer/vocabulary_loss.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "kernels/check.h"
#include "kernels/dense_matmul.h"
#include "kernels/parallel.h"
#include "kernels/training_rows.h"
#include "trainer/permutation.h"

namespace tern {
namespace {

constexpr size_t kFewestRows = 64;  // of a GEMM, or it would starve
constexpr size_t kAlign = 32;       // elements: rows of logits begin on cache lines
// Far below any logit, far from overflow in differences.
constexpr float kMasked = -1e30f;

// 8 MiB of logits at most, unless the vocabulary is so large that fewer rows would starve the GEMM.
size_t RowsAtATime(size_t rows, size_t stride) {
  constexpr size_t kLogits = size_t{2} << 20;
  return std::min(rows, std::max(kFewestRows, kLogits / stride / kFewestRows * kFewestRows));
}

size_t PartStride(size_t columns, size_t exact) {
  return (columns + exact + kAlign - 1) / kAlign * kAlign;
}

float ToFloat(float x) { return x; }
float ToFloat(BFloat16 x) { return x.ToFloat(); }
void Set(float value, float& out) { out = value; }
void Set(float value, BFloat16& out) { out = BFloat16::FromFloat(value); }

// `order`, then the tokens that it leaves out.
std::vector<int32_t> Completed(std::vector<int32_t> order, size_t vocab) {
  std::vector<bool> seen(vocab);
  for (int32_t token : order) seen[static_cast<size_t>(token)] = true;
  for (size_t token = 0; token < vocab; ++token)
    if (!seen[token]) order.push_back(static_cast<int32_t>(token));
  TERN_CHECK(order.size() == vocab) << order.size() << " of " << vocab;
  return order;
}

uint32_t CountHigher(const float* logits, size_t n, float own) {
  uint32_t higher = 0;  // a sum, so that the loop vectorises
  for (size_t i = 0; i < n; ++i) higher += logits[i] > own ? 1 : 0;
  return higher;
}

}  // namespace

template <class E>
VocabularyLoss<E>::VocabularyLoss(MatView<const E> table, size_t rows, const VocabularyPart& part)
    : vocab_(table.rows),
      d_(table.cols),
      shortlist_(part.shortlist),
      samples_(part.samples),
      columns_(part.Whole(table.rows) ? table.rows : part.shortlist + part.samples),
      exact_(1 + part.teacher),
      whole_(part.Whole(table.rows)),
      elements_(std::max(
          RowsAtATime(rows, vocab_) * vocab_,
          whole_ ? 0
                 : RowsAtATime(rows, PartStride(columns_, exact_)) * PartStride(columns_, exact_))),
      table_(table),
      logits_(elements_),
      logits_grad_(elements_),
      losses_(rows),
      ranks_(rows),
      own_(rows * exact_, -1) {
  if (whole_) return;
  order_ = Completed(part.order, vocab_);
  column_.assign(vocab_, -1);
  gathered_ = AlignedBuffer<E>(columns_ * d_);
  part_.assign(order_.begin(), order_.begin() + static_cast<ptrdiff_t>(columns_));
  for (size_t i = 0; i < shortlist_; ++i)
    column_[static_cast<size_t>(order_[i])] = static_cast<int32_t>(i);
  TableChanged();
}

template <class E>
void VocabularyLoss<E>::TableChanged() {
  if (whole_) return;
  for (size_t i = 0; i < shortlist_; ++i)
    std::copy_n(table_.Row(static_cast<size_t>(order_[i])), d_, gathered_.data() + i * d_);
}

template <class E>
void VocabularyLoss<E>::Draw(uint64_t seed) {
  const size_t others = vocab_ - shortlist_;
  for (size_t i = shortlist_; i < vocab_; ++i) column_[static_cast<size_t>(order_[i])] = -1;
  for (size_t i = 0; i < samples_; ++i) {
    const auto token = static_cast<size_t>(order_[shortlist_ + PermutedIndex(i, others, seed)]);
    column_[token] = static_cast<int32_t>(shortlist_ + i);
    part_[shortlist_ + i] = static_cast<int32_t>(token);
    std::copy_n(table_.Row(token), d_, gathered_.data() + (shortlist_ + i) * d_);
  }
}

template <class E>
size_t VocabularyLoss<E>::ColumnOf(size_t row, int32_t token, bool part) const {
  if (!part) return static_cast<size_t>(token);
  if (Listed(token)) return static_cast<size_t>(column_[static_cast<size_t>(token)]);
  const auto own = OwnOf(row);
  return columns_ + static_cast<size_t>(std::ranges::find(own, token) - own.begin());
}

// Logits of the part become those of the estimate: sampled ones corrected, and behind them the
// row's own targets', where they are not of the shortlist.
template <class E>
void VocabularyLoss<E>::Restrict(size_t row, const E* output, const LossTargets& targets,
                                 float* logits) {
  const std::span own = std::span(own_).subspan(row * exact_, exact_);
  std::ranges::fill(own, -1);
  std::fill_n(logits + columns_, exact_, kMasked);
  size_t count = 0, others = vocab_ - shortlist_, sampled = samples_;
  const auto add = [&](int32_t token) {
    if (Listed(token) || std::ranges::find(own, token) != own.end()) return;
    const E* table_row = table_.Row(static_cast<size_t>(token));
    float logit = 0;
    for (size_t i = 0; i < d_; ++i) logit += ToFloat(table_row[i]) * ToFloat(output[i]);
    logits[columns_ + count] = logit;
    own[count++] = token;
    --others;
    if (const int32_t column = column_[static_cast<size_t>(token)]; column >= 0) {
      --sampled;
      logits[column] = kMasked;
    }
  };
  add(targets.tokens[row]);
  for (size_t i = 0; targets.teacher_weight > 0 && i < targets.teacher_ids.cols; ++i) {
    if (targets.teacher_probs.Row(row)[i] > 0) add(targets.teacher_ids.Row(row)[i]);
  }
  if (sampled == 0) return;  // what is left of the sample is masked
  const float correction = std::log(static_cast<float>(others) / static_cast<float>(sampled));
  for (size_t i = shortlist_; i < columns_; ++i) logits[i] += correction;
}

// A row's loss and gradient, as they are without a teacher, become those with one.
template <class E>
void VocabularyLoss<E>::Teach(size_t row, const LossTargets& targets, bool part,
                              const float* logits, E* grad) {
  const size_t count = targets.teacher_ids.cols;
  const int32_t* ids = targets.teacher_ids.Row(row);
  const float* probs = targets.teacher_probs.Row(row);
  float mass = 0;
  for (size_t i = 0; i < count; ++i) mass += probs[i];
  if (!(mass > 0)) return;
  const size_t at = ColumnOf(row, targets.tokens[row], part);
  const float log_sum = losses_[row] + logits[at], weight = targets.teacher_weight;
  const float scale = targets.grad_scales[row % targets.grad_scales.size()];
  float loss = (1 - weight) * losses_[row];
  // Not by subtraction from the gradient there is, which may be rounded.
  const auto set = [&](size_t column, float wanted) {
    Set(scale * (std::exp(logits[column] - log_sum) - wanted), grad[column]);
  };
  set(at, 1 - weight);
  for (size_t i = 0; i < count; ++i) {
    if (!(probs[i] > 0)) continue;
    const float p = probs[i] / mass;
    const size_t column = ColumnOf(row, ids[i], part);
    loss += weight * p * (std::log(p) - (logits[column] - log_sum));
    set(column, weight * p + (column == at ? 1 - weight : 0.0f));
  }
  losses_[row] = loss;
}

template <class E>
void VocabularyLoss<E>::RunRow(size_t row, const E* output, const LossTargets& targets, bool part,
                               float* logits, E* grad) {
  const int32_t target = targets.tokens[row];
  const size_t width = part ? columns_ + exact_ : vocab_;
  losses_[row] = 0;
  ranks_[row] = 0;
  if (target < 0) {
    std::memset(static_cast<void*>(grad), 0, width * sizeof(E));
    return;
  }
  // Sampled tokens would count for many each: ranks are among the shortlist.
  const size_t looked_at = part ? shortlist_ : vocab_;
  if (part) Restrict(row, output, targets, logits);
  const size_t at = ColumnOf(row, target, part);
  ranks_[row] = CountHigher(logits, looked_at, logits[at]);
  const float scale = targets.grad_scales[row % targets.grad_scales.size()];
  losses_[row] = CrossEntropyRow(logits, width, static_cast<int32_t>(at), scale, grad);
  if (targets.teacher_weight > 0) Teach(row, targets, part, logits, grad);
}

template <class E>
void VocabularyLoss<E>::AddOwnColumns(size_t row, const E* grad, float* output_grad) const {
  const auto own = OwnOf(row);
  for (size_t j = 0; j < own.size() && own[j] >= 0; ++j) {
    const E* table_row = table_.Row(static_cast<size_t>(own[j]));
    const float own_grad = ToFloat(grad[columns_ + j]);
    for (size_t i = 0; i < d_; ++i) output_grad[i] += own_grad * ToFloat(table_row[i]);
  }
}

// The part's rows are summed apart, for a dense GEMM, and brought home when the last rows are done.
template <class E>
void VocabularyLoss<E>::AddTableGrad(size_t begin, MatView<const E> outputs, MatView<const E> grad,
                                     bool part, MatView<float> table_grad) {
  const MatView<const E> rows = outputs.Rows(begin, grad.rows);
  if (!part) {
    DenseMatmul(grad, Transpose::kYes, rows, Transpose::kNo, 1.0f, table_grad);
    return;
  }
  const MatView<float> gathered = gathered_grad_.View(columns_, d_);
  DenseMatmul(grad, Transpose::kYes, rows, Transpose::kNo, begin > 0 ? 1.0f : 0.0f, gathered);
  for (size_t i = 0; i < rows.rows; ++i) {
    const auto own = OwnOf(begin + i);
    for (size_t j = 0; j < own.size() && own[j] >= 0; ++j) {
      float* to = table_grad.Row(static_cast<size_t>(own[j]));
      const float own_grad = ToFloat(grad.Row(i)[columns_ + j]);
      for (size_t c = 0; c < d_; ++c) to[c] += own_grad * ToFloat(rows.Row(i)[c]);
    }
  }
  if (begin + rows.rows < outputs.rows) return;
  ParallelFor(columns_, 64, [&](size_t first, size_t last) {
    for (size_t column = first; column < last; ++column) {
      float* to = table_grad.Row(static_cast<size_t>(part_[column]));
      for (size_t c = 0; c < d_; ++c) to[c] += gathered.Row(column)[c];
    }
  });
}

template <class E>
void VocabularyLoss<E>::Run(MatView<const E> outputs, const LossTargets& targets,
                            MatView<float>* output_grad, MatView<float>* table_grad) {
  TERN_CHECK(outputs.rows <= losses_.size() && targets.tokens.size() == outputs.rows)
      << outputs.rows;
  TERN_CHECK(targets.teacher_weight == 0 ||
             (targets.teacher_ids.rows == outputs.rows && targets.teacher_ids.cols < exact_))
      << targets.teacher_ids.cols;
  const bool part = output_grad != nullptr && !whole_;
  const size_t columns = part ? columns_ : vocab_,
               stride = part ? PartStride(columns_, exact_) : vocab_;
  const MatView<const E> table = part ? std::as_const(gathered_).View(columns, d_) : table_;
  const size_t at_a_time = RowsAtATime(losses_.size(), stride);
  for (size_t begin = 0; begin < outputs.rows; begin += at_a_time) {
    const size_t count = std::min(at_a_time, outputs.rows - begin);
    const MatView<float> logits(logits_.data(), count, columns, stride);
    const MatView<E> grad(logits_grad_.data(), count, columns, stride);
    DenseMatmul(outputs.Rows(begin, count), Transpose::kNo, table, Transpose::kYes, 0.0f, logits);
    ParallelFor(count, 1, [&](size_t first, size_t last) {
      for (size_t i = first; i < last; ++i) {
        RunRow(begin + i, outputs.Row(begin + i), targets, part, logits.Row(i), grad.Row(i));
      }
    });
    if (output_grad == nullptr) continue;
    DenseMatmul(MatView<const E>(grad), Transpose::kNo, table, Transpose::kNo, 0.0f,
                output_grad->Rows(begin, count));
    if (table_grad != nullptr) AddTableGrad(begin, outputs, grad, part, *table_grad);
    if (!part) continue;
    for (size_t i = 0; i < count; ++i) {
      if (targets.tokens[begin + i] >= 0)
        AddOwnColumns(begin + i, grad.Row(i), output_grad->Row(begin + i));
    }
  }
}

template <class E>
void VocabularyLoss<E>::Evaluate(MatView<const E> outputs, const LossTargets& targets) {
  Run(outputs, targets, nullptr, nullptr);
}

template <class E>
void VocabularyLoss<E>::Gradient(MatView<const E> outputs, const LossTargets& targets,
                                 uint64_t seed, MatView<float> output_grad,
                                 MatView<float>* table_grad) {
  if (!whole_) Draw(seed);
  if (table_grad != nullptr && !whole_ && gathered_grad_.size() == 0)
    gathered_grad_ = AlignedBuffer<float>(columns_ * d_);
  Run(outputs, targets, &output_grad, table_grad);
}

template class VocabularyLoss<float>;
template class VocabularyLoss<BFloat16>;

}  // namespace tern
