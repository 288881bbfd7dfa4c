#include "engine/token_tree.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include "engine/error.h"
#include "kernels/check.h"

namespace tern {
namespace {

std::string Describe(std::span<const int32_t> path) {
  std::string text = "[";
  for (int32_t rank : path) text += (text.size() > 1 ? ", " : "") + std::to_string(rank);
  return text + "]";
}

// A node that could be added to a tree under construction.
struct Candidate {
  double gain;  // estimated probability that the path to it is accepted
  int32_t parent, rank;
};

}  // namespace

TreeTopology TopologyFromPaths(std::span<const std::vector<int32_t>> rank_paths) {
  std::vector<std::vector<int32_t>> paths(rank_paths.begin(), rank_paths.end());
  // By depth, so that every prefix has its index before it is looked up; by rank within a depth.
  std::sort(paths.begin(), paths.end(), [](const auto& a, const auto& b) {
    return a.size() != b.size() ? a.size() < b.size() : a < b;
  });
  std::map<std::vector<int32_t>, int32_t> index{{{}, 0}};
  TreeTopology tree{{-1}, {0}, {0}};
  for (const std::vector<int32_t>& path : paths) {
    if (path.empty()) throw InvalidArgument("tree path [] is the root, expected at least one rank");
    if (path.back() < 0)
      throw InvalidArgument("tree path " + Describe(path) + " has a negative rank");
    const auto parent = index.find({path.begin(), path.end() - 1});
    if (parent == index.end()) {
      throw InvalidArgument("tree path " + Describe(path) + " has no parent " +
                            Describe({path.data(), path.size() - 1}) +
                            "; a tree must hold every prefix");
    }
    if (!index.emplace(path, tree.rows()).second) {
      throw InvalidArgument("tree path " + Describe(path) + " occurs twice");
    }
    tree.parents.push_back(parent->second);
    tree.depths.push_back(static_cast<int32_t>(path.size()));
    tree.ranks.push_back(path.back());
  }
  return tree;
}

TreeTopology BestTopology(int32_t rows,
                          const std::function<double(int32_t depth, int32_t rank)>& chance,
                          std::vector<double>* chances) {
  TERN_CHECK(rows >= 1) << rows;
  TreeTopology tree{{-1}, {0}, {0}};
  std::vector<double> gains{1.0};
  std::vector<Candidate> open;
  const auto offer = [&](int32_t parent, int32_t rank) {
    const auto above = static_cast<size_t>(parent);
    const double gain = gains[above] * chance(tree.depths[above] + 1, rank);
    if (gain > 0.0) open.push_back({gain, parent, rank});
  };
  offer(0, 0);
  // Best first: the next node is always the open one most likely to be accepted. It opens its own
  // first child and its next sibling; both are less likely, so the result is the best tree of each
  // size.
  while (tree.rows() < rows && !open.empty()) {
    const auto best =
        std::max_element(open.begin(), open.end(),
                         [](const Candidate& a, const Candidate& b) { return a.gain < b.gain; });
    const Candidate node = *best;
    open.erase(best);
    const int32_t index = tree.rows();
    tree.parents.push_back(node.parent);
    tree.depths.push_back(tree.depths[static_cast<size_t>(node.parent)] + 1);
    tree.ranks.push_back(node.rank);
    gains.push_back(node.gain);
    offer(index, 0);
    offer(node.parent, node.rank + 1);
  }
  if (chances != nullptr) *chances = std::move(gains);
  return tree;
}

TreeTopology StaticTopology(int32_t rows) {
  // Chance that the continuation of this rank is right; measured for Medusa heads and n-gram
  // look-up in the literature at about this level, and falling off alike. Lower ranks hardly ever
  // pay for a row.
  constexpr double kRankChance[] = {0.55, 0.14, 0.07, 0.04, 0.025, 0.02, 0.015, 0.01};
  return BestTopology(rows, [&](int32_t, int32_t rank) {
    return static_cast<size_t>(rank) < std::size(kRankChance) ? kRankChance[rank] : 0.0;
  });
}

std::vector<int32_t> PathTo(std::span<const int32_t> parents, int32_t node) {
  std::vector<int32_t> path;
  for (int32_t at = node; at >= 0 && parents[static_cast<size_t>(at)] >= 0;
       at = parents[static_cast<size_t>(at)]) {
    path.push_back(at);
  }
  std::reverse(path.begin(), path.end());
  return path;
}

std::vector<int32_t> Depths(std::span<const int32_t> parents) {
  std::vector<int32_t> depths(parents.size());
  for (size_t i = 0; i < parents.size(); ++i) {
    const int32_t parent = parents[i];
    if (parent < -1 || parent >= static_cast<int32_t>(i)) {
      throw InvalidArgument("tree node " + std::to_string(i) + " has parent " +
                            std::to_string(parent) + ", expected -1 to " +
                            std::to_string(static_cast<int64_t>(i) - 1));
    }
    depths[i] = parent < 0 ? 0 : depths[static_cast<size_t>(parent)] + 1;
  }
  return depths;
}

int32_t DraftTree::Add(int32_t parent, TokenId token, float score) {
  TERN_CHECK(parent >= -1 && parent < size()) << "parent " << parent << " of " << size();
  if (parent >= 0) score = std::min(score, nodes_[static_cast<size_t>(parent)].score);
  const int32_t existing = Find(parent, token);
  if (existing >= 0) {
    DraftNode& node = nodes_[static_cast<size_t>(existing)];
    node.score = std::max(node.score, score);
    node.proposers |= proposer_;
    return existing;
  }
  if (Full()) return -1;
  const int32_t depth = parent < 0 ? 1 : nodes_[static_cast<size_t>(parent)].depth + 1;
  nodes_.push_back({token, parent, score, depth, proposer_});
  return size() - 1;
}

int32_t DraftTree::AddCopy(int32_t parent, const DraftNode& node) {
  const int32_t at = Add(parent, node.token, node.score);
  if (at >= 0) nodes_[static_cast<size_t>(at)].proposers |= node.proposers;
  return at;
}

bool DraftTree::IsContested(int32_t node, Proposers by) const {
  const DraftNode& guess = nodes_[static_cast<size_t>(node)];
  if (guess.proposers != by) return false;
  return std::any_of(nodes_.begin(), nodes_.end(), [&](const DraftNode& other) {
    return other.parent == guess.parent && other.proposers != by;
  });
}

void DraftTree::Discount(float share) {
  for (DraftNode& node : nodes_)
    for (int32_t level = 0; level < node.depth; ++level) node.score *= share;
}

void DraftTree::DiscountContested(Proposers by, float share) {
  factors_.clear();
  for (int32_t i = 0; i < size(); ++i) {
    const int32_t parent = nodes_[static_cast<size_t>(i)].parent;
    const float above = parent < 0 ? 1.0f : factors_[static_cast<size_t>(parent)];
    factors_.push_back(IsContested(i, by) ? above * share : above);
  }
  for (size_t i = 0; i < nodes_.size(); ++i) nodes_[i].score *= factors_[i];
}

int32_t DraftTree::Find(int32_t parent, TokenId token) const {
  // Trees have tens of nodes: a scan of the ones behind the parent is as fast as any index.
  for (int32_t i = parent + 1; i < size(); ++i) {
    const DraftNode& node = nodes_[static_cast<size_t>(i)];
    if (node.parent == parent && node.token == token) return i;
  }
  return -1;
}

}  // namespace tern
