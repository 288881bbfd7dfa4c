#include <algorithm>
#include <cmath>
#include <utility>

#include "kernels/activation.h"
#include "kernels/dense_matmul.h"
#include "kernels/norm.h"
#include "kernels/parallel.h"
#include "kernels/quantize.h"
#include "kernels/ternary_matmul.h"
#include "kernels/training_attention.h"
#include "trainer/training_pass.h"

namespace tern {
namespace {

// Calls fn(begin, count) for chunks of kRowChunk rows, on all threads.
template <class Fn>
void ForRowChunks(size_t rows, Fn&& fn) {
  ParallelFor(rows, kRowChunk, [&](size_t first, size_t last) {
    for (size_t begin = first; begin < last; begin += kRowChunk)
      fn(begin, std::min(kRowChunk, last - begin));
  });
}

}  // namespace

template <class E>
void TypedTrainingPass<E>::Embed(std::span<const int32_t> tokens) {
  const size_t d = sizes_.d;
  const MatView<float> table = state_.Parameter(state_.embedding);
  ParallelFor(sizes_.rows, kRowChunk, [&](size_t begin, size_t end) {
    for (size_t r = begin; r < end; ++r) {
      // Rows of `tokens` are one longer than the input: the last token is only a target.
      const int32_t token =
          tokens[r / sizes_.sequence * (sizes_.sequence + 1) + r % sizes_.sequence];
      RoundTo(table.Row(static_cast<size_t>(token)), d, stream_[0].data() + r * d);
    }
  });
}

template <class E>
void TypedTrainingPass<E>::Forward(std::span<const int32_t> tokens) {
  std::fill(error_sums_.begin(), error_sums_.end(), ErrorSums{});
  Embed(tokens);
  for (size_t l = 0; l < sizes_.layers; ++l) ForwardLayer(l);
  FinalNorm();
}

template <class E>
void TypedTrainingPass<E>::ForwardLayer(size_t layer) {
  ForRowChunks(sizes_.rows, [&](size_t begin, size_t count) { ProjectHeads(layer, begin, count); });
  Attend(Activations(layer));
  ForRowChunks(sizes_.rows, [&](size_t begin, size_t count) { FinishLayer(layer, begin, count); });
}

// Also measures the quantiser's error, on the chunk's first row.
template <class E>
void TypedTrainingPass<E>::NormQuantise(MatView<const float> x, size_t gain, QuantisedInput& out,
                                        size_t layer, size_t begin) {
  const float eps = state_.config.rms_norm_eps;
  const QuantizedRows rows = out.Rows(begin, x.rows);
  RmsNormQuantize(x, state_.Gain(gain), eps, rows);
  const MatView<float> normed(RowScratch::Get(0, x.cols).second.data(), 1, x.cols);
  RmsNorm(x.Rows(0, 1), state_.Gain(gain), eps, normed);
  const ErrorSums sums = QuantisationError(normed.data, rows.codes.Row(0), rows.scales[0], x.cols);
  ErrorSums& total = error_sums_[layer * (error_sums_.size() / sizes_.layers) + begin / kRowChunk];
  total.error += sums.error;
  total.power += sums.power;
}

// Rows of the stream to q, k and v.
template <class E>
void TypedTrainingPass<E>::ProjectHeads(size_t layer, size_t begin, size_t count) {
  const PassSizes& n = sizes_;
  const LayerOperands<E>& w = operands_[layer];
  LayerActivations<E>& a = Activations(layer);
  NormQuantise(std::as_const(stream_[layer]).View(n.rows, n.d).Rows(begin, count),
               state_.layers[layer].input_layernorm, a.attention_in, layer, begin);
  const QuantizedRows h = a.attention_in.Rows(begin, count);
  const MatView<float> qkv(RowScratch::Get(kRowChunk * n.qkv_width, 0).first.data(), count,
                           n.qkv_width);
  TernaryMatmul(w.q.View(), h, qkv.Cols(0, n.d));
  TernaryMatmul(w.k.View(), h, qkv.Cols(n.d, n.kv_width));
  TernaryMatmul(w.v.View(), h, qkv.Cols(n.d + n.kv_width, n.kv_width));
  SplitHeads(a, begin, qkv);
}

template <class E>
void TypedTrainingPass<E>::SplitHeads(LayerActivations<E>& a, size_t begin, MatView<float> qkv) {
  const PassSizes& n = sizes_;
  for (size_t i = 0; i < qkv.rows; ++i) {
    const size_t row = begin + i, position = row % n.sequence;
    float* heads = qkv.Row(i);
    for (size_t head = 0; head < n.heads + n.kv_heads; ++head) {
      RotateHead(rope_.Cos(position), rope_.Sin(position), 1.0f, n.head_dim,
                 heads + head * n.head_dim);
    }
    // K and V are what the engine's cache holds; q it keeps in fp32, so only a bf16 GEMM rounds it.
    ScaleTo(heads, 1.0f, n.d, a.q.data() + row * n.d);
    RoundTo(heads + n.d, n.kv_width, a.k.data() + row * n.kv_width);
    RoundTo(heads + n.d + n.kv_width, n.kv_width, a.v.data() + row * n.kv_width);
  }
}

// Rows from attention's output to the next layer's stream.
template <class E>
void TypedTrainingPass<E>::FinishLayer(size_t layer, size_t begin, size_t count) {
  const PassSizes& n = sizes_;
  const LayerSlices& s = state_.layers[layer];
  const LayerOperands<E>& w = operands_[layer];
  LayerActivations<E>& a = Activations(layer);
  const auto rows = [&](AlignedBuffer<float>& all) {
    return all.View(n.rows, n.d).Rows(begin, count);
  };
  const MatView<float> product(RowScratch::Get(kRowChunk * std::max(n.d, n.f), 0).first.data(),
                               count, n.d);
  const auto add = [&](MatView<float> x, MatView<float> out) {
    for (size_t i = 0; i < count; ++i) AddScaled(x.Row(i), product.Row(i), 1.0f, n.d, out.Row(i));
  };
  NormQuantise(rows(a.attention), s.attn_sub_norm, a.o_in, layer, begin);
  TernaryMatmul(w.o.View(), a.o_in.Rows(begin, count), product);
  add(rows(stream_[layer]), rows(a.middle));

  NormQuantise(rows(a.middle), s.post_attention_layernorm, a.ffn_in, layer, begin);
  const MatView<float> gate_up = a.gate_up.View(n.rows, 2 * n.f).Rows(begin, count);
  const MatView<float> gated(product.data, count, n.f);
  TernaryMatmul(w.gate.View(), a.ffn_in.Rows(begin, count), gate_up.Cols(0, n.f));
  TernaryMatmul(w.up.View(), a.ffn_in.Rows(begin, count), gate_up.Cols(n.f, n.f));
  ReluSquaredGate(gate_up.Cols(0, n.f), gate_up.Cols(n.f, n.f), gated);
  NormQuantise(gated, s.ffn_sub_norm, a.down_in, layer, begin);
  TernaryMatmul(w.down.View(), a.down_in.Rows(begin, count), product);
  add(rows(a.middle), rows(stream_[layer + 1]));
}

template <class E>
void TypedTrainingPass<E>::Attend(LayerActivations<E>& a) {
  const PassSizes& n = sizes_;
  const size_t group = n.heads / n.kv_heads;
  ParallelFor(n.batch * n.kv_heads, 1, [&](size_t begin, size_t end) {
    thread_local AttentionTrainingScratch<E> scratch;
    for (size_t unit = begin; unit < end; ++unit) {
      const size_t first = unit / n.kv_heads * n.sequence, kv_head = unit % n.kv_heads;
      const size_t column = kv_head * group * n.head_dim;
      const AttentionInputs<E> in{std::as_const(a.q)
                                      .View(n.rows, n.d)
                                      .Rows(first, n.sequence)
                                      .Cols(column, group * n.head_dim),
                                  std::as_const(a.k)
                                      .View(n.rows, n.kv_width)
                                      .Rows(first, n.sequence)
                                      .Cols(kv_head * n.head_dim, n.head_dim),
                                  std::as_const(a.v)
                                      .View(n.rows, n.kv_width)
                                      .Rows(first, n.sequence)
                                      .Cols(kv_head * n.head_dim, n.head_dim),
                                  group};
      TrainingAttention(
          in, scratch, a.log_sums.span().subspan(unit * group * n.sequence, group * n.sequence),
          a.attention.View(n.rows, n.d).Rows(first, n.sequence).Cols(column, group * n.head_dim));
    }
  });
}

template <class E>
void TypedTrainingPass<E>::FinalNorm() {
  const size_t d = sizes_.d;
  const MatView<const float> x = std::as_const(stream_.back()).View(sizes_.rows, d);
  ForRowChunks(sizes_.rows, [&](size_t begin, size_t count) {
    const MatView<float> normed(RowScratch::Get(kRowChunk * d, 0).first.data(), count, d);
    RmsNorm(x.Rows(begin, count), state_.Gain(state_.norm), state_.config.rms_norm_eps, normed);
    ScaleTo(normed.data, 1.0f, count * d, hidden_.data() + begin * d);
  });
  const size_t chunks = error_sums_.size() / sizes_.layers;
  for (size_t l = 0; l < sizes_.layers; ++l) {
    ErrorSums total;
    for (size_t c = l * chunks; c < (l + 1) * chunks; ++c) {
      total.error += error_sums_[c].error;
      total.power += error_sums_[c].power;
    }
    state_.quantisation[l].activation_error =
        total.power > 0 ? static_cast<float>(std::sqrt(total.error / total.power)) : 0.0f;
  }
}

template <class E>
double TypedTrainingPass<E>::LossAndGradient(std::span<const int32_t> tokens, float scale,
                                             bool backward) {
  const PassSizes& n = sizes_;
  const MatView<const E> hidden = std::as_const(hidden_).View(n.rows, n.d);
  const MatView<const E> table = std::as_const(embedding_).View(n.vocab, n.d);
  const float grad_scale = scale / static_cast<float>(n.rows);
  for (size_t begin = 0; begin < n.rows; begin += n.loss_rows) {
    const size_t count = std::min(n.loss_rows, n.rows - begin);
    const MatView<float> logits = logits_.View(count, n.vocab);
    const MatView<E> grad = logits_grad_.View(count, n.vocab);
    DenseMatmul(hidden.Rows(begin, count), Transpose::kNo, table, Transpose::kYes, 0.0f, logits);
    ParallelFor(count, 1, [&](size_t first, size_t last) {
      for (size_t i = first; i < last; ++i) {
        const size_t row = begin + i;
        const int32_t target = tokens[row / n.sequence * (n.sequence + 1) + row % n.sequence + 1];
        losses_[row] = CrossEntropyRow(logits.Row(i), n.vocab, target, grad_scale, grad.Row(i));
      }
    });
    if (!backward) continue;
    DenseMatmul(MatView<const E>(grad), Transpose::kNo, table, Transpose::kNo, 0.0f,
                input_grad_.View(n.rows, n.d).Rows(begin, count));
    DenseMatmul(MatView<const E>(grad), Transpose::kYes, hidden.Rows(begin, count), Transpose::kNo,
                1.0f, state_.Gradient(state_.embedding));
  }
  double sum = 0;
  for (size_t r = 0; r < n.rows; ++r) sum += losses_[r];
  return sum / static_cast<double>(n.rows);
}

template class TypedTrainingPass<float>;
template class TypedTrainingPass<BFloat16>;

}  // namespace tern
