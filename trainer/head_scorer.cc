#include "trainer/head_scorer.h"

#include <algorithm>
#include <cmath>

#include "engine/draft_heads.h"
#include "kernels/sum_exp.h"
#include "kernels/vocab_projection.h"

namespace tern {

HeadScorer::HeadScorer(const Model& model, const MedusaHeads& heads)
    : model_(model),
      heads_(heads),
      ranks_(static_cast<size_t>(heads.count)),
      seen_(static_cast<size_t>(heads.count)),
      right_(static_cast<size_t>(heads.count)),
      reached_(static_cast<size_t>(heads.count)),
      bins_(static_cast<size_t>(heads.count)),
      root_(static_cast<size_t>(heads.hidden_size)),
      rows_(static_cast<size_t>(heads.count) * static_cast<size_t>(heads.hidden_size)),
      logits_(static_cast<size_t>(heads.count) * static_cast<size_t>(model.config.vocab_size)) {}

void HeadScorer::Score(std::span<const TokenId> tokens, size_t position,
                       std::span<const float> hidden) {
  if (position + 2 >= tokens.size()) return;
  const size_t known = std::min(ranks_.size(), tokens.size() - position - 2);
  const size_t d = hidden.size(), vocab = static_cast<size_t>(model_.config.vocab_size);
  RootInput(model_, tokens[position + 1], root_);
  ApplyHeads(heads_, hidden, root_, rows_.View(ranks_.size(), d));
  const MatView<float> logits = logits_.View(known, vocab);
  const bool shared = heads_.vocabularies.size() == 0;
  if (shared) VocabProjection(rows_.View(known, d), model_.OutputEmbedding(), logits);
  bool on_path = true;  // the token was among every head's candidates so far
  for (size_t k = 0; k < known; ++k) {
    if (!shared)
      VocabProjection(rows_.View(known, d).Rows(k, 1), VocabularyOf(heads_, model_, k),
                      logits.Rows(k, 1));
    const size_t rank = RankOf(tokens[position + 2 + k], logits.RowSpan(k));
    const bool candidate = rank < AcceptanceReport::kRanks;
    if (candidate) ++ranks_[k][rank];
    ++seen_[k];
    if (!on_path) continue;
    ++reached_[k];
    ConfidenceBin& bin = bins_[k][BinOf(logits.RowSpan(k))];
    ++bin.reached;
    on_path = candidate;
    if (on_path) ++right_[k][rank], ++bin.right[rank];
  }
}

void HeadScorer::Fill(AcceptanceReport* report) const {
  for (size_t k = 0; k < ranks_.size(); ++k) {
    report->head_ranks.push_back(Shares(ranks_[k], seen_[k]));
    report->head_top1.push_back(report->head_ranks.back()[0]);
  }
  // Up to the first head that was never reached.
  for (size_t k = 0; k < reached_.size() && reached_[k] > 0; ++k) {
    const auto shares = Shares(right_[k], reached_[k]);
    report->acceptance.emplace_back(shares.begin(), shares.end());
    auto& bins = report->acceptance_by_confidence.emplace_back();
    for (const ConfidenceBin& bin : bins_[k]) {
      bins.push_back({static_cast<double>(bin.reached) / static_cast<double>(reached_[k]),
                      Shares(bin.right, bin.reached)});
    }
  }
}

// By the probability of the most probable token.
size_t HeadScorer::BinOf(std::span<const float> logits) {
  const float largest = *std::ranges::max_element(logits);
  const auto probability = static_cast<double>(1.0f / SumExpMinus(logits, largest));
  if (!std::isfinite(probability)) return 0;  // logits that are no numbers
  const auto bin = static_cast<size_t>(probability * AcceptanceReport::kConfidenceBins);
  return std::min(bin, AcceptanceReport::kConfidenceBins - 1);
}

std::array<double, AcceptanceReport::kRanks> HeadScorer::Shares(const Counts& counts, int64_t all) {
  std::array<double, AcceptanceReport::kRanks> shares{};
  for (size_t r = 0; r < shares.size() && all > 0; ++r)
    shares[r] = static_cast<double>(counts[r]) / static_cast<double>(all);
  return shares;
}

// Of equal logits the one of the smaller id ranks first, as everywhere.
size_t HeadScorer::RankOf(TokenId token, std::span<const float> logits) {
  const auto at = static_cast<size_t>(token);
  size_t rank = 0;
  for (size_t i = 0; i < logits.size(); ++i)
    rank += logits[i] > logits[at] || (logits[i] == logits[at] && i < at) ? 1 : 0;
  return rank;
}

}  // namespace tern
