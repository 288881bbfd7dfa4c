#include "engine/bpe_merger.h"

#include <algorithm>

namespace tern {

void BpeMerger::Push(int32_t left) {
  if (left < 0) return;
  const Symbol& symbol = symbols_[static_cast<size_t>(left)];
  if (symbol.after < 0) return;
  const TokenId right = symbols_[static_cast<size_t>(symbol.after)].token;
  const BpeMerges::Merge* merge = merges_.Find(symbol.token, right);
  if (merge == nullptr) return;
  heap_.push_back({merge->rank, left, symbol.token, right, merge->token});
  std::push_heap(heap_.begin(), heap_.end());
}

void BpeMerger::Run(const std::vector<TokenId>& tokens, std::vector<TokenId>& ids) {
  const auto count = static_cast<int32_t>(tokens.size());
  symbols_.clear();
  heap_.clear();
  for (int32_t i = 0; i < count; ++i) {
    symbols_.push_back({tokens[static_cast<size_t>(i)], i - 1, i + 1 < count ? i + 1 : -1});
  }
  for (int32_t i = 0; i < count; ++i) Push(i);
  while (!heap_.empty()) {
    std::pop_heap(heap_.begin(), heap_.end());
    const Candidate best = heap_.back();
    heap_.pop_back();
    Symbol& left = symbols_[static_cast<size_t>(best.left)];
    if (left.token != best.left_token || left.after < 0) continue;
    Symbol& right = symbols_[static_cast<size_t>(left.after)];
    if (right.token != best.right_token) continue;
    left.token = best.merged;
    left.after = right.after;
    right.token = -1;
    if (left.after >= 0) symbols_[static_cast<size_t>(left.after)].before = best.left;
    Push(left.before);
    Push(best.left);
  }
  for (const Symbol& symbol : symbols_) {
    if (symbol.token >= 0) ids.push_back(symbol.token);
  }
}

}  // namespace tern
