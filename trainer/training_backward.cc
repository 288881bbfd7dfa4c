#include <algorithm>
#include <array>
#include <utility>

#include "kernels/activation.h"
#include "kernels/dense_matmul.h"
#include "kernels/parallel.h"
#include "kernels/training_attention.h"
#include "trainer/training_pass.h"

namespace tern {
namespace {

// Calls fn(partials, begin, end) for blocks of kGainBlock rows, on all threads; partials is that
// block's row of `buffer`, zeroed.
template <class Fn>
void ForGainBlocks(size_t rows, size_t width, AlignedBuffer<float>& buffer, Fn&& fn) {
  const size_t blocks = (rows + kGainBlock - 1) / kGainBlock;
  ParallelFor(blocks, 1, [&](size_t first, size_t last) {
    for (size_t b = first; b < last; ++b) {
      float* partials = buffer.data() + b * width;
      std::fill_n(partials, width, 0.0f);
      fn(partials, b * kGainBlock, std::min(rows, (b + 1) * kGainBlock));
    }
  });
}

}  // namespace

template <class E>
void TypedTrainingPass<E>::AddGainPartials(size_t gain) {
  const size_t width = state_.slices[gain].size();
  const size_t blocks = (sizes_.rows + kGainBlock - 1) / kGainBlock;
  float* grad = state_.Gradient(gain).data;
  for (size_t b = 0; b < blocks; ++b) {
    AddScaled(grad, gain_partials_.data() + b * width, 1.0f, width, grad);
  }
}

template <class E>
void TypedTrainingPass<E>::NormGrad(const AlignedBuffer<float>& x, size_t gain,
                                    const QuantisedInput& input, bool accumulate,
                                    AlignedBuffer<float>& dx) {
  const size_t d = sizes_.d;
  ForGainBlocks(sizes_.rows, d, gain_partials_, [&](float* partials, size_t begin, size_t end) {
    for (size_t r = begin; r < end; ++r) {
      RmsNormGrad(x.data() + r * d, state_.Gain(gain).data(), state_.config.rms_norm_eps,
                  input_grad_.data() + r * d, 1.0f / input.scales[r], d, accumulate,
                  dx.data() + r * d, partials);
    }
  });
  AddGainPartials(gain);
}

template <class E>
void TypedTrainingPass<E>::BackwardLinear(const AlignedBuffer<E>& weights,
                                          const QuantisedInput& input,
                                          std::span<const size_t> slices) {
  size_t outputs = 0;
  const size_t inputs = state_.slices[slices[0]].cols;
  for (size_t slice : slices) outputs += state_.slices[slice].rows;
  const MatView<const E> grads = std::as_const(product_grad_).View(sizes_.rows, outputs);
  const MatView<float> input_grads = input_grad_.View(sizes_.rows, inputs);
  for (size_t begin = 0; begin < sizes_.rows; begin += kGradRows) {
    const size_t count = std::min(kGradRows, sizes_.rows - begin);
    const MatView<const E> grad = grads.Rows(begin, count);
    DenseMatmul(grad, Transpose::kNo, weights.View(outputs, inputs), Transpose::kNo, 0.0f,
                input_grads.Rows(begin, count));
    ParallelFor(count, kRowChunk, [&](size_t first, size_t last) {
      for (size_t r = first; r < last; ++r) {
        WidenCodes(input.codes.data() + (begin + r) * PadK(inputs), inputs,
                   codes_.data() + r * inputs);
      }
    });
    DenseMatmul(grad, Transpose::kYes, std::as_const(codes_).View(count, inputs), Transpose::kNo,
                begin == 0 ? 0.0f : 1.0f, weight_grad_.View(outputs, inputs));
  }
  size_t first = 0;
  for (size_t slice : slices) {
    const MatView<float> master = state_.Gradient(slice);
    const float scale = 1.0f / state_.weight_scales[slice];
    ParallelFor(master.rows, kRowChunk, [&](size_t begin, size_t end) {
      for (size_t r = begin; r < end; ++r) {
        AddScaled(master.Row(r), weight_grad_.data() + (first + r) * inputs, scale, inputs,
                  master.Row(r));
      }
    });
    first += master.rows;
  }
}

template <class E>
void TypedTrainingPass<E>::RoundStreamGrad(const QuantisedInput& input, float weight_scale) {
  const size_t d = sizes_.d;
  ParallelFor(sizes_.rows, kRowChunk, [&](size_t begin, size_t end) {
    for (size_t r = begin; r < end; ++r) {
      ScaleTo(stream_grad_.data() + r * d, input.scales[r] * weight_scale, d,
              product_grad_.data() + r * d);
    }
  });
}

template <class E>
void TypedTrainingPass<E>::BackwardLayer(size_t layer) {
  if (layer + 1 == sizes_.layers) {
    // From the loss: input_grad_ holds the gradient of the final norm's output, unscaled.
    const size_t d = sizes_.d;
    ForGainBlocks(sizes_.rows, d, gain_partials_, [&](float* partials, size_t begin, size_t end) {
      for (size_t r = begin; r < end; ++r) {
        RmsNormGrad(stream_.back().data() + r * d, state_.Gain(state_.norm).data(),
                    state_.config.rms_norm_eps, input_grad_.data() + r * d, 1.0f, d, false,
                    stream_grad_.data() + r * d, partials);
      }
    });
    AddGainPartials(state_.norm);
  }
  BackwardFfn(layer);
  BackwardAttention(layer);
}

template <class E>
void TypedTrainingPass<E>::BackwardFfn(size_t layer) {
  const size_t f = sizes_.f;
  const LayerSlices& s = state_.layers[layer];
  LayerActivations<E>& a = Activations(layer);
  const float gate_scale = state_.weight_scales[s.gate], up_scale = state_.weight_scales[s.up];
  RoundStreamGrad(a.down_in, state_.weight_scales[s.down]);
  BackwardLinear(operands_[layer].down_grad, a.down_in, std::array{s.down});

  ForGainBlocks(sizes_.rows, f, gain_partials_, [&](float* partials, size_t begin, size_t end) {
    RowScratch& scratch = RowScratch::Get(f, f);
    float *m = scratch.first.data(), *dm = scratch.second.data();
    for (size_t r = begin; r < end; ++r) {
      const float *gate = a.gate_up.data() + r * 2 * f, *up = gate + f;
      ReluSquaredGate({gate, 1, f}, {up, 1, f}, {m, 1, f});
      RmsNormGrad(m, state_.Gain(s.ffn_sub_norm).data(), state_.config.rms_norm_eps,
                  input_grad_.data() + r * f, 1.0f / a.down_in.scales[r], f, false, dm, partials);
      E* out = product_grad_.data() + r * 2 * f;
      const float scale = a.ffn_in.scales[r];
      ReluSquaredGateGrad(gate, up, dm, scale * gate_scale, scale * up_scale, f, out, out + f);
    }
  });
  AddGainPartials(s.ffn_sub_norm);
  BackwardLinear(operands_[layer].gate_up, a.ffn_in, std::array{s.gate, s.up});
  NormGrad(a.middle, s.post_attention_layernorm, a.ffn_in, true, stream_grad_);
}

template <class E>
void TypedTrainingPass<E>::BackwardAttention(size_t layer) {
  const PassSizes& n = sizes_;
  const LayerSlices& s = state_.layers[layer];
  LayerActivations<E>& a = Activations(layer);
  RoundStreamGrad(a.o_in, state_.weight_scales[s.o]);
  BackwardLinear(operands_[layer].o_grad, a.o_in, std::array{s.o});
  NormGrad(a.attention, s.attn_sub_norm, a.o_in, false, attention_grad_);
  AttentionGrad(a);

  const float q_scale = state_.weight_scales[s.q], k_scale = state_.weight_scales[s.k];
  const float v_scale = state_.weight_scales[s.v];
  ParallelFor(n.rows, kRowChunk, [&](size_t begin, size_t end) {
    for (size_t r = begin; r < end; ++r) {
      float* grad = qkv_grad_.data() + r * n.qkv_width;
      E* out = product_grad_.data() + r * n.qkv_width;
      const size_t position = r % n.sequence;
      for (size_t head = 0; head < n.heads + n.kv_heads; ++head) {
        RotateHead(rope_.Cos(position), rope_.Sin(position), -1.0f, n.head_dim,
                   grad + head * n.head_dim);
      }
      const float scale = a.attention_in.scales[r];
      ScaleTo(grad, scale * q_scale, n.d, out);
      ScaleTo(grad + n.d, scale * k_scale, n.kv_width, out + n.d);
      ScaleTo(grad + n.d + n.kv_width, scale * v_scale, n.kv_width, out + n.d + n.kv_width);
    }
  });
  BackwardLinear(operands_[layer].qkv, a.attention_in, std::array{s.q, s.k, s.v});
  NormGrad(stream_[layer], s.input_layernorm, a.attention_in, true, stream_grad_);
}

// From attention_grad_ to the gradients of the rotated q, k and of v, side by side in qkv_grad_.
template <class E>
void TypedTrainingPass<E>::AttentionGrad(LayerActivations<E>& a) {
  const PassSizes& n = sizes_;
  const size_t group = n.heads / n.kv_heads, width = group * n.head_dim;
  ParallelFor(n.batch * n.kv_heads, 1, [&](size_t begin, size_t end) {
    thread_local AttentionTrainingScratch<E> scratch;
    for (size_t unit = begin; unit < end; ++unit) {
      const size_t first = unit / n.kv_heads * n.sequence, kv_head = unit % n.kv_heads;
      const size_t column = kv_head * width, kv_column = kv_head * n.head_dim;
      for (size_t r = first; r < first + n.sequence; ++r) {
        const size_t at = r * n.d + column;
        ScaleTo(attention_grad_.data() + at, 1.0f, width, attention_grad_rounded_.data() + at);
      }
      const auto of = [&]<class T>(MatView<T> all, size_t from, size_t count) {
        return all.Rows(first, n.sequence).Cols(from, count);
      };
      const MatView<float> grads = qkv_grad_.View(n.rows, n.qkv_width);
      const AttentionInputs<E> in{
          of(std::as_const(a.q).View(n.rows, n.d), column, width),
          of(std::as_const(a.k).View(n.rows, n.kv_width), kv_column, n.head_dim),
          of(std::as_const(a.v).View(n.rows, n.kv_width), kv_column, n.head_dim), group};
      TrainingAttentionGrad(
          in, a.log_sums.span().subspan(unit * group * n.sequence, group * n.sequence), scratch,
          {of(std::as_const(a.attention).View(n.rows, n.d), column, width),
           of(std::as_const(attention_grad_).View(n.rows, n.d), column, width),
           of(std::as_const(attention_grad_rounded_).View(n.rows, n.d), column, width),
           of(grads, column, width), of(grads, n.d + kv_column, n.head_dim),
           of(grads, n.d + n.kv_width + kv_column, n.head_dim)});
    }
  });
}

// Each thread owns columns, so that no two add to one value and the order is that of the rows.
template <class E>
void TypedTrainingPass<E>::EmbeddingGrad(std::span<const int32_t> tokens) {
  const size_t d = sizes_.d;
  const MatView<float> grad = state_.Gradient(state_.embedding);
  ParallelFor(d, 16, [&](size_t begin, size_t end) {
    for (size_t r = 0; r < sizes_.rows; ++r) {
      const int32_t token =
          tokens[r / sizes_.sequence * (sizes_.sequence + 1) + r % sizes_.sequence];
      float* out = grad.Row(static_cast<size_t>(token)) + begin;
      AddScaled(out, stream_grad_.data() + r * d + begin, 1.0f, end - begin, out);
    }
  });
}

template class TypedTrainingPass<float>;
template class TypedTrainingPass<BFloat16>;

}  // namespace tern
