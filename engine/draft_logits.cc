#include "engine/draft_logits.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "kernels/activation.h"
#include "kernels/int8_matmul.h"

namespace tern {
namespace {

std::vector<TokenId> DraftTokens(const Model& model, const MedusaHeads& heads) {
  std::vector<TokenId> tokens = heads.shortlist;
  if (tokens.empty()) {
    tokens.resize(static_cast<size_t>(model.config.vocab_size));
    std::iota(tokens.begin(), tokens.end(), 0);
  } else {
    tokens.resize(std::min(tokens.size(), ShortlistSize(model)));
    std::sort(tokens.begin(), tokens.end());
  }
  return tokens;
}

}  // namespace

size_t ShortlistSize(const Model& model) {
  size_t weights = 0;
  for (const LayerWeights& w : model.layers) {
    for (const TernaryMatrix* matrix :
         {&w.q_proj, &w.k_proj, &w.v_proj, &w.o_proj, &w.gate_proj, &w.up_proj, &w.down_proj}) {
      weights += matrix->rows * matrix->cols;
    }
  }
  const size_t d = static_cast<size_t>(model.config.hidden_size);
  return std::max(weights / (64 * d), size_t{256});
}

DraftLogits::DraftLogits(const Model& model, std::shared_ptr<const MedusaHeads> heads)
    : heads_(std::move(heads)),
      tokens_(DraftTokens(model, *heads_)),
      vocabulary_(PackInt8(model.OutputEmbedding(), tokens_)) {
  const size_t k = static_cast<size_t>(heads_->count), d = static_cast<size_t>(heads_->hidden_size);
  for (size_t head = 0; head < k; ++head)
    blocks_.push_back(PackInt8(heads_->weights.View(k * d, d).Rows(head * d, d)));
  rows_ = AlignedBuffer<float>(k * d);
  logits_ = AlignedBuffer<float>(k * tokens_.size());
  codes_ = AlignedBuffer<int8_t>(k * PadK(d));
  scales_ = AlignedBuffer<float>(k);
  sums_ = AlignedBuffer<int32_t>(k);
}

MatView<const float> DraftLogits::Evaluate(std::span<const float> hidden, int32_t first,
                                           int32_t count) {
  TERN_CHECK(first >= 0 && count >= 1 && first + count <= heads_->count &&
             hidden.size() == static_cast<size_t>(heads_->hidden_size))
      << "heads " << first << " + " << count << " of " << heads_->count << ", hidden ["
      << hidden.size() << "]";
  const size_t d = hidden.size(), begin = static_cast<size_t>(first),
               n = static_cast<size_t>(count);
  const auto quantized = [&](size_t rows) {
    return QuantizedRows{codes_.View(rows, PadK(d)), scales_.span().first(rows),
                         sums_.span().first(rows)};
  };
  QuantizeRows({hidden.data(), 1, d}, quantized(1));
  const MatView<float> rows = rows_.View(n, d);
  for (size_t i = 0; i < n; ++i) Int8Matmul(blocks_[begin + i], quantized(1), rows.Rows(i, 1));
  const MatView<const float> biases = heads_->biases.View(static_cast<size_t>(heads_->count), d);
  ResidualSilu(hidden, biases.Rows(begin, n), rows);
  QuantizeRows(rows, quantized(n));
  const MatView<float> logits = logits_.View(n, tokens_.size());
  Int8Matmul(vocabulary_, quantized(n), logits);
  return logits;
}

}  // namespace tern
