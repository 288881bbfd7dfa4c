#include "engine/planner.h"

#include <algorithm>
#include <numeric>

namespace tern {
namespace {

// The child of `parent` that is rank-th by score (the earlier node among equals), or -1.
int32_t ChildOfRank(const DraftTree& tree, int32_t parent, int32_t rank) {
  int32_t found = -1;
  for (int32_t wanted = 0; wanted <= rank; ++wanted) {
    int32_t next = -1;
    for (int32_t i = parent + 1; i < tree.size(); ++i) {
      if (tree[i].parent != parent) continue;
      const bool after = found < 0 || tree[i].score < tree[found].score ||
                         (tree[i].score == tree[found].score && i > found);
      if (after && (next < 0 || tree[i].score > tree[next].score)) next = i;
    }
    if (next < 0) return -1;
    found = next;
  }
  return found;
}

}  // namespace

BestFirstPlanner::BestFirstPlanner(int32_t capacity, const StepCost& cost) : cost_(cost) {
  order_.reserve(static_cast<size_t>(capacity));
  placed_.reserve(static_cast<size_t>(capacity));
}

void BestFirstPlanner::Plan(const DraftTree& proposed, int32_t max_rows, DraftTree& kept) {
  kept.Clear();
  order_.resize(static_cast<size_t>(proposed.size()));
  std::iota(order_.begin(), order_.end(), 0);
  // A parent scores at least as much as its child and stands before it, so any number of the first
  // nodes in this order is prefix-closed.
  std::sort(order_.begin(), order_.end(), [&](int32_t a, int32_t b) {
    return proposed[a].score != proposed[b].score ? proposed[a].score > proposed[b].score : a < b;
  });
  const int32_t most = std::min(proposed.size(), std::max(max_rows - 1, 0));
  const int32_t count = BestCount(proposed, most);
  placed_.assign(order_.size(), -1);
  for (int32_t i = 0; i < count; ++i) {
    const int32_t at = order_[static_cast<size_t>(i)];
    const DraftNode& node = proposed[at];
    const int32_t parent = node.parent < 0 ? -1 : placed_[static_cast<size_t>(node.parent)];
    placed_[static_cast<size_t>(at)] = kept.AddCopy(parent, node);
  }
}

// How many of the first `most` nodes in order_ to keep. c(rows) may rise in steps, so one node more
// may pay where one alone does not.
int32_t BestFirstPlanner::BestCount(const DraftTree& proposed, int32_t most) const {
  int32_t best = 0;
  double best_gain = 1.0 - speed_, tokens = 1.0;  // a step of one row emits one token
  for (int32_t count = 1; count <= most; ++count) {
    tokens += static_cast<double>(proposed[order_[static_cast<size_t>(count - 1)]].score);
    const double gain = tokens - speed_ * cost_.Relative(count + 1);
    if (gain < best_gain) continue;
    best = count;
    best_gain = gain;
  }
  return best;
}

void ChainPlanner::Plan(const DraftTree& proposed, int32_t max_rows, DraftTree& kept) {
  kept.Clear();
  int32_t parent = -1, placed = -1;
  while (kept.size() + 1 < max_rows) {
    const int32_t child = ChildOfRank(proposed, parent, 0);
    if (child < 0) return;
    placed = kept.AddCopy(placed, proposed[child]);
    parent = child;
  }
}

StaticTreePlanner::StaticTreePlanner(int32_t max_rows)
    : topology_(StaticTopology(max_rows)),
      source_(topology_.parents.size()),
      placed_(topology_.parents.size()) {}

void StaticTreePlanner::Plan(const DraftTree& proposed, int32_t max_rows, DraftTree& kept) {
  kept.Clear();
  const int32_t rows = std::min(max_rows, topology_.rows());
  std::fill(source_.begin(), source_.end(), -1);
  std::fill(placed_.begin(), placed_.end(), -1);
  for (size_t i = 1; i < static_cast<size_t>(std::max(rows, 1)); ++i) {
    const size_t above = static_cast<size_t>(topology_.parents[i]);
    if (above > 0 && source_[above] < 0) continue;
    source_[i] = ChildOfRank(proposed, source_[above], topology_.ranks[i]);
    if (source_[i] < 0) continue;
    placed_[i] = kept.AddCopy(placed_[above], proposed[source_[i]]);
  }
}

JointPlanner::JointPlanner(int32_t max_sequences, const StepCost& cost) : cost_(cost) {
  taken_.reserve(static_cast<size_t>(max_sequences));
}

void JointPlanner::Plan(std::span<const DraftTree* const> trees, int32_t roots, int32_t max_rows,
                        std::span<int32_t> counts) {
  taken_.assign(trees.size(), 0);
  std::fill(counts.begin(), counts.end(), 0);
  double tokens = roots, best_speed = roots / cost_.OfPass(roots);
  for (int32_t rows = roots + 1; rows <= max_rows; ++rows) {
    size_t best = trees.size();
    float score = -1.0f;
    for (size_t i = 0; i < trees.size(); ++i) {
      if (taken_[i] == trees[i]->size() || (*trees[i])[taken_[i]].score <= score) continue;
      best = i;
      score = (*trees[i])[taken_[i]].score;
    }
    if (best == trees.size()) return;
    ++taken_[best];
    tokens += static_cast<double>(score);
    const double speed = tokens / cost_.OfPass(rows);
    if (speed < best_speed) continue;
    best_speed = speed;
    std::copy(taken_.begin(), taken_.end(), counts.begin());
  }
}

}  // namespace tern
