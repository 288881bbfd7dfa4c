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

// The share of what some guesses claim that comes true. Weigh a tree, and Learn before the next.
// Not thread-safe; allocates in the constructor only.
class GuessShare {
 public:
  enum class Of {
    kAll,        // guesses under the root
    kContested,  // those that heads, which have proposed as well, do not share
  };
  // `prior_share` is believed before anything is known.
  GuessShare(Of of, float prior_share);
  // Forgets what it learned.
  void Reset();
  // A new text: what waits for its token will not see it.
  void BeginText() { at_ = 0; }
  // Compares what is watched with the token that came.
  void Learn(std::span<const TokenId> tokens);
  // `tree` is proposed behind `tokens`: its guesses are watched, and the scores of such guesses and
  // of what is below them lowered by the share; those of kAll by it at every level, since a guess
  // behind a guess comes true no more often.
  void Weigh(std::span<const TokenId> tokens, DraftTree& tree);
  // At most 1.
  float share() const;

 private:
  const Of of_;
  const float prior_share_;
  std::vector<DraftNode> guesses_;  // under the root
  size_t at_ = 0;                   // place of the token that decides on them; 0: none
  float claimed_ = 0.0f, came_true_ = 0.0f;
};

}  // namespace tern

#endif  // TERN_ENGINE_GUESS_SHARE_H_
