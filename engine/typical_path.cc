#include "engine/typical_path.h"

#include <cmath>

namespace tern {

void TypicalPath::Reserve(size_t nodes) {
  verdicts_.reserve(nodes);
  children_.reserve(nodes);
  probabilities_.reserve(nodes);
  above_.reserve(nodes);
  path_.reserve(nodes);
}

std::span<const int32_t> TypicalPath::Find(
    const DraftTree& draft, const TypicalAcceptance& rule, const SamplingOptions& sampling,
    const std::function<std::span<const float>(int32_t row)>& logits, TokenCounts& counts,
    SamplerScratch& scratch) {
  verdicts_.assign(static_cast<size_t>(draft.size()), {});
  // Applies the rule to the nodes below `node`.
  const auto decide_children = [&](int32_t node) {
    children_.clear();
    for (const DraftNode& child : draft.nodes()) {
      if (child.parent == node) children_.push_back(child.token);
    }
    if (children_.empty()) return;
    // The row's history: the text and the path to it. Penalties count it.
    above_.clear();
    const bool penalises = sampling.Penalises();
    for (int32_t i = node; penalises && i >= 0; i = draft[i].parent) above_.push_back(i);
    for (size_t i = above_.size(); i-- > 0;) counts.Push(draft[above_[i]].token);
    probabilities_.resize(children_.size());
    const double entropy =
        TokenDistribution(logits(node + 1), sampling, counts, children_, probabilities_, scratch);
    for (const int32_t i : above_) counts.Pop(draft[i].token);
    size_t next = 0;
    for (int32_t i = node + 1; i < draft.size(); ++i) {
      if (draft[i].parent != node) continue;
      const double p = probabilities_[next++];
      if (rule.Accepts(p, entropy)) verdicts_[static_cast<size_t>(i)] = {true, std::log(p)};
    }
  };
  // Parents stand before their children: a row's children are decided once it is known that the row
  // itself is accepted.
  decide_children(-1);
  for (int32_t i = 0; i < draft.size(); ++i) {
    if (verdicts_[static_cast<size_t>(i)].accepted) decide_children(i);
  }
  LongestAcceptedPath(draft.nodes(), verdicts_, path_);
  return path_;
}

}  // namespace tern
