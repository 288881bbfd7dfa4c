#include "trainer/training_pass.h"

#include <algorithm>

#include "engine/error.h"
#include "kernels/dense_matmul.h"
#include "kernels/parallel.h"
#include "kernels/quantize.h"

namespace tern {
namespace {

size_t Size(int32_t value) { return static_cast<size_t>(value); }

// 32 MiB of logits at most, unless the vocabulary is so large that fewer rows would starve the
// GEMM.
size_t LossRows(size_t rows, size_t vocab) {
  constexpr size_t kLogits = size_t{2} << 20, kFewest = 64;
  return std::min(rows, std::max(kFewest, kLogits / vocab / kFewest * kFewest));
}

template <class E>
void WidenAll(MatView<const int8_t> codes, E* out) {
  ParallelFor(codes.rows, 16, [&](size_t begin, size_t end) {
    for (size_t r = begin; r < end; ++r) WidenCodes(codes.Row(r), codes.cols, out + r * codes.cols);
  });
}

}  // namespace

PassSizes::PassSizes(const BackboneState& state)
    : batch(Size(state.options.batch)),
      sequence(Size(state.options.sequence)),
      rows(batch * sequence),
      d(Size(state.config.hidden_size)),
      f(Size(state.config.intermediate_size)),
      heads(Size(state.config.num_attention_heads)),
      kv_heads(Size(state.config.num_key_value_heads)),
      head_dim(Size(state.config.head_dim)),
      kv_width(kv_heads * head_dim),
      qkv_width(d + 2 * kv_width),
      vocab(Size(state.config.vocab_size)),
      layers(Size(state.config.num_hidden_layers)),
      loss_rows(LossRows(rows, vocab)) {}

RowScratch& RowScratch::Get(size_t first_floats, size_t second_floats) {
  thread_local RowScratch scratch;
  if (scratch.first.size() < first_floats) scratch.first = AlignedBuffer<float>(first_floats);
  if (scratch.second.size() < second_floats) scratch.second = AlignedBuffer<float>(second_floats);
  return scratch;
}

template <class E>
template <class T>
AlignedBuffer<T> TypedTrainingPass<E>::Allocate(size_t count) {
  bytes_ += count * sizeof(T);
  return AlignedBuffer<T>(count);
}

template <class E>
void TypedTrainingPass<E>::AllocateLayer(LayerActivations<E>& a) {
  const PassSizes& s = sizes_;
  for (QuantisedInput* input : {&a.attention_in, &a.o_in, &a.ffn_in, &a.down_in}) {
    input->width = input == &a.down_in ? s.f : s.d;
    input->codes = Allocate<int8_t>(s.rows * PadK(input->width));
    input->scales = Allocate<float>(s.rows);
    input->sums = Allocate<int32_t>(s.rows);
  }
  a.q = Allocate<E>(s.rows * s.d);
  a.k = Allocate<E>(s.rows * s.kv_width);
  a.v = Allocate<E>(s.rows * s.kv_width);
  a.log_sums = Allocate<float>(s.rows * s.heads);
  a.attention = Allocate<float>(s.rows * s.d);
  a.middle = Allocate<float>(s.rows * s.d);
  a.gate_up = Allocate<float>(s.rows * 2 * s.f);
}

template <class E>
TypedTrainingPass<E>::TypedTrainingPass(BackboneState& state)
    : state_(state),
      sizes_(state),
      rope_(sizes_.sequence, sizes_.head_dim, state.config.rope_theta) {
  const PassSizes& s = sizes_;
  operands_.resize(s.layers);
  for (LayerOperands<E>& w : operands_) {
    w.qkv = Allocate<E>(s.qkv_width * s.d);
    w.o_grad = Allocate<E>(s.d * s.d);
    w.gate_up = Allocate<E>(2 * s.f * s.d);
    w.down_grad = Allocate<E>(s.d * s.f);
  }
  embedding_ = Allocate<E>(s.vocab * s.d);
  activations_.resize(state.options.recompute ? 1 : s.layers);
  for (LayerActivations<E>& a : activations_) AllocateLayer(a);
  for (size_t i = 0; i <= s.layers; ++i) stream_.push_back(Allocate<float>(s.rows * s.d));
  const size_t wide = std::max(s.d, s.f), widest = std::max(2 * s.f, s.qkv_width);
  hidden_ = Allocate<E>(s.rows * s.d);
  logits_ = Allocate<float>(s.loss_rows * s.vocab);
  logits_grad_ = Allocate<E>(s.loss_rows * s.vocab);
  losses_ = Allocate<float>(s.rows);
  error_sums_.resize(s.layers * ((s.rows + kRowChunk - 1) / kRowChunk));
  stream_grad_ = Allocate<float>(s.rows * s.d);
  qkv_grad_ = Allocate<float>(s.rows * s.qkv_width);
  codes_ = Allocate<E>(std::min(kGradRows, s.rows) * wide);
  product_grad_ = Allocate<E>(s.rows * widest);
  input_grad_ = Allocate<float>(s.rows * wide);
  attention_grad_ = Allocate<float>(s.rows * s.d);
  attention_grad_rounded_ = Allocate<E>(s.rows * s.d);
  weight_grad_ = Allocate<float>(widest * s.d);
  gain_partials_ = Allocate<float>((s.rows + kGainBlock - 1) / kGainBlock * wide);
}

template <class E>
void TypedTrainingPass<E>::RefreshWeights() {
  for (size_t l = 0; l < sizes_.layers; ++l) {
    const LayerSlices& s = state_.layers[l];
    LayerOperands<E>& w = operands_[l];
    const auto refresh = [&](size_t slice, TernaryMatrix& packed, E* wide) {
      packed = PackTernary(state_.Codes(slice), state_.weight_scales[slice]);
      WidenAll(state_.Codes(slice), wide);
    };
    const size_t d = sizes_.d;
    refresh(s.q, w.q, w.qkv.data());
    refresh(s.k, w.k, w.qkv.data() + d * d);
    refresh(s.v, w.v, w.qkv.data() + (d + sizes_.kv_width) * d);
    refresh(s.o, w.o, w.o_grad.data());
    refresh(s.gate, w.gate, w.gate_up.data());
    refresh(s.up, w.up, w.gate_up.data() + sizes_.f * d);
    refresh(s.down, w.down, w.down_grad.data());
  }
  const MatView<const float> table = state_.Parameter(state_.embedding);
  ParallelFor(table.rows, 16, [&](size_t begin, size_t end) {
    for (size_t r = begin; r < end; ++r)
      RoundTo(table.Row(r), table.cols, embedding_.data() + r * table.cols);
  });
}

template <class E>
void TypedTrainingPass<E>::CheckTokens(std::span<const int32_t> tokens) const {
  const size_t want = sizes_.batch * (sizes_.sequence + 1);
  if (tokens.size() != want) {
    throw InvalidArgument("training batch: expected " + std::to_string(want) + " tokens, got " +
                          std::to_string(tokens.size()));
  }
  for (int32_t token : tokens) {
    if (token < 0 || token >= state_.config.vocab_size) {
      throw InvalidArgument(
          "training batch: token " + std::to_string(token) + " is outside the vocabulary of " +
          std::to_string(state_.config.vocab_size) + "; check the tokenizer and the token file");
    }
  }
}

template <class E>
double TypedTrainingPass<E>::Run(std::span<const int32_t> tokens, float scale, bool backward) {
  CheckTokens(tokens);
  Forward(tokens);
  const double loss = LossAndGradient(tokens, scale, backward);
  if (!backward) return loss;
  for (size_t l = sizes_.layers; l-- > 0;) {
    // A single set of activations holds the last layer's only.
    if (state_.options.recompute && l + 1 < sizes_.layers) ForwardLayer(l);
    BackwardLayer(l);
  }
  EmbeddingGrad(tokens);
  return loss;
}

template <class E>
void TypedTrainingPass<E>::Logits(std::span<const int32_t> tokens, std::span<float> logits) {
  CheckTokens(tokens);
  TERN_CHECK(logits.size() == sizes_.rows * sizes_.vocab) << logits.size() << " logits";
  Forward(tokens);
  DenseMatmul(std::as_const(hidden_).View(sizes_.rows, sizes_.d), Transpose::kNo,
              std::as_const(embedding_).View(sizes_.vocab, sizes_.d), Transpose::kYes, 0.0f,
              MatView<float>(logits.data(), sizes_.rows, sizes_.vocab));
}

std::unique_ptr<TrainingPass> MakeTrainingPass(BackboneState& state) {
  if (state.options.bfloat16 && HasBFloat16Matmul())
    return std::make_unique<TypedTrainingPass<BFloat16>>(state);
  return std::make_unique<TypedTrainingPass<float>>(state);
}

template class TypedTrainingPass<float>;
template class TypedTrainingPass<BFloat16>;

}  // namespace tern
