#include "engine/prompt_scores.h"

#include <algorithm>

#include "kernels/vocab_projection.h"

namespace tern {
namespace {

// Rows that share a reading of the vocabulary's table. More would take more memory for logits and
// save little: the table's share of a row is small by then.
constexpr size_t kRows = 16;

}  // namespace

PromptScorer::PromptScorer(const Model& model, std::span<const TokenId> prompt, int32_t top)
    : model_(model),
      prompt_(prompt.begin(), prompt.end()),
      top_(static_cast<size_t>(std::min(top, model.config.vocab_size))),
      hidden_(kRows * static_cast<size_t>(model.config.hidden_size)),
      logits_(kRows * static_cast<size_t>(model.config.vocab_size)),
      scratch_(model.config.vocab_size) {
  scores_.logprobs.reserve(prompt_.size());
  scores_.top_logprobs.reserve(prompt_.size() * top_);
}

bool PromptScorer::Add(int32_t position, std::span<const float> hidden) {
  const auto at = static_cast<size_t>(position);
  if (at >= prompt_.size()) return false;
  const bool last = at + 1 == prompt_.size();
  if (!last) {
    std::ranges::copy(hidden, hidden_.data() + waiting_ * hidden.size());
    ++waiting_;
  }
  if (last || waiting_ == kRows) Score();
  return last;
}

void PromptScorer::Score() {
  const auto d = static_cast<size_t>(model_.config.hidden_size);
  const auto vocab = static_cast<size_t>(model_.config.vocab_size);
  if (waiting_ == 0) return;
  VocabProjection({hidden_.data(), waiting_, d}, model_.OutputEmbedding(),
                  {logits_.data(), waiting_, vocab});
  for (size_t row = 0; row < waiting_; ++row) {
    const TokenId next = prompt_[scores_.logprobs.size() + 1];
    const size_t begin = scores_.top_logprobs.size();
    scores_.top_logprobs.resize(begin + top_);
    const auto top = std::span<TokenLogprob>(scores_.top_logprobs).subspan(begin);
    const std::span<const float> logits(logits_.data() + row * vocab, vocab);
    scores_.logprobs.push_back(Logprobs(logits, next, top, scratch_).logprob);
  }
  waiting_ = 0;
}

}  // namespace tern
