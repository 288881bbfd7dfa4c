// Drafts from the text so far: where the last tokens occurred before, what followed then may follow
// now.
#ifndef TERN_ENGINE_NGRAM_DRAFTER_H_
#define TERN_ENGINE_NGRAM_DRAFTER_H_

#include <cstdint>
#include <vector>

#include "engine/drafter.h"

namespace tern {

// Keeps one hash chain per pair of adjacent tokens (as LZ77 coders do), so a token costs O(1) to
// index and a proposal looks at no more than kMaxMatches earlier places. Memory: 12 to 16 bytes per
// token of context, allocated by the constructor.
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
  struct Node {
    TokenId token;
    int32_t parent;  // index among the nodes, -1 = the root
    float weight;    // of all earlier places whose continuation passes here
  };

  size_t Bucket(TokenId first, TokenId second) const;
  void Index(std::span<const TokenId> tokens);
  // Adds up to `max_depth` tokens that follow position `at`.
  void AddContinuation(std::span<const TokenId> tokens, int32_t at, float weight,
                       int32_t max_depth);
  int32_t AddWeight(int32_t parent, TokenId token, float weight);

  std::vector<int32_t> head_;  // [buckets] latest position whose pair fell into the bucket, or -1
  std::vector<int32_t> previous_;  // [max_context] the position before it in the same bucket, or -1
  int32_t indexed_ = 1;            // pairs that end before this position are in the index
  std::vector<Node> nodes_;        // continuations of the current proposal, parents first
  std::vector<int32_t> placed_;    // index of each in the tree proposed to, or -1
};

}  // namespace tern

#endif  // TERN_ENGINE_NGRAM_DRAFTER_H_
