#include "kernels/training_attention.h"

#include <algorithm>
#include <cmath>

#include "kernels/dense_matmul.h"
#include "kernels/training_rows.h"

namespace tern {
namespace {

// Query rows per block: scores, dp, p and dscores of a block stay in a 1 MiB L2 at T = 512
// (128 * 512 * (4 + 4 + 2 + 2) bytes = 768 KiB), and its GEMMs are large enough to run near peak.
constexpr size_t kQueryBlock = 128;

}  // namespace

template <class E>
void AttentionTrainingScratch<E>::Reserve(size_t tokens) {
  const size_t need = std::min(kQueryBlock, tokens) * tokens;
  if (scores.size() >= need) return;
  scores = AlignedBuffer<float>(need);
  dp = AlignedBuffer<float>(need);
  p = AlignedBuffer<E>(need);
  dscores = AlignedBuffer<E>(need);
}

template <class E>
void TrainingAttention(const AttentionInputs<E>& in, AttentionTrainingScratch<E>& scratch,
                       std::span<float> log_sums, MatView<float> out) {
  const size_t tokens = in.k.rows, head_dim = in.k.cols;
  const float scale = 1.0f / std::sqrt(static_cast<float>(head_dim));
  scratch.Reserve(tokens);
  for (size_t head = 0; head < in.heads; ++head) {
    const MatView<const E> q = in.q.Cols(head * head_dim, head_dim);
    const MatView<float> o = out.Cols(head * head_dim, head_dim);
    for (size_t begin = 0; begin < tokens; begin += kQueryBlock) {
      const size_t rows = std::min(kQueryBlock, tokens - begin), seen = begin + rows;
      const MatView<float> scores = scratch.scores.View(rows, seen);
      const MatView<E> p = scratch.p.View(rows, seen);
      DenseMatmul(q.Rows(begin, rows), Transpose::kNo, in.k.Rows(0, seen), Transpose::kYes, 0.0f,
                  scores);
      for (size_t r = 0; r < rows; ++r) {
        log_sums[head * tokens + begin + r] =
            SoftmaxRow(scores.Row(r), scale, begin + r + 1, seen, p.Row(r));
      }
      DenseMatmul(MatView<const E>(p), Transpose::kNo, in.v.Rows(0, seen), Transpose::kNo, 0.0f,
                  o.Rows(begin, rows));
    }
  }
}

template <class E>
void TrainingAttentionGrad(const AttentionInputs<E>& in, std::span<const float> log_sums,
                           AttentionTrainingScratch<E>& scratch,
                           const AttentionGradients<E>& grads) {
  const size_t tokens = in.k.rows, head_dim = in.k.cols;
  const float scale = 1.0f / std::sqrt(static_cast<float>(head_dim));
  scratch.Reserve(tokens);
  for (size_t r = 0; r < tokens; ++r) {
    std::fill_n(grads.dk.Row(r), head_dim, 0.0f);
    std::fill_n(grads.dv.Row(r), head_dim, 0.0f);
  }
  for (size_t head = 0; head < in.heads; ++head) {
    const size_t column = head * head_dim;
    for (size_t begin = 0; begin < tokens; begin += kQueryBlock) {
      const size_t rows = std::min(kQueryBlock, tokens - begin), seen = begin + rows;
      const MatView<const E> q = in.q.Cols(column, head_dim).Rows(begin, rows);
      const MatView<const E> dout = grads.dout_rounded.Cols(column, head_dim).Rows(begin, rows);
      const MatView<const E> k = in.k.Rows(0, seen), v = in.v.Rows(0, seen);
      const MatView<float> scores = scratch.scores.View(rows, seen),
                           dp = scratch.dp.View(rows, seen);
      const MatView<E> p = scratch.p.View(rows, seen), dscores = scratch.dscores.View(rows, seen);
      DenseMatmul(q, Transpose::kNo, k, Transpose::kYes, 0.0f, scores);
      DenseMatmul(dout, Transpose::kNo, v, Transpose::kYes, 0.0f, dp);
      for (size_t r = 0; r < rows; ++r) {
        const size_t token = begin + r;
        const float dot =
            DotRow(grads.dout.Row(token) + column, grads.out.Row(token) + column, head_dim);
        SoftmaxGradRow(scores.Row(r), dp.Row(r), scale, log_sums[head * tokens + token], dot,
                       token + 1, seen, p.Row(r), dscores.Row(r));
      }
      DenseMatmul(MatView<const E>(dscores), Transpose::kNo, k, Transpose::kNo, 0.0f,
                  grads.dq.Cols(column, head_dim).Rows(begin, rows));
      DenseMatmul(MatView<const E>(dscores), Transpose::kYes, q, Transpose::kNo, 1.0f,
                  grads.dk.Rows(0, seen));
      DenseMatmul(MatView<const E>(p), Transpose::kYes, dout, Transpose::kNo, 1.0f,
                  grads.dv.Rows(0, seen));
    }
  }
}

template struct AttentionTrainingScratch<float>;
template struct AttentionTrainingScratch<BFloat16>;
template void TrainingAttention(const AttentionInputs<float>&, AttentionTrainingScratch<float>&,
                                std::span<float>, MatView<float>);
template void TrainingAttention(const AttentionInputs<BFloat16>&,
                                AttentionTrainingScratch<BFloat16>&, std::span<float>,
                                MatView<float>);
template void TrainingAttentionGrad(const AttentionInputs<float>&, std::span<const float>,
                                    AttentionTrainingScratch<float>&,
                                    const AttentionGradients<float>&);
template void TrainingAttentionGrad(const AttentionInputs<BFloat16>&, std::span<const float>,
                                    AttentionTrainingScratch<BFloat16>&,
                                    const AttentionGradients<BFloat16>&);

}  // namespace tern
