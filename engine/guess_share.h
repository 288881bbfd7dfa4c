// How far the look-up is to be believed, as what became of its guesses shows.
//
// Its rates are learned over all places of a text. Where draft heads know other continuations, its
// guess comes true less often: of 230 such guesses on stories a third did, where their rates
// claimed two thirds. In a text that copies itself, and which the heads do not foresee, they mostly
// do. And a text that is sampled repeats itself less than its first places suggest.
#ifndef TERN_ENGINE_GUESS_SHARE_H_
#define TERN_ENGINE_GUESS_SHARE_H_

#include <cstddef>
#include <span>
#include <vector>

#include "engine/token_tree.h"

namespace tern {

// The share of what some guesses claim that comes true. Watch a tree, and Learn before the next.
// Not thread-safe; allocates in the constructor only.
class GuessShare {
 public:
  // What is believed before anything is known.
  explicit GuessShare(float prior_share);
  // Forgets what it learned.
  void Reset();
  // A new text: what waits for its token will not see it.
  void BeginText() { at_ = 0; }
  // Compares what is watched with the token that came.
  void Learn(std::span<const TokenId> tokens);
  // `tree` is proposed behind `tokens`: what the look-up guesses under the root is watched, all of
  // it, or where heads have proposed as well what they contest. Lowers the scores of such guesses,
  // and of what is below them, by the share; all of them by it at every level, since a guess behind
  // a guess comes true no more often.
  void Weigh(std::span<const TokenId> tokens, bool contested_only, DraftTree& tree);
  // At most 1.
  float share() const;

 private:
  float prior_share_;
  std::vector<DraftNode> guesses_;  // under the root
  size_t at_ = 0;                   // place of the token that decides on them; 0: none
  float claimed_ = 0.0f, came_true_ = 0.0f;
};

}  // namespace tern

#endif  // TERN_ENGINE_GUESS_SHARE_H_
