#include "engine/guess_share.h"

#include <algorithm>

namespace tern {
namespace {

// As if so much had been claimed before, and the prior's share of it come true.
constexpr float kPriorClaims = 6.0f;
// What is remembered, so that it follows what the texts become.
constexpr float kMostClaims = 128.0f;
constexpr size_t kMostGuesses = 8;

}  // namespace

GuessShare::GuessShare(Of of, float prior_share) : of_(of), prior_share_(prior_share) {
  guesses_.reserve(kMostGuesses);
  Reset();
}

void GuessShare::Reset() {
  at_ = 0;
  claimed_ = kPriorClaims;
  came_true_ = kPriorClaims * prior_share_;
}

float GuessShare::share() const { return std::min(1.0f, came_true_ / claimed_); }

void GuessShare::Learn(std::span<const TokenId> tokens) {
  if (at_ == 0 || at_ >= tokens.size()) return;
  for (const DraftNode& guess : guesses_) {
    claimed_ += guess.score;
    came_true_ += guess.token == tokens[at_] ? 1.0f : 0.0f;
  }
  if (claimed_ > kMostClaims) {
    came_true_ *= kMostClaims / claimed_;
    claimed_ = kMostClaims;
  }
  at_ = 0;
}

void GuessShare::Weigh(std::span<const TokenId> tokens, DraftTree& tree) {
  const bool contested_only = of_ == Of::kContested;
  guesses_.clear();
  for (int32_t i = 0; i < tree.size() && guesses_.size() < kMostGuesses; ++i) {
    if (tree[i].parent < 0 && (!contested_only || tree.IsContested(i, kByLookUp)))
      guesses_.push_back(tree[i]);
  }
  at_ = tokens.size();
  if (contested_only) {
    tree.DiscountContested(kByLookUp, share());
  } else {
    tree.Discount(share());
  }
}

}  // namespace tern
