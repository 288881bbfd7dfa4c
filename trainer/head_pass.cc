#include "trainer/head_pass.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "kernels/check.h"
#include "kernels/dense_matmul.h"
#include "kernels/parallel.h"
#include "kernels/training_rows.h"

namespace tern {
namespace {

// 8 MiB of logits at most, unless the vocabulary is so large that fewer rows would starve the GEMM.
size_t LossRows(size_t rows, size_t vocab) {
  constexpr size_t kLogits = size_t{2} << 20, kFewest = 64;
  return std::min(rows, std::max(kFewest, kLogits / vocab / kFewest * kFewest));
}

float ToFloat(float x) { return x; }
float ToFloat(BFloat16 x) { return x.ToFloat(); }

void Widen(MatView<const BFloat16> from, float* to) {
  ParallelFor(from.rows, RowGrain(from.cols), [&](size_t begin, size_t end) {
    for (size_t r = begin; r < end; ++r)
      std::transform(from.Row(r), from.Row(r) + from.cols, to + r * from.cols,
                     [](BFloat16 x) { return x.ToFloat(); });
  });
}

// fp32 keeps the values, bf16 rounds them.
void CopyAs(MatView<const float> from, float* to) {
  for (size_t r = 0; r < from.rows; ++r) std::copy_n(from.Row(r), from.cols, to + r * from.cols);
}
void CopyAs(MatView<const float> from, BFloat16* to) {
  for (size_t r = 0; r < from.rows; ++r) RoundTo(from.Row(r), from.cols, to + r * from.cols);
}

bool IsHighest(const float* logits, size_t n, int32_t target) {
  const float own = logits[target];
  int higher = 0;  // a sum, so that the loop vectorises
  for (size_t i = 0; i < n; ++i) higher += logits[i] > own ? 1 : 0;
  return higher == 0;
}

}  // namespace

template <class E>
TypedHeadPass<E>::TypedHeadPass(MatView<const BFloat16> table, size_t heads, size_t batch)
    : heads_(heads),
      d_(table.cols),
      vocab_(table.rows),
      batch_(batch),
      loss_rows_(LossRows(batch * heads, table.rows)),
      weights_(heads * d_ * d_),
      biases_(heads * d_),
      hidden_(batch * d_),
      products_(batch * heads * d_),
      outputs_(batch * heads * d_),
      logits_(loss_rows_ * vocab_),
      logits_grad_(loss_rows_ * vocab_),
      output_grad_(batch * heads * d_),
      products_grad_(batch * heads * d_),
      losses_(batch * heads),
      hits_(batch * heads),
      grad_scales_(heads) {
  if constexpr (sizeof(E) == 2) {
    table_ = table;
  } else {
    widened_ = AlignedBuffer<E>(vocab_ * d_);
    Widen(table, widened_.data());
    table_ = widened_.View(vocab_, d_);
  }
}

template <class E>
void TypedHeadPass<E>::SetWeights(MatView<const float> weights, std::span<const float> biases) {
  TERN_CHECK(weights.rows == heads_ * d_ && weights.cols == d_ && biases.size() == heads_ * d_);
  CopyAs(weights, weights_.data());
  std::ranges::transform(biases, biases_.data(),
                         [](float b) { return sizeof(E) == 2 ? RoundToBFloat16(b) : b; });
}

template <class E>
void TypedHeadPass<E>::Forward(const HeadBatch& batch) {
  if constexpr (sizeof(E) == 2) {
    for (size_t r = 0; r < batch_; ++r)
      std::copy_n(batch.hidden.Row(r), d_, hidden_.data() + r * d_);
  } else {
    Widen(batch.hidden, hidden_.data());
  }
  DenseMatmul(std::as_const(hidden_).View(batch_, d_), Transpose::kNo,
              std::as_const(weights_).View(heads_ * d_, d_), Transpose::kYes, 0.0f,
              products_.View(batch_, heads_ * d_));
  ParallelFor(batch_ * heads_, RowGrain(d_), [&](size_t begin, size_t end) {
    for (size_t r = begin; r < end; ++r) {
      ResidualSiluRow(hidden_.data() + r / heads_ * d_, products_.data() + r * d_,
                      biases_.data() + r % heads_ * d_, d_, outputs_.data() + r * d_);
    }
  });
}

template <class E>
void TypedHeadPass<E>::Loss(std::span<const int32_t> targets, bool backward) {
  const size_t rows = batch_ * heads_;
  const MatView<const E> outputs = std::as_const(outputs_).View(rows, d_);
  for (size_t begin = 0; begin < rows; begin += loss_rows_) {
    const size_t count = std::min(loss_rows_, rows - begin);
    const MatView<float> logits = logits_.View(count, vocab_);
    const MatView<E> grad = logits_grad_.View(count, vocab_);
    DenseMatmul(outputs.Rows(begin, count), Transpose::kNo, table_, Transpose::kYes, 0.0f, logits);
    ParallelFor(count, 1, [&](size_t first, size_t last) {
      for (size_t i = first; i < last; ++i) {
        const size_t row = begin + i;
        const int32_t target = targets[row];
        losses_[row] = 0;
        hits_[row] = 0;
        if (target < 0) {
          std::memset(static_cast<void*>(grad.Row(i)), 0, vocab_ * sizeof(E));
          continue;
        }
        hits_[row] = IsHighest(logits.Row(i), vocab_, target) ? 1 : 0;
        losses_[row] =
            CrossEntropyRow(logits.Row(i), vocab_, target, grad_scales_[row % heads_], grad.Row(i));
      }
    });
    if (!backward) continue;
    DenseMatmul(MatView<const E>(grad), Transpose::kNo, table_, Transpose::kNo, 0.0f,
                output_grad_.View(rows, d_).Rows(begin, count));
  }
}

template <class E>
void TypedHeadPass<E>::Backward(HeadGradients& gradients) {
  const size_t width = heads_ * d_;
  ParallelFor(batch_ * heads_, RowGrain(d_), [&](size_t begin, size_t end) {
    for (size_t r = begin; r < end; ++r) {
      SiluGradRow(products_.data() + r * d_, biases_.data() + r % heads_ * d_,
                  output_grad_.data() + r * d_, d_, products_grad_.data() + r * d_);
    }
  });
  DenseMatmul(std::as_const(products_grad_).View(batch_, width), Transpose::kYes,
              std::as_const(hidden_).View(batch_, d_), Transpose::kNo, 1.0f, gradients.weights);
  // Each column is summed down the rows by one thread: one order for every thread count.
  ParallelFor(width, 256, [&](size_t begin, size_t end) {
    for (size_t b = 0; b < batch_; ++b) {
      const E* row = products_grad_.data() + b * width;
      for (size_t c = begin; c < end; ++c) gradients.biases[c] += ToFloat(row[c]);
    }
  });
}

template <class E>
double TypedHeadPass<E>::Run(const HeadBatch& batch, std::span<const float> head_weights,
                             float scale, HeadGradients* gradients, std::span<HeadSums> sums) {
  TERN_CHECK(batch.hidden.rows == batch_ && batch.hidden.cols == d_) << batch.hidden.rows;
  TERN_CHECK(batch.targets.size() == batch_ * heads_) << batch.targets.size();
  std::vector<HeadSums> own(heads_);
  for (size_t r = 0; r < batch.targets.size(); ++r) own[r % heads_].rows += batch.targets[r] >= 0;
  for (size_t k = 0; k < heads_; ++k) {
    grad_scales_[k] =
        head_weights[k] * scale / static_cast<float>(std::max<uint64_t>(1, own[k].rows));
  }
  Forward(batch);
  Loss(batch.targets, gradients != nullptr);
  if (gradients != nullptr) Backward(*gradients);
  for (size_t r = 0; r < batch.targets.size(); ++r) {
    own[r % heads_].loss += losses_[r];
    own[r % heads_].hits += hits_[r];
  }
  double loss = 0;
  for (size_t k = 0; k < heads_; ++k) {
    sums[k].rows += own[k].rows;
    sums[k].loss += own[k].loss;
    sums[k].hits += own[k].hits;
    if (own[k].rows > 0)
      loss += static_cast<double>(head_weights[k]) * own[k].loss / static_cast<double>(own[k].rows);
  }
  return loss;
}

template <class E>
void TypedHeadPass<E>::Outputs(MatView<float> out) const {
  TERN_CHECK(out.rows == batch_ * heads_ && out.cols == d_) << out.rows;
  for (size_t r = 0; r < out.rows; ++r)
    for (size_t i = 0; i < d_; ++i) out.Row(r)[i] = ToFloat(outputs_[r * d_ + i]);
}

template class TypedHeadPass<float>;
template class TypedHeadPass<BFloat16>;

std::unique_ptr<HeadPass> MakeHeadPass(MatView<const BFloat16> table, size_t heads, size_t batch,
                                       bool bfloat16) {
  if (bfloat16 && HasBFloat16Matmul())
    return std::make_unique<TypedHeadPass<BFloat16>>(table, heads, batch);
  return std::make_unique<TypedHeadPass<float>>(table, heads, batch);
}

}  // namespace tern
