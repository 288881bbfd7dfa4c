// Drafts from the text so far: where the last tokens occurred before, what followed then may follow
// now.
#ifndef TERN_ENGINE_NGRAM_DRAFTER_H_
#define TERN_ENGINE_NGRAM_DRAFTER_H_

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/drafter.h"

namespace tern {

// Keeps one hash chain per pair of adjacent tokens (as LZ77 coders do), so a token costs O(1) to
// index and a proposal looks at no more than kMaxMatches earlier places. Memory: 12 to 16 bytes per
// token of context, allocated by the constructor.
//
// Scores are probabilities, learned from the text itself: for every token of prompt and text it is
// known whether the look-up would have proposed it. A score depends on the text alone, not on which
// proposals were asked for.
class NgramDrafter : public Drafter {
 public:
  static constexpr int32_t kMaxMatches = 8;      // earlier places looked at
  static constexpr int32_t kMaxMatchLength = 8;  // tokens compared backwards at each
  static constexpr int32_t kMaxDepth = 12;       // tokens taken from each

  // Sequences of at most `max_context` tokens.
  explicit NgramDrafter(int32_t max_context);
  void Reset() override;
  void Propose(const DraftContext& context, DraftTree& tree) override;

 private:
  // An earlier place where the last tokens of a text stand.
  struct Match {
    int32_t at;  // of the last of them
    int32_t length;
    float weight;
  };
  struct Node {
    TokenId token;
    int32_t parent;  // index among the nodes, -1 = the root
    int32_t depth;   // 1 below the root
    int32_t places;  // matches whose continuation passes here
    float weight;    // of those
  };
  // How often what followed some match was the next token, for look-ups of one kind.
  struct HitRate {
    float hits, trials;
    float value() const { return hits / trials; }
  };

  size_t Bucket(TokenId first, TokenId second) const;
  void Index(std::span<const TokenId> tokens);
  // Fills matches_ for the last token of `tokens`.
  void FindMatches(std::span<const TokenId> tokens);
  int32_t LongestMatch() const;
  float TotalWeight() const;
  HitRate& RateOf(int32_t length, int32_t places);
  // Counts whether `next` followed one of matches_, all of them in `tokens`.
  void Learn(std::span<const TokenId> tokens, TokenId next);
  // Adds up to `max_depth` tokens that follow a match.
  void AddContinuation(std::span<const TokenId> tokens, const Match& match, int32_t max_depth);
  int32_t AddNode(int32_t parent, TokenId token, float weight);
  void AddTo(DraftTree& tree, float min_score);

  std::vector<int32_t> head_;  // [buckets] latest position whose pair fell into the bucket, or -1
  std::vector<int32_t> previous_;  // [max_context] the position before it in the same bucket, or -1
  int32_t indexed_ = 1;            // pairs that end before this position are in the index
  std::vector<Match> matches_;     // [<= kMaxMatches] of the current look-up
  std::vector<Node> nodes_;        // continuations of the current proposal, parents first
  std::vector<int32_t> placed_;    // index of each in the tree proposed to, or -1
  // [match length - 2][whether there are several matches]
  std::array<std::array<HitRate, 2>, kMaxMatchLength - 1> rates_{};
};

}  // namespace tern

#endif  // TERN_ENGINE_NGRAM_DRAFTER_H_
