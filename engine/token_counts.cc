#include "engine/token_counts.h"

#include <algorithm>

#include "kernels/check.h"

namespace tern {

TokenCounts::TokenCounts(int32_t vocab_size, int32_t max_tokens)
    : counts_(static_cast<size_t>(vocab_size), 0) {
  distinct_.reserve(static_cast<size_t>(std::min(vocab_size, max_tokens)));
}

void TokenCounts::Clear() {
  for (TokenId token : distinct_) counts_[static_cast<size_t>(token)] = 0;
  distinct_.clear();
}

void TokenCounts::AddPrompt(std::span<const TokenId> tokens) {
  for (TokenId token : tokens) {
    uint32_t& count = counts_[static_cast<size_t>(token)];
    if (count == 0) distinct_.push_back(token);
    count = kInPrompt;
  }
}

void TokenCounts::Push(TokenId token) {
  uint32_t& count = counts_[static_cast<size_t>(token)];
  if (count == 0) distinct_.push_back(token);
  ++count;
}

void TokenCounts::Pop(TokenId token) {
  uint32_t& count = counts_[static_cast<size_t>(token)];
  TERN_CHECK((count & ~kInPrompt) > 0) << "token " << token << " was not pushed";
  if (--count == 0) {
    // Pushes and pops nest, so the token that leaves is the one that came last.
    TERN_CHECK(distinct_.back() == token) << "pop of " << token << " before " << distinct_.back();
    distinct_.pop_back();
  }
}

}  // namespace tern
