#include "trainer/head_pass.h"

#include <algorithm>
#include <utility>

#include "kernels/check.h"
#include "kernels/dense_matmul.h"
#include "kernels/parallel.h"
#include "kernels/training_rows.h"

namespace tern {
namespace {

float ToFloat(float x) { return x; }
float ToFloat(BFloat16 x) { return x.ToFloat(); }

// fp32 keeps the values, bf16 rounds them.
void CopyAs(MatView<const float> from, float* to) {
  for (size_t r = 0; r < from.rows; ++r) std::copy_n(from.Row(r), from.cols, to + r * from.cols);
}
void CopyAs(MatView<const float> from, BFloat16* to) {
  for (size_t r = 0; r < from.rows; ++r) RoundTo(from.Row(r), from.cols, to + r * from.cols);
}

void CopyAs(MatView<const BFloat16> from, BFloat16* to) {
  for (size_t r = 0; r < from.rows; ++r) std::copy_n(from.Row(r), from.cols, to + r * from.cols);
}
void CopyAs(MatView<const BFloat16> from, float* to) {
  for (size_t r = 0; r < from.rows; ++r)
    std::transform(from.Row(r), from.Row(r) + from.cols, to + r * from.cols,
                   [](BFloat16 x) { return x.ToFloat(); });
}

}  // namespace

template <class E>
TypedHeadPass<E>::TypedHeadPass(MatView<const BFloat16> table, const HeadPassOptions& options)
    : heads_(options.heads),
      d_(table.cols),
      batch_(options.batch),
      vocab_(table.rows),
      own_(options.own_vocabularies),
      hidden_(batch_ * d_),
      roots_(options.sees_root ? batch_ * d_ : 0),
      root_weights_(options.sees_root ? heads_ * d_ * d_ : 0),
      losses_(batch_ * heads_),
      ranks_(batch_ * heads_),
      output_grad_(batch_ * heads_ * d_),
      products_grad_(batch_ * heads_ * d_),
      grad_scales_(heads_) {
  const size_t width = heads_ * d_;
  for (size_t l = 0; l < options.layers; ++l) {
    blocks_.push_back({AlignedBuffer<E>(width * d_), AlignedBuffer<float>(width),
                       AlignedBuffer<float>(batch_ * width), AlignedBuffer<E>(batch_ * width)});
  }
  if (own_) {
    own_targets_.resize(batch_);
    tables_ = AlignedBuffer<E>(heads_ * vocab_ * d_);
    for (size_t k = 0; k < heads_; ++k) {
      loss_.push_back(std::make_unique<VocabularyLoss<E>>(
          std::as_const(tables_).View(heads_ * vocab_, d_).Rows(k * vocab_, vocab_), batch_,
          options.part));
    }
    return;
  }
  if constexpr (sizeof(E) == 2) {
    loss_.push_back(std::make_unique<VocabularyLoss<E>>(table, batch_ * heads_, options.part));
  } else {
    tables_ = AlignedBuffer<E>(vocab_ * d_);
    CopyAs(table, tables_.data());
    loss_.push_back(std::make_unique<VocabularyLoss<E>>(std::as_const(tables_).View(vocab_, d_),
                                                        batch_ * heads_, options.part));
  }
}

template <class E>
void TypedHeadPass<E>::SetVocabularies(MatView<const float> tables) {
  TERN_CHECK(own_ && tables.rows == heads_ * vocab_ && tables.cols == d_) << tables.rows;
  ParallelFor(tables.rows, RowGrain(d_), [&](size_t begin, size_t end) {
    CopyAs(tables.Rows(begin, end - begin), tables_.data() + begin * d_);
  });
  for (const auto& loss : loss_) loss->TableChanged();
}

template <class E>
void TypedHeadPass<E>::SetRootWeights(MatView<const float> weights) {
  TERN_CHECK(weights.rows * weights.cols == root_weights_.size() && weights.cols == d_);
  CopyAs(weights, root_weights_.data());
}

template <class E>
void TypedHeadPass<E>::SetWeights(MatView<const float> weights, std::span<const float> biases) {
  const size_t width = heads_ * d_;
  TERN_CHECK(weights.rows == blocks_.size() * width && weights.cols == d_ &&
             biases.size() == weights.rows);
  for (size_t l = 0; l < blocks_.size(); ++l) {
    CopyAs(weights.Rows(l * width, width), blocks_[l].weights.data());
    std::ranges::transform(biases.subspan(l * width, width), blocks_[l].biases.data(),
                           [](float b) { return sizeof(E) == 2 ? RoundToBFloat16(b) : b; });
  }
}

template <class E>
void TypedHeadPass<E>::Forward(const HeadBatch& batch) {
  CopyAs(batch.hidden, hidden_.data());
  const bool sees_root = root_weights_.size() > 0;
  TERN_CHECK(!sees_root || (batch.roots.rows == batch_ && batch.roots.cols == d_))
      << batch.roots.rows << " roots of " << batch_;
  if (sees_root) CopyAs(batch.roots, roots_.data());
  const E* inputs = hidden_.data();
  for (size_t l = 0; l < blocks_.size(); ++l) {
    Block& block = blocks_[l];
    const MatView<const E> weights = std::as_const(block.weights).View(heads_ * d_, d_);
    if (l == 0) {
      DenseMatmul(std::as_const(hidden_).View(batch_, d_), Transpose::kNo, weights, Transpose::kYes,
                  0.0f, block.products.View(batch_, heads_ * d_));
      if (sees_root) {
        DenseMatmul(std::as_const(roots_).View(batch_, d_), Transpose::kNo,
                    std::as_const(root_weights_).View(heads_ * d_, d_), Transpose::kYes, 1.0f,
                    block.products.View(batch_, heads_ * d_));
      }
    } else {
      for (size_t k = 0; k < heads_; ++k) {
        DenseMatmul(OfHead(inputs, k), Transpose::kNo, weights.Rows(k * d_, d_), Transpose::kYes,
                    0.0f, OfHead(block.products.data(), k));
      }
    }
    const size_t shared = l == 0 ? heads_ : 1;  // rows of the output per row of the input
    ParallelFor(batch_ * heads_, RowGrain(d_), [&](size_t begin, size_t end) {
      for (size_t r = begin; r < end; ++r) {
        ResidualSiluRow(inputs + r / shared * d_, block.products.data() + r * d_,
                        block.biases.data() + r % heads_ * d_, d_, block.outputs.data() + r * d_);
      }
    });
    inputs = block.outputs.data();
  }
}

template <class E>
void TypedHeadPass<E>::BackwardBlock(size_t layer, MatView<float> weights,
                                     std::span<float> biases) {
  const size_t width = heads_ * d_;
  const Block& block = blocks_[layer];
  ParallelFor(batch_ * heads_, RowGrain(d_), [&](size_t begin, size_t end) {
    for (size_t r = begin; r < end; ++r) {
      SiluGradRow(block.products.data() + r * d_, block.biases.data() + r % heads_ * d_,
                  output_grad_.data() + r * d_, d_, products_grad_.data() + r * d_);
    }
  });
  if (layer == 0) {
    DenseMatmul(std::as_const(products_grad_).View(batch_, width), Transpose::kYes,
                std::as_const(hidden_).View(batch_, d_), Transpose::kNo, 1.0f, weights);
  } else {
    const E* inputs = blocks_[layer - 1].outputs.data();
    for (size_t k = 0; k < heads_; ++k) {
      const MatView<const E> grad = OfHead(std::as_const(products_grad_).data(), k);
      DenseMatmul(grad, Transpose::kYes, OfHead(inputs, k), Transpose::kNo, 1.0f,
                  weights.Rows(k * d_, d_));
      DenseMatmul(grad, Transpose::kNo, block.weights.View(width, d_).Rows(k * d_, d_),
                  Transpose::kNo, 1.0f, OfHead(output_grad_.data(), k));
    }
  }
  // Each column is summed down the rows by one thread: one order for every thread count.
  ParallelFor(width, 256, [&](size_t begin, size_t end) {
    for (size_t b = 0; b < batch_; ++b) {
      const E* row = products_grad_.data() + b * width;
      for (size_t c = begin; c < end; ++c) biases[c] += ToFloat(row[c]);
    }
  });
}

template <class E>
void TypedHeadPass<E>::Backward(HeadGradients& gradients) {
  const size_t width = heads_ * d_;
  for (size_t l = blocks_.size(); l-- > 0;) {
    BackwardBlock(l, gradients.weights.Rows(l * width, width),
                  gradients.biases.subspan(l * width, width));
  }
  if (root_weights_.size() == 0) return;
  DenseMatmul(std::as_const(products_grad_).View(batch_, width), Transpose::kYes,
              std::as_const(roots_).View(batch_, d_), Transpose::kNo, 1.0f, gradients.root_weights);
}

// One head under its own projection.
template <class E>
void TypedHeadPass<E>::OwnLoss(const HeadBatch& batch, size_t head, HeadGradients* gradients) {
  VocabularyLoss<E>& loss = *loss_[head];
  for (size_t b = 0; b < batch_; ++b) own_targets_[b] = batch.targets[b * heads_ + head];
  LossTargets targets{own_targets_, std::span<const float>(grad_scales_).subspan(head, 1)};
  const MatView<const E> outputs = OfHead(std::as_const(blocks_.back().outputs).data(), head);
  if (gradients == nullptr) {
    loss.Evaluate(outputs, targets);
  } else {
    const size_t top = batch.teacher_ids.cols;
    if (batch.teacher_weight > 0) {
      targets.teacher_ids = {batch.teacher_ids.data + head * top, batch_, top, heads_ * top};
      targets.teacher_probs = {batch.teacher_probs.data + head * top, batch_, top, heads_ * top};
      targets.teacher_weight = batch.teacher_weight;
    }
    MatView<float> table_grad = gradients->vocabularies.Rows(head * vocab_, vocab_);
    loss.Gradient(outputs, targets, batch.seed, OfHead(output_grad_.data(), head), &table_grad);
  }
  for (size_t b = 0; b < batch_; ++b) {
    losses_[b * heads_ + head] = loss.losses()[b];
    ranks_[b * heads_ + head] = loss.ranks()[b];
  }
}

template <class E>
void TypedHeadPass<E>::Loss(const HeadBatch& batch, HeadGradients* gradients) {
  if (own_) {
    for (size_t k = 0; k < heads_; ++k) OwnLoss(batch, k, gradients);
    return;
  }
  VocabularyLoss<E>& loss = *loss_.front();
  const MatView<const E> outputs = std::as_const(blocks_.back().outputs).View(batch_ * heads_, d_);
  LossTargets targets{batch.targets, grad_scales_};
  if (gradients == nullptr) {
    loss.Evaluate(outputs, targets);
  } else {
    targets.teacher_ids = batch.teacher_ids;
    targets.teacher_probs = batch.teacher_probs;
    targets.teacher_weight = batch.teacher_weight;
    loss.Gradient(outputs, targets, batch.seed, output_grad_.View(batch_ * heads_, d_));
  }
  std::ranges::copy(loss.losses(), losses_.begin());
  std::ranges::copy(loss.ranks(), ranks_.begin());
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
  Loss(batch, gradients);
  if (gradients != nullptr) Backward(*gradients);
  for (size_t r = 0; r < batch.targets.size(); ++r) {
    if (batch.targets[r] < 0) continue;
    HeadSums& head = own[r % heads_];
    head.loss += static_cast<double>(losses()[r]);
    head.hits += ranks()[r] == 0;
    head.top += ranks()[r] < HeadSums::kTop;
  }
  double loss = 0;
  for (size_t k = 0; k < heads_; ++k) {
    sums[k].rows += own[k].rows;
    sums[k].loss += own[k].loss;
    sums[k].hits += own[k].hits;
    sums[k].top += own[k].top;
    if (own[k].rows > 0)
      loss += static_cast<double>(head_weights[k]) * own[k].loss / static_cast<double>(own[k].rows);
  }
  return loss;
}

template <class E>
void TypedHeadPass<E>::Outputs(MatView<float> out) const {
  TERN_CHECK(out.rows == batch_ * heads_ && out.cols == d_) << out.rows;
  for (size_t r = 0; r < out.rows; ++r)
    for (size_t i = 0; i < d_; ++i) out.Row(r)[i] = ToFloat(blocks_.back().outputs[r * d_ + i]);
}

template <class E>
double TypedHeadPass<E>::GemmMacs() const {
  const auto d = static_cast<double>(d_), layers = static_cast<double>(blocks_.size());
  // Forward and backward. Nothing below block 1 is trained, nor is a shared projection: one of the
  // two backward products each.
  const double columns = (own_ ? 3.0 : 2.0) * static_cast<double>(loss_.front()->columns());
  const double root = root_weights_.size() > 0 ? 2 * d : 0;
  const double per_row = d * (columns + d * (3 * layers - 1) + root);
  return per_row * static_cast<double>(heads_ * batch_);
}

template class TypedHeadPass<float>;
template class TypedHeadPass<BFloat16>;

std::unique_ptr<HeadPass> MakeHeadPass(MatView<const BFloat16> table,
                                       const HeadPassOptions& options) {
  if (options.bfloat16 && HasBFloat16Matmul())
    return std::make_unique<TypedHeadPass<BFloat16>>(table, options);
  return std::make_unique<TypedHeadPass<float>>(table, options);
}

}  // namespace tern
