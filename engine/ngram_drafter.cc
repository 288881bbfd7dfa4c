#include "engine/ngram_drafter.h"

#include <algorithm>
#include <bit>

#include "kernels/check.h"

namespace tern {
namespace {

// A match of length 2 weighs 1, each further token kLengthFactor times more. The estimate for a
// continuation is its weight / (all weights + kPriorWeight): a single match of 2, 3, 4, 5 tokens is
// trusted with 0.5, 0.75, 0.9, 0.96.
constexpr float kLengthFactor = 3.0f;
constexpr float kPriorWeight = 1.0f;
// Each further token of a continuation is less sure than the one before.
constexpr float kDepthFactor = 0.95f;
// Places of other pairs in the same bucket that a proposal may pass over.
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
  head_.assign(std::bit_ceil(static_cast<size_t>(max_context)), -1);
  previous_.assign(static_cast<size_t>(max_context), -1);
  nodes_.reserve(kMaxMatches * kMaxDepth);
  placed_.reserve(kMaxMatches * kMaxDepth);
}

void NgramDrafter::Reset() {
  std::fill(head_.begin(), head_.end(), -1);
  indexed_ = 1;
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
    int32_t& head = head_[Bucket(tokens[at - 1], tokens[at])];
    previous_[at] = head;
    head = indexed_;
  }
}

void NgramDrafter::Propose(const DraftContext& context, DraftTree& tree) {
  const std::span<const TokenId> tokens = context.tokens;
  TERN_CHECK(tokens.size() <= previous_.size()) << tokens.size() << " tokens";
  if (tokens.size() < 3) return;
  Index(tokens);
  nodes_.clear();
  placed_.clear();

  const int32_t max_depth = std::min(context.max_depth, kMaxDepth);
  float total = kPriorWeight;
  int32_t matches = 0, collisions = 0;
  int32_t at = head_[Bucket(tokens[tokens.size() - 2], tokens.back())];
  for (; at >= 0 && matches < kMaxMatches; at = previous_[static_cast<size_t>(at)]) {
    const int32_t length = MatchLength(tokens, at, kMaxMatchLength);
    if (length < 2) {
      if (++collisions > kMaxCollisions) break;
      continue;
    }
    ++matches;
    float weight = 1.0f;
    for (int32_t i = 2; i < length; ++i) weight *= kLengthFactor;
    total += weight;
    AddContinuation(tokens, at, weight, max_depth);
  }

  for (const Node& node : nodes_) {
    const int32_t parent = node.parent < 0 ? -1 : placed_[static_cast<size_t>(node.parent)];
    if (node.parent >= 0 && parent < 0) {  // its parent found no room
      placed_.push_back(-1);
      continue;
    }
    const int32_t above = parent < 0 ? 0 : tree[parent].depth;
    float score = node.weight / total;
    for (int32_t i = 0; i < above; ++i) score *= kDepthFactor;
    placed_.push_back(tree.Add(parent, node.token, score));
  }
}

void NgramDrafter::AddContinuation(std::span<const TokenId> tokens, int32_t at, float weight,
                                   int32_t max_depth) {
  const size_t first = static_cast<size_t>(at) + 1;
  // Where the copy reaches the end of the text it goes on with what it has copied itself: the text
  // repeats with this period.
  const size_t period = tokens.size() - first;
  int32_t parent = -1;
  for (size_t i = 0; i < static_cast<size_t>(max_depth); ++i) {
    parent = AddWeight(parent, tokens[first + i % period], weight);
  }
}

int32_t NgramDrafter::AddWeight(int32_t parent, TokenId token, float weight) {
  for (size_t i = static_cast<size_t>(parent + 1); i < nodes_.size(); ++i) {
    if (nodes_[i].parent == parent && nodes_[i].token == token) {
      nodes_[i].weight += weight;
      return static_cast<int32_t>(i);
    }
  }
  nodes_.push_back({token, parent, weight});
  return static_cast<int32_t>(nodes_.size()) - 1;
}

}  // namespace tern
