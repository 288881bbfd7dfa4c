#include "engine/transformer.h"

#include <algorithm>
#include <cmath>

#include "engine/row_placement.h"
#include "kernels/activation.h"
#include "kernels/attention.h"
#include "kernels/norm.h"
#include "kernels/quantize.h"
#include "kernels/rope.h"
#include "kernels/ternary_matmul.h"
#include "kernels/ternary_sparse.h"
#include "kernels/thread_team.h"
#include "kernels/vocab_projection.h"
#include "kernels/vocab_screen.h"
#include "kernels/weight_only_matmul.h"

// Formulas: the reference implementations of BitNet b1.58 (RMSNorm before, and a second one inside,
// each block), Llama (only the former) and Qwen3 (and one on each head of q and k).
// Rounding follows the mathematically clean form rather than the bf16 of the reference
// implementation: fp32 residual stream, norms, softmax and epilogues, int8 activations, exact
// integer products, KV in the type of the cache.
namespace tern {
namespace {

// One call of Forward: what every step needs.
struct Pass {
  const Model& model;
  const Batch& batch;
  KvCache& cache;
  Workspace& ws;
  const Tap* tap;

  size_t n() const { return batch.tokens.size(); }
  void Show(std::string_view name, int32_t layer, MatView<const float> value) const {
    if (tap != nullptr) (*tap)(name, layer, value);
  }
};

// What ternary linears multiply: int8 rows or fp32 rows, as the model's activations are.
struct LinearInput {
  QuantizedRows int8;
  MatView<const float> floats;
};

// RMSNorm, where the model has this one (`gain` is not empty), then int8 per row, where it takes
// that. The result lives until the next call.
LinearInput NormInput(const Pass& p, std::string_view name, int32_t layer, MatView<const float> x,
                      const AlignedBuffer<float>& gain) {
  const float eps = p.model.config.rms_norm_eps;
  const bool takes_int8 = p.model.config.activations == Activations::kInt8;
  const bool has_norm = gain.size() > 0;
  const MatView<float> normed = p.ws.normed.View(x.rows, x.cols);
  if (has_norm && (!takes_int8 || p.tap != nullptr)) {
    RmsNorm(x, gain.span(), eps, normed);
    p.Show(name, layer, normed);
  }
  if (!takes_int8) return {.floats = has_norm ? normed : x};
  const QuantizedRows int8 = p.ws.Quantized(x.rows, x.cols);
  if (has_norm) {
    RmsNormQuantize(x, gain.span(), eps, int8);
  } else {
    QuantizeRows(x, int8);
  }
  return {.int8 = int8};
}

// y = x W^T, shown under the weight's name.
MatView<float> Multiply(const Pass& p, std::string_view name, int32_t layer, const TernaryMatrix& w,
                        const LinearInput& x, AlignedBuffer<float>& buffer) {
  const MatView<float> y = buffer.View(p.n(), w.rows);
  if (p.model.config.activations == Activations::kInt8) {
    TernaryMatmul(w.View(), x.int8, y);
  } else {
    WeightOnlyMatmul(w.View(), x.floats, y);
  }
  p.Show(name, layer, y);
  return y;
}

// RMSNorm of every head of x [n, heads * hd] on its own, where the model has it.
void NormHeads(const Pass& p, std::string_view name, int32_t layer, MatView<float> x,
               const AlignedBuffer<float>& gain) {
  if (gain.size() == 0) return;
  const MatView<float> heads(x.data, x.rows * x.cols / gain.size(), gain.size());
  RmsNorm(heads, gain.span(), p.model.config.rms_norm_eps, heads);
  p.Show(name, layer, x);
}

void Gate(const Pass& p, MatView<float> gate, MatView<const float> up) {
  switch (p.model.config.hidden_act) {
    case HiddenAct::kRelu2:
      return ReluSquaredGate(gate, up, gate);
    case HiddenAct::kSilu:
      return SiluGate(gate, up, gate);
  }
}

// Rounds K and V to the cache's type before any row, their own included, reads them.
void StoreKeysAndValues(const Pass& p, int32_t layer, MatView<const float> k,
                        MatView<const float> v) {
  const ModelConfig& config = p.model.config;
  const auto head_dim = static_cast<size_t>(config.head_dim);
  for (size_t row = 0; row < k.rows; ++row) {
    for (int32_t head = 0; head < config.num_key_value_heads; ++head) {
      const size_t begin = static_cast<size_t>(head) * head_dim;
      p.cache.Store(layer, p.ws.sequences[row], p.ws.slots[row], head,
                    k.RowSpan(row).subspan(begin, head_dim),
                    v.RowSpan(row).subspan(begin, head_dim));
    }
  }
}

void AttentionBlock(const Pass& p, int32_t layer, MatView<float> residual) {
  const LayerWeights& w = p.model.layers[static_cast<size_t>(layer)];
  Workspace& ws = p.ws;
  const LinearInput x = NormInput(p, "input_layernorm", layer, residual, w.input_layernorm);
  const MatView<float> q = Multiply(p, "q_proj", layer, w.q_proj, x, ws.q);
  const MatView<float> k = Multiply(p, "k_proj", layer, w.k_proj, x, ws.k);
  const MatView<float> v = Multiply(p, "v_proj", layer, w.v_proj, x, ws.v);

  NormHeads(p, "q_norm", layer, q, w.q_norm);
  NormHeads(p, "k_norm", layer, k, w.k_norm);
  const std::span<const int32_t> positions = ws.positions.span().first(p.n());
  ApplyRope(*p.model.rope, positions, q);
  ApplyRope(*p.model.rope, positions, k);
  StoreKeysAndValues(p, layer, k, v);
  const MatView<float> mixed = ws.attention.View(q.rows, q.cols);
  Attention(q, p.cache.Layer(layer), ws.rows.span().first(p.n()),
            static_cast<size_t>(p.model.config.num_attention_heads), ws.attention_scratch.span(),
            mixed);
  p.Show("attention", layer, mixed);

  const LinearInput o = NormInput(p, "attn_sub_norm", layer, mixed, w.attn_sub_norm);
  AddInPlace(residual, Multiply(p, "o_proj", layer, w.o_proj, o, ws.projected));
}

// Zero skipping (zero_skip.h). A tap is to see what the dense products give.
bool SkipsZeros(const Pass& p, const LayerWeights& w) {
  return p.batch.skip_zeros && p.n() == 1 && p.tap == nullptr && w.up_rows.count > 0;
}

// Whether reading `listed` lines alone is faster than reading all, and counts what that saves. Up
// to a quarter it always was where measured, from a third on often not (kernels/README.md).
bool Pays(const Pass& p, const TernaryLines& lines, const TernaryMatrix& all, size_t listed) {
  if (4 * listed > lines.count) return false;
  p.ws.skipped_bytes +=
      static_cast<int64_t>(all.data.size()) - static_cast<int64_t>(listed * lines.line_bytes());
  return true;
}

// up_proj where the gate is open, and 0 elsewhere: the gate is 0 there, and so is its product with
// anything finite.
MatView<float> MultiplyWhereOpen(const Pass& p, int32_t layer, const LayerWeights& w,
                                 const LinearInput& x, MatView<const float> gate) {
  Workspace& ws = p.ws;
  if (SkipsZeros(p, w)) {
    const float most = 127.0f * static_cast<float>(w.up_proj.cols);  // |dot| at most; exact
    const bool finite = std::isfinite(most * (x.int8.scales[0] * w.up_proj.scale));
    const std::span<const int32_t> open = ListPositive(gate.RowSpan(0), ws.sparse);
    if (finite && Pays(p, w.up_rows, w.up_proj, open.size())) {
      const MatView<float> up = ws.up.View(1, w.up_proj.rows);
      TernaryRowsMatvec(w.up_rows, x.int8, open, up.RowSpan(0));
      return up;
    }
  }
  return Multiply(p, "up_proj", layer, w.up_proj, x, ws.up);
}

// down_proj without the columns that are multiplied by 0.
MatView<float> MultiplyNonZero(const Pass& p, int32_t layer, const LayerWeights& w,
                               const LinearInput& gated) {
  Workspace& ws = p.ws;
  if (SkipsZeros(p, w)) {
    const std::span<const int32_t> listed =
        ListNonZero(gated.int8.codes.RowSpan(0).first(w.down_proj.cols), ws.sparse);
    if (Pays(p, w.down_columns, w.down_proj, listed.size())) {
      const MatView<float> y = ws.projected.View(1, w.down_proj.rows);
      TernaryColumnsMatvec(w.down_columns, gated.int8, listed, ws.sparse, y.RowSpan(0));
      return y;
    }
  }
  return Multiply(p, "down_proj", layer, w.down_proj, gated, ws.projected);
}

void FfnBlock(const Pass& p, int32_t layer, MatView<float> residual) {
  const LayerWeights& w = p.model.layers[static_cast<size_t>(layer)];
  Workspace& ws = p.ws;
  const LinearInput x =
      NormInput(p, "post_attention_layernorm", layer, residual, w.post_attention_layernorm);
  const MatView<float> gate = Multiply(p, "gate_proj", layer, w.gate_proj, x, ws.gate);
  const MatView<float> up = MultiplyWhereOpen(p, layer, w, x, gate);
  Gate(p, gate, up);
  p.Show("gated", layer, gate);

  const LinearInput gated = NormInput(p, "ffn_sub_norm", layer, gate, w.ffn_sub_norm);
  AddInPlace(residual, MultiplyNonZero(p, layer, w, gated));
}

void RunLayer(const Pass& p, int32_t layer, MatView<float> residual) {
  AttentionBlock(p, layer, residual);
  FfnBlock(p, layer, residual);
  p.Show("layer", layer, residual);
}

MatView<float> Embed(const Pass& p) {
  const size_t d = static_cast<size_t>(p.model.config.hidden_size);
  const MatView<float> residual = p.ws.residual.View(p.n(), d);
  for (size_t row = 0; row < p.n(); ++row) {
    const BFloat16* from =
        p.model.embed_tokens.data() + static_cast<size_t>(p.batch.tokens[row]) * d;
    std::transform(from, from + d, residual.Row(row), [](BFloat16 e) { return e.ToFloat(); });
  }
  p.Show("embed_tokens", -1, residual);
  return residual;
}

// The hidden rows of `list`, side by side in `buffer`.
MatView<const float> Gather(MatView<const float> hidden, std::span<const int32_t> list,
                            AlignedBuffer<float>& buffer) {
  const MatView<float> wanted = buffer.View(list.size(), hidden.cols);
  for (size_t i = 0; i < list.size(); ++i)
    std::copy_n(hidden.Row(static_cast<size_t>(list[i])), hidden.cols, wanted.Row(i));
  return wanted;
}

MatView<const float> Logits(const Pass& p, MatView<const float> hidden) {
  const size_t m = p.batch.logit_rows.size();
  const MatView<float> logits = p.ws.logits.View(m, static_cast<size_t>(p.model.config.vocab_size));
  if (m == 0) return logits;
  VocabProjection(Gather(hidden, p.batch.logit_rows, p.ws.logit_hidden), p.model.OutputEmbedding(),
                  logits);
  p.Show("logits", -1, logits);
  return logits;
}

ScreenedLogits* Screen(const Pass& p, MatView<const float> hidden) {
  const std::span<const int32_t> rows = p.batch.screened_rows;
  if (rows.empty()) return nullptr;
  ScreenedLogits& screened = p.ws.screened;
  screened.Screen(Gather(hidden, rows, p.ws.screened_hidden), p.model.OutputEmbedding(),
                  p.model.screen);
  return &screened;
}

}  // namespace

ForwardResult Forward(const Model& model, const Batch& batch, KvCache& cache, Workspace& workspace,
                      const Tap* tap) {
  const TeamScope team;
  const Pass p{model, batch, cache, workspace, tap};
  PlaceRows(model, batch, cache, workspace);
  workspace.skipped_bytes = 0;
  const MatView<float> residual = Embed(p);
  for (int32_t layer = 0; layer < model.config.num_hidden_layers; ++layer)
    RunLayer(p, layer, residual);
  const MatView<float> hidden = workspace.hidden.View(residual.rows, residual.cols);
  RmsNorm(residual, model.norm.span(), model.config.rms_norm_eps, hidden);
  p.Show("norm", -1, hidden);
  return {hidden, Logits(p, hidden), Screen(p, hidden), workspace.skipped_bytes};
}

void RowLogits(const Model& model, std::span<const float> hidden, std::span<float> logits) {
  VocabProjection({hidden.data(), 1, hidden.size()}, model.OutputEmbedding(),
                  {logits.data(), 1, logits.size()});
}

}  // namespace tern
