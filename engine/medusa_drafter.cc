#include "engine/medusa_drafter.h"

#include <algorithm>
#include <utility>

#include "kernels/parallel.h"
#include "kernels/sum_exp.h"
#include "kernels/vocab_projection.h"

namespace tern {

MedusaDrafter::MedusaDrafter(const Model& model, std::shared_ptr<const MedusaHeads> heads,
                             int32_t max_nodes)
    : model_(model),
      heads_(std::move(heads)),
      max_nodes_(max_nodes),
      top_(std::min(kTop, model.config.vocab_size)) {
  TERN_CHECK(heads_->hidden_size == model.config.hidden_size)
      << "heads of " << heads_->hidden_size << ", model of " << model.config.hidden_size;
  const size_t k = static_cast<size_t>(heads_->count);
  rows_ = AlignedBuffer<float>(k * static_cast<size_t>(heads_->hidden_size));
  logits_ = AlignedBuffer<float>(k * static_cast<size_t>(model.config.vocab_size));
  choices_.resize(k * static_cast<size_t>(top_));
  // Every node added closes one candidate and opens two.
  open_.reserve(static_cast<size_t>(max_nodes_) + 2);
}

// Fills choices_ of the first `count` heads.
void MedusaDrafter::EvaluateHeads(std::span<const float> hidden, int32_t count) {
  const size_t k = static_cast<size_t>(heads_->count), d = static_cast<size_t>(heads_->hidden_size);
  const size_t rows = static_cast<size_t>(count), top = static_cast<size_t>(top_);
  const size_t vocab = static_cast<size_t>(model_.config.vocab_size);
  ApplyHeads(*heads_, hidden, rows_.View(k, d));
  const MatView<float> logits = logits_.View(rows, vocab);
  VocabProjection(rows_.View(rows, d), model_.OutputEmbedding(), logits);
  ParallelFor(rows, RowGrain(vocab), [&](size_t begin, size_t end) {
    for (size_t r = begin; r < end; ++r) {
      std::array<ScoredIndex, kTop> best;
      TopK(logits.RowSpan(r), std::span(best).first(top));
      // The largest logit over all probabilities' sum, the others relative to it.
      const float largest = best[0].value;
      const float sum = SumExpMinus(logits.RowSpan(r), largest);
      for (size_t i = 0; i < top; ++i) {
        const float shifted = best[i].value - largest;
        choices_[r * top + i] = {best[i].index, SumExpMinus({&shifted, 1}, 0.0f) / sum};
      }
    }
  });
}

void MedusaDrafter::Open(float parent_score, int32_t parent, int32_t depth, int32_t rank) {
  const Choice& choice = choices_[static_cast<size_t>((depth - 1) * top_ + rank)];
  const float score = parent_score * choice.probability;
  // False for NaN: heads whose products overflow draft nothing.
  if (score >= kMinScore) open_.push_back({score, parent_score, parent, depth, rank});
}

// Best first: the next node is the likeliest one that could be added. It opens its first child and
// its next sibling, both less likely, so the nodes are the best ones of all paths.
void MedusaDrafter::Grow(int32_t depth, DraftTree& tree) {
  open_.clear();
  Open(1.0f, -1, 1, 0);
  for (int32_t added = 0; added < max_nodes_ && !open_.empty(); ++added) {
    const auto best =
        std::max_element(open_.begin(), open_.end(),
                         [](const Candidate& a, const Candidate& b) { return a.score < b.score; });
    const Candidate node = *best;
    *best = open_.back();
    open_.pop_back();
    const TokenId token = choices_[static_cast<size_t>((node.depth - 1) * top_ + node.rank)].token;
    const int32_t index = tree.Add(node.parent, token, node.score);
    if (index < 0) return;
    if (node.depth < depth) Open(node.score, index, node.depth + 1, 0);
    if (node.rank + 1 < top_) Open(node.parent_score, node.parent, node.depth, node.rank + 1);
  }
}

void MedusaDrafter::Propose(const DraftContext& context, DraftTree& tree) {
  const int32_t depth = std::min(context.max_depth, heads_->count);
  if (depth < 1 || context.hidden.empty()) return;
  EvaluateHeads(context.hidden, depth);
  Grow(depth, tree);
}

}  // namespace tern
