#include "engine/ngram_drafter.h"

#include <algorithm>
#include <bit>

#include "kernels/check.h"

namespace tern {
namespace {

// A match of length 2 weighs 1, each further token kLengthFactor times more: among continuations
// that disagree, the one with the longer match is the likelier one.
constexpr float kLengthFactor = 3.0f;
// What a hit rate begins with: kPriorTrials trials of a rate that grows from kShortRate at length 2
// towards 1, measured on stories written by a small model.
constexpr float kShortRate = 0.45f, kMissFactor = 0.75f, kSeveralFactor = 0.6f;
constexpr float kPriorTrials = 8.0f;
// Places of other pairs in the same bucket that a look-up may pass over.
constexpr int32_t kMaxCollisions = 32;

// How many tokens before and at `at` equal the last ones of `tokens`.
int32_t MatchLength(std::span<const TokenId> tokens, int32_t at, int32_t longest) {
  int32_t length = 0;
  const TokenId* end = tokens.data() + tokens.size() - 1;
  const TokenId* place = tokens.data() + at;
  while (length < longest && length <= at && place[-length] == end[-length]) ++length;
  return length;
}

}  // namespace

NgramDrafter::NgramDrafter(int32_t max_context) {
  TERN_CHECK(max_context >= 1) << max_context;
  // One to two buckets per position: chains hold one pair, mostly.
  head_.resize(std::bit_ceil(static_cast<size_t>(max_context)));
  previous_.assign(static_cast<size_t>(max_context), -1);
  matches_.reserve(kMaxMatches);
  nodes_.reserve(kMaxMatches * kMaxDepth);
  placed_.reserve(kMaxMatches * kMaxDepth);
  Reset();
}

void NgramDrafter::Reset() {
  std::fill(head_.begin(), head_.end(), -1);
  indexed_ = 1;
  float miss = 1.0f - kShortRate;
  for (auto& [single, several] : rates_) {
    single = {kPriorTrials * (1.0f - miss), kPriorTrials};
    several = {kPriorTrials * (1.0f - kSeveralFactor * miss), kPriorTrials};
    miss *= kMissFactor;
  }
}

size_t NgramDrafter::Bucket(TokenId first, TokenId second) const {
  // Fibonacci hashing of the pair: 2^64 / golden ratio, the high bits are the mixed ones.
  const uint64_t pair =
      static_cast<uint64_t>(static_cast<uint32_t>(first)) << 32 | static_cast<uint32_t>(second);
  return static_cast<size_t>(pair * 0x9E3779B97F4A7C15u >> 32) & (head_.size() - 1);
}

void NgramDrafter::Index(std::span<const TokenId> tokens) {
  // The pair that ends at the last token has no continuation yet.
  const int32_t end = static_cast<int32_t>(tokens.size()) - 1;
  for (; indexed_ < end; ++indexed_) {
    const size_t at = static_cast<size_t>(indexed_);
    FindMatches(tokens.first(at + 1));
    Learn(tokens, tokens[at + 1]);
    int32_t& head = head_[Bucket(tokens[at - 1], tokens[at])];
    previous_[at] = head;
    head = indexed_;
  }
}

void NgramDrafter::FindMatches(std::span<const TokenId> tokens) {
  matches_.clear();
  int32_t collisions = 0;
  int32_t at = head_[Bucket(tokens[tokens.size() - 2], tokens.back())];
  for (; at >= 0 && matches_.size() < kMaxMatches; at = previous_[static_cast<size_t>(at)]) {
    const int32_t length = MatchLength(tokens, at, kMaxMatchLength);
    if (length < 2) {
      if (++collisions > kMaxCollisions) break;
      continue;
    }
    float weight = 1.0f;
    for (int32_t i = 2; i < length; ++i) weight *= kLengthFactor;
    matches_.push_back({at, length, weight});
  }
}

int32_t NgramDrafter::LongestMatch() const {
  int32_t longest = 0;
  for (const Match& match : matches_) longest = std::max(longest, match.length);
  return longest;
}

float NgramDrafter::TotalWeight() const {
  float total = 0.0f;
  for (const Match& match : matches_) total += match.weight;
  return total;
}

NgramDrafter::HitRate& NgramDrafter::RateOf(int32_t length, int32_t places) {
  return rates_[static_cast<size_t>(std::min(length, kMaxMatchLength) - 2)][places > 1 ? 1 : 0];
}

void NgramDrafter::Learn(std::span<const TokenId> tokens, TokenId next) {
  if (matches_.empty()) return;
  const bool hit = std::any_of(matches_.begin(), matches_.end(), [&](const Match& match) {
    return tokens[static_cast<size_t>(match.at) + 1] == next;
  });
  HitRate& rate = RateOf(LongestMatch(), static_cast<int32_t>(matches_.size()));
  rate.hits += hit ? 1.0f : 0.0f;
  rate.trials += 1.0f;
}

void NgramDrafter::Propose(const DraftContext& context, DraftTree& tree) {
  const std::span<const TokenId> tokens = context.tokens;
  TERN_CHECK(tokens.size() <= previous_.size()) << tokens.size() << " tokens";
  if (tokens.size() < 3) return;
  Index(tokens);
  FindMatches(tokens);
  nodes_.clear();
  for (const Match& match : matches_) {
    AddContinuation(tokens, match, std::min(context.max_depth, kMaxDepth));
  }
  AddTo(tree, context.MinScore());
}

// Scores nodes_ from the root down and adds those of some worth.
void NgramDrafter::AddTo(DraftTree& tree, float min_score) {
  const int32_t longest = LongestMatch();
  placed_.clear();
  for (const Node& node : nodes_) {
    const int32_t parent = node.parent < 0 ? -1 : placed_[static_cast<size_t>(node.parent)];
    placed_.push_back(-1);
    if (node.parent >= 0 && parent < 0) continue;  // worth too little, or without room
    const Node* above = node.parent < 0 ? nullptr : &nodes_[static_cast<size_t>(node.parent)];
    // What has been copied so far, if it was right, lengthens the match.
    const int32_t places = above == nullptr ? static_cast<int32_t>(matches_.size()) : above->places;
    const float rate = RateOf(longest + node.depth - 1, places).value();
    const float siblings = above == nullptr ? TotalWeight() : above->weight;
    const float score = (parent < 0 ? 1.0f : tree[parent].score) * rate * node.weight / siblings;
    if (score >= min_score) placed_.back() = tree.Add(parent, node.token, score);
  }
}

void NgramDrafter::AddContinuation(std::span<const TokenId> tokens, const Match& match,
                                   int32_t max_depth) {
  const size_t first = static_cast<size_t>(match.at) + 1;
  // Where the copy reaches the end of the text it goes on with what it has copied itself: the text
  // repeats with this period.
  const size_t period = tokens.size() - first;
  int32_t parent = -1;
  for (size_t i = 0; i < static_cast<size_t>(max_depth); ++i) {
    parent = AddNode(parent, tokens[first + i % period], match.weight);
  }
}

int32_t NgramDrafter::AddNode(int32_t parent, TokenId token, float weight) {
  for (size_t i = static_cast<size_t>(parent + 1); i < nodes_.size(); ++i) {
    if (nodes_[i].parent == parent && nodes_[i].token == token) {
      nodes_[i].weight += weight;
      ++nodes_[i].places;
      return static_cast<int32_t>(i);
    }
  }
  const int32_t depth = parent < 0 ? 1 : nodes_[static_cast<size_t>(parent)].depth + 1;
  nodes_.push_back({token, parent, depth, 1, weight});
  return static_cast<int32_t>(nodes_.size()) - 1;
}

}  // namespace tern
