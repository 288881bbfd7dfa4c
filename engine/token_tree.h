// Draft trees. The shape alone (parents, depths, paths) as pure functions, and the tree that
// drafters fill.
#ifndef TERN_ENGINE_TOKEN_TREE_H_
#define TERN_ENGINE_TOKEN_TREE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "engine/batch.h"

namespace tern {

// A shape without tokens. Node 0 is the root (the token already sampled); every other node stands
// for the rank-th most probable continuation of its parent. Parents come before their children.
struct TreeTopology {
  std::vector<int32_t> parents;  // [n], parents[0] = -1
  std::vector<int32_t> depths;   // [n], depths[0] = 0
  std::vector<int32_t> ranks;    // [n], ranks[0] = 0
  int32_t rows() const { return static_cast<int32_t>(parents.size()); }
};

// From the paths that lead to each node but the root, as ranks: {0}, {0, 0}, {1}, ... in any order.
// The set must be prefix-closed and without duplicates. Throws Error(kInvalidArgument) naming the
// path.
TreeTopology TopologyFromPaths(std::span<const std::vector<int32_t>> rank_paths);

// The tree of at most `rows` nodes, root included, whose nodes are likeliest to be accepted: the
// chance of a node is `chance(depth, rank)` times its parent's; chances fall with the rank, and
// nodes without any are left out. Its first n nodes are the tree of n rows. Where asked for,
// `chances` [n] gets those of the nodes, 1 for the root. REQUIRES rows >= 1.
TreeTopology BestTopology(int32_t rows,
                          const std::function<double(int32_t depth, int32_t rank)>& chance,
                          std::vector<double>* chances = nullptr);

// The tree of `rows` nodes, root included, that a drafter of typical accuracy gains most from. It
// does not see the text: a rank's chance of being right is taken from a fixed table. Its first n
// nodes are the tree of n rows. REQUIRES rows >= 1.
TreeTopology StaticTopology(int32_t rows);

// Node indices from the root's child to `node`, both included: the path that acceptance of `node`
// keeps.
std::vector<int32_t> PathTo(std::span<const int32_t> parents, int32_t node);
// Depth of every node, 0 where the parent is -1. Throws Error(kInvalidArgument) where a parent does
// not come before its child.
std::vector<int32_t> Depths(std::span<const int32_t> parents);

// Who proposed a node: a set of these.
using Proposers = uint8_t;
inline constexpr Proposers kByLookUp = 1, kByHeads = 2;
// What each node is counted as, once: proposed by heads alone (or by other drafters beside the
// look-up), by the n-gram look-up alone, or by both.
inline constexpr std::array<const char*, 3> kDrafterNames = {"heads", "ngram", "both"};
// The place in kDrafterNames.
inline size_t DrafterIndex(Proposers by) {
  return by == kByLookUp ? 1 : by == (kByLookUp | kByHeads) ? 2 : 0;
}

// One drafted token. The root is not among the nodes: parent -1 means the root.
struct DraftNode {
  TokenId token;
  int32_t parent;  // index among the nodes, smaller than the node's own
  // Estimated probability that the whole path to this node is accepted; <= the parent's.
  float score;
  int32_t depth;  // 1 for children of the root
  Proposers proposers = 0;
};

// A tree of drafted tokens with room for a fixed number of nodes; siblings carry distinct tokens.
class DraftTree {
 public:
  DraftTree() = default;
  explicit DraftTree(int32_t capacity) : capacity_(capacity) {
    nodes_.reserve(static_cast<size_t>(capacity));
    factors_.reserve(static_cast<size_t>(capacity));
  }

  void Clear() { nodes_.clear(); }
  // Keeps the first `count` nodes. REQUIRES count <= size().
  void Shrink(int32_t count) { nodes_.erase(nodes_.begin() + count, nodes_.end()); }
  bool Full() const { return size() >= capacity_; }
  int32_t size() const { return static_cast<int32_t>(nodes_.size()); }
  int32_t capacity() const { return capacity_; }
  const DraftNode& operator[](int32_t i) const { return nodes_[static_cast<size_t>(i)]; }
  std::span<const DraftNode> nodes() const { return nodes_; }

  // Whom Add names as proposer from here on.
  void SetProposer(Proposers by) { proposer_ = by; }
  // The node for `token` under `parent`: the one that is there, its score raised to `score` where
  // that is more, or a new one. -1 where the tree is full. A score above the parent's is lowered to
  // it.
  int32_t Add(int32_t parent, TokenId token, float score);
  // The same for a node of another tree: its token, score and proposers.
  int32_t AddCopy(int32_t parent, const DraftNode& node);
  // Whether only `by` proposed the node, and others proposed a sibling of it.
  bool IsContested(int32_t node, Proposers by) const;
  // Multiplies every score by `share` <= 1 for each level down to its node.
  void Discount(float share);
  // Multiplies the scores of contested nodes, and so of those below them, by `share` <= 1.
  void DiscountContested(Proposers by, float share);
  // The child of `parent` that carries `token`, or -1.
  int32_t Find(int32_t parent, TokenId token) const;

 private:
  int32_t capacity_ = 0;
  Proposers proposer_ = 0;
  std::vector<DraftNode> nodes_;
  std::vector<float> factors_;  // [nodes] what DiscountContested multiplies by
};

}  // namespace tern

#endif  // TERN_ENGINE_TOKEN_TREE_H_
