#include <algorithm>
#include <cmath>
#include <utility>

#include "kernels/dense_matmul.h"
#include "kernels/norm.h"
#include "kernels/parallel.h"
#include "kernels/quantize.h"
#include "kernels/training_attention.h"
#include "trainer/training_pass.h"

namespace tern {
namespace {

// Calls fn(block, begin, count) for blocks of kRowBlock rows, on all threads.
template <class Fn>
void ForRowBlocks(size_t rows, Fn&& fn) {
  const size_t blocks = (rows + kRowBlock - 1) / kRowBlock;
  ParallelFor(blocks, 1, [&](size_t first, size_t last) {
    for (size_t b = first; b < last; ++b) {
      const size_t begin = b * kRowBlock;
      fn(b, begin, std::min(kRowBlock, rows - begin));
    }
  });
}

}  // namespace

template <class E>
void TypedTrainingPass<E>::Embed(std::span<const int32_t> tokens) {
  const size_t d = sizes_.d;
  const MatView<float> table = state_.Parameter(state_.embedding);
  ParallelFor(sizes_.rows, kRowBlock, [&](size_t begin, size_t end) {
    for (size_t r = begin; r < end; ++r) {
      // Rows of `tokens` are one longer than the input: the last token is only a target.
      const int32_t token =
          tokens[r / sizes_.sequence * (sizes_.sequence + 1) + r % sizes_.sequence];
      RoundTo(table.Row(static_cast<size_t>(token)), d, stream_[0].data() + r * d);
    }
  });
}

template <class E>
void TypedTrainingPass<E>::ForwardLayer(size_t layer) {
  const PassSizes& n = sizes_;
  const LayerSlices& s = state_.layers[layer];
  const LayerOperands<E>& w = operands_[layer];
  LayerActivations<E>& a = Activations(layer);
  NormQuantise(stream_[layer], s.input_layernorm, a.attention_in, layer);
  Project(a.attention_in, w.qkv, n.qkv_width, n.d, product_);
  SplitHeads(layer);
  Attend(a);
  NormQuantise(a.attention, s.attn_sub_norm, a.o_in, layer);
  Project(a.o_in, w.o, n.d, n.d, product_);
  AddToStream(stream_[layer], a.o_in, state_.weight_scales[s.o], a.middle);

  NormQuantise(a.middle, s.post_attention_layernorm, a.ffn_in, layer);
  Project(a.ffn_in, w.gate_up, 2 * n.f, n.d, a.gate_up);
  GateAndQuantise(layer);
  Project(a.down_in, w.down, n.d, n.f, product_);
  AddToStream(a.middle, a.down_in, state_.weight_scales[s.down], stream_[layer + 1]);
}

template <class E>
void TypedTrainingPass<E>::Project(const Input& input, const AlignedBuffer<E>& weights,
                                   size_t outputs, size_t inputs, AlignedBuffer<float>& out) {
  DenseMatmul(input.codes.View(sizes_.rows, inputs), Transpose::kNo, weights.View(outputs, inputs),
              Transpose::kYes, 0.0f, out.View(sizes_.rows, outputs));
}

namespace {

// Normalises and quantises rows [begin, begin + count) of x; the first row also shows the
// quantiser's error.
template <class E>
ErrorSums NormQuantiseBlock(MatView<const float> x, std::span<const float> gain, float eps,
                            size_t begin, E* out_codes, float* out_scales) {
  const size_t width = x.cols;
  RowScratch& scratch = RowScratch::Get(kRowBlock * width);
  const QuantizedRows rows{scratch.codes.View(x.rows, PadK(width)),
                           {out_scales + begin, x.rows},
                           {scratch.sums.data(), x.rows}};
  RmsNormQuantize(x, gain, eps, rows);
  for (size_t i = 0; i < x.rows; ++i)
    WidenCodes(rows.codes.Row(i), width, out_codes + (begin + i) * width);
  const MatView<float> normed(scratch.more.data(), 1, width);
  RmsNorm(x.Rows(0, 1), gain, eps, normed);
  return QuantisationError(normed.data, rows.codes.Row(0), rows.scales[0], width);
}

}  // namespace

template <class E>
void TypedTrainingPass<E>::NormQuantise(const AlignedBuffer<float>& x, size_t gain, Input& out,
                                        size_t layer) {
  const MatView<const float> rows = x.View(sizes_.rows, sizes_.d);
  const size_t blocks = error_sums_.size() / sizes_.layers;
  ForRowBlocks(sizes_.rows, [&](size_t block, size_t begin, size_t count) {
    const ErrorSums sums =
        NormQuantiseBlock(rows.Rows(begin, count), state_.Gain(gain), state_.config.rms_norm_eps,
                          begin, out.codes.data(), out.scales.data());
    error_sums_[layer * blocks + block].error += sums.error;
    error_sums_[layer * blocks + block].power += sums.power;
  });
}

template <class E>
void TypedTrainingPass<E>::AddToStream(const AlignedBuffer<float>& x, const Input& input,
                                       float weight_scale, AlignedBuffer<float>& out) {
  const size_t d = sizes_.d;
  ParallelFor(sizes_.rows, kRowBlock, [&](size_t begin, size_t end) {
    for (size_t r = begin; r < end; ++r) {
      AddScaled(x.data() + r * d, product_.data() + r * d, input.scales[r] * weight_scale, d,
                out.data() + r * d);
    }
  });
}

template <class E>
void TypedTrainingPass<E>::SplitHeads(size_t layer) {
  const PassSizes& n = sizes_;
  const LayerSlices& s = state_.layers[layer];
  LayerActivations<E>& a = Activations(layer);
  const float q_scale = state_.weight_scales[s.q], k_scale = state_.weight_scales[s.k];
  const float v_scale = state_.weight_scales[s.v];
  ParallelFor(n.rows, kRowBlock, [&](size_t begin, size_t end) {
    for (size_t r = begin; r < end; ++r) {
      float* product = product_.data() + r * n.qkv_width;
      const float scale = a.attention_in.scales[r];
      ScaleTo(product, scale * q_scale, n.d, product);
      ScaleTo(product + n.d, scale * k_scale, n.kv_width, product + n.d);
      ScaleTo(product + n.d + n.kv_width, scale * v_scale, n.kv_width, product + n.d + n.kv_width);
      const size_t position = r % n.sequence;
      for (size_t head = 0; head < n.heads + n.kv_heads; ++head) {
        RotateHead(rope_.Cos(position), rope_.Sin(position), 1.0f, n.head_dim,
                   product + head * n.head_dim);
      }
      // K and V are what the engine's cache holds; q it keeps in fp32, so only a bf16 GEMM rounds
      // it.
      ScaleTo(product, 1.0f, n.d, a.q.data() + r * n.d);
      RoundTo(product + n.d, n.kv_width, a.k.data() + r * n.kv_width);
      RoundTo(product + n.d + n.kv_width, n.kv_width, a.v.data() + r * n.kv_width);
    }
  });
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
void TypedTrainingPass<E>::GateAndQuantise(size_t layer) {
  const size_t f = sizes_.f, blocks = error_sums_.size() / sizes_.layers;
  const LayerSlices& s = state_.layers[layer];
  LayerActivations<E>& a = Activations(layer);
  const float gate_scale = state_.weight_scales[s.gate], up_scale = state_.weight_scales[s.up];
  ForRowBlocks(sizes_.rows, [&](size_t block, size_t begin, size_t count) {
    const MatView<float> m(RowScratch::Get(kRowBlock * f).values.data(), count, f);
    for (size_t i = 0; i < count; ++i) {
      const float* gate = a.gate_up.data() + (begin + i) * 2 * f;
      const float scale = a.ffn_in.scales[begin + i];
      ReluSquaredGateRow(gate, scale * gate_scale, gate + f, scale * up_scale, f, m.Row(i));
    }
    const ErrorSums sums = NormQuantiseBlock(MatView<const float>(m), state_.Gain(s.ffn_sub_norm),
                                             state_.config.rms_norm_eps, begin,
                                             a.down_in.codes.data(), a.down_in.scales.data());
    error_sums_[layer * blocks + block].error += sums.error;
    error_sums_[layer * blocks + block].power += sums.power;
  });
}

template <class E>
void TypedTrainingPass<E>::FinalNorm() {
  const size_t d = sizes_.d, blocks = error_sums_.size() / sizes_.layers;
  const MatView<const float> x = std::as_const(stream_.back()).View(sizes_.rows, d);
  ForRowBlocks(sizes_.rows, [&](size_t, size_t begin, size_t count) {
    const MatView<float> normed(RowScratch::Get(kRowBlock * d).values.data(), count, d);
    RmsNorm(x.Rows(begin, count), state_.Gain(state_.norm), state_.config.rms_norm_eps, normed);
    ScaleTo(normed.data, 1.0f, count * d, hidden_.data() + begin * d);
  });
  for (size_t l = 0; l < sizes_.layers; ++l) {
    ErrorSums total;
    for (size_t b = 0; b < blocks; ++b) {
      total.error += error_sums_[l * blocks + b].error;
      total.power += error_sums_[l * blocks + b].power;
      error_sums_[l * blocks + b] = {};
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
