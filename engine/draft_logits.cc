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
    for (const TernaryMatrix* matrix : Linears(w)) {
      weights += matrix->rows * matrix->cols;
    }
  }
  const size_t d = static_cast<size_t>(model.config.hidden_size);
  return std::max(weights / (64 * d), size_t{256});
}

DraftLogits::DraftLogits(const Model& model, const MedusaHeads& heads)
    : heads_(static_cast<size_t>(heads.count)),
      hidden_size_(static_cast<size_t>(heads.hidden_size)),
      tokens_(DraftTokens(model, heads)),
      calibration_(heads.calibration.fitted() ? heads.calibration
                                              : DraftCalibration::Unfitted(heads.count)),
      mismatch_(heads.mismatch) {
  const size_t k = heads_, d = hidden_size_;
  bool two_matrices = false;
  for (const MedusaBlock& from : heads.blocks) {
    Block& block = blocks_.emplace_back();
    for (size_t head = 0; head < k; ++head) {
      block.weights.push_back(PackInt8(from.weights.View(k * d, d).Rows(head * d, d)));
      if (from.two_matrices())
        block.outputs.push_back(PackInt8(from.outputs.View(k * d, d).Rows(head * d, d)));
    }
    block.biases = AlignedBuffer<float>(k * d);
    std::ranges::copy(from.biases.span(), block.biases.data());
    two_matrices = two_matrices || from.two_matrices();
  }
  const size_t vocabularies = heads.vocabularies.size() > 0 ? k : 1;
  for (size_t i = 0; i < vocabularies; ++i)
    vocabularies_.push_back(PackInt8(VocabularyOf(heads, model, i), tokens_));
  if (heads.sees_root()) roots_.emplace(model, heads);
  PackSuccessors(heads.successors);
  rows_ = AlignedBuffer<float>(k * d);
  if (blocks_.size() > 1) inputs_ = AlignedBuffer<float>(k * d);
  if (two_matrices) {
    inner_ = AlignedBuffer<float>(k * d);
    zeros_ = AlignedBuffer<float>::Zeroed(d);
  }
  logits_ = AlignedBuffer<float>(k * tokens_.size());
  codes_ = AlignedBuffer<int8_t>(k * PadK(d));
  scales_ = AlignedBuffer<float>(k);
  sums_ = AlignedBuffer<int32_t>(k);
}

void DraftLogits::PackSuccessors(const DraftSuccessors& from) {
  for (size_t before = 0; before + 1 < from.starts.size(); ++before) {
    first_successor_.push_back(static_cast<uint32_t>(successors_.size()));
    const auto end = static_cast<size_t>(from.starts[before + 1]);
    for (auto i = static_cast<size_t>(from.starts[before]); i < end; ++i) {
      const auto at = std::ranges::lower_bound(tokens_, from.tokens[i]);
      if (at == tokens_.end() || *at != from.tokens[i]) continue;
      successors_.push_back(
          {static_cast<uint32_t>(at - tokens_.begin()), DraftSuccessors::kWeight * from.gains[i]});
    }
  }
  first_successor_.push_back(static_cast<uint32_t>(successors_.size()));
}

void DraftLogits::AddSuccessors(int32_t depth, TokenId before, std::span<float> logits) const {
  if (!HasSuccessors(depth)) return;
  const auto y = static_cast<size_t>(before);
  TERN_CHECK(logits.size() == tokens_.size()) << logits.size() << " of " << tokens_.size();
  if (y + 1 >= first_successor_.size()) return;
  for (uint32_t i = first_successor_[y]; i < first_successor_[y + 1]; ++i)
    logits[successors_[i].column] += successors_[i].bonus;
}

QuantizedRows DraftLogits::Quantized(size_t first, size_t rows) {
  return {codes_.View(heads_, PadK(hidden_size_)).Rows(first, rows),
          scales_.span().subspan(first, rows), sums_.span().subspan(first, rows)};
}

// Heads first .. first + out.rows; x is one row that they share or one for each.
void DraftLogits::RunBlock(const Block& block, size_t first, MatView<const float> biases,
                           MatView<const float> x, MatView<float> out) {
  const size_t n = out.rows, d = out.cols;
  const bool shared = x.rows == 1, two_matrices = !block.outputs.empty();
  const MatView<float> z = two_matrices ? inner_.View(n, d) : out;
  QuantizeRows(x, Quantized(0, x.rows));
  for (size_t i = 0; i < n; ++i)
    Int8Matmul(block.weights[first + i], Quantized(shared ? 0 : i, 1), z.Rows(i, 1));
  if (!two_matrices && shared) return ResidualSilu(x.RowSpan(0), biases, z);
  for (size_t i = 0; i < n; ++i) {
    ResidualSilu(two_matrices ? zeros_.span() : x.RowSpan(i), biases.Rows(i, 1), z.Rows(i, 1));
  }
  if (!two_matrices) return;
  QuantizeRows(z, Quantized(0, n));
  for (size_t i = 0; i < n; ++i) {
    Int8Matmul(block.outputs[first + i], Quantized(i, 1), out.Rows(i, 1));
    AddInPlace(out.Rows(i, 1), x.Rows(shared ? 0 : i, 1));
  }
}

MatView<const float> DraftLogits::Evaluate(std::span<const float> hidden, TokenId root,
                                           int32_t first, int32_t count) {
  TERN_CHECK(first >= 0 && count >= 1 && static_cast<size_t>(first + count) <= heads_ &&
             hidden.size() == hidden_size_)
      << "heads " << first << " + " << count << " of " << heads_ << ", hidden [" << hidden.size()
      << "]";
  const size_t d = hidden.size(), begin = static_cast<size_t>(first),
               n = static_cast<size_t>(count);
  MatView<const float> x(hidden.data(), 1, d);
  MatView<float> rows = rows_.View(n, d), spare = inputs_.size() > 0 ? inputs_.View(n, d) : rows;
  for (const Block& block : blocks_) {
    const bool of_root = roots_ && &block == &blocks_.front();
    RunBlock(block, begin,
             of_root ? roots_->Of(root, first, count) : block.biases.View(heads_, d).Rows(begin, n),
             x, rows);
    x = rows;
    std::swap(rows, spare);
  }
  QuantizeRows(x, Quantized(0, n));
  const MatView<float> logits = logits_.View(n, tokens_.size());
  if (vocabularies_.size() == 1) {
    Int8Matmul(vocabularies_[0], Quantized(0, n), logits);
  } else {
    for (size_t i = 0; i < n; ++i)
      Int8Matmul(vocabularies_[begin + i], Quantized(i, 1), logits.Rows(i, 1));
  }
  return logits;
}

}  // namespace tern
