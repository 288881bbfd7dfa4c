#include "engine/typical_acceptance.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <optional>

#include "engine/error.h"

namespace tern {
namespace {

double DeltaOf(const TypicalAcceptance& typical) {
  return typical.delta > 0.0f ? static_cast<double>(typical.delta)
                              : std::sqrt(static_cast<double>(typical.epsilon));
}

// The sum of log-probabilities down to `node`; none where a node on the way is rejected.
std::optional<double> PathSum(std::span<const DraftNode> nodes,
                              std::span<const TypicalVerdict> verdicts, int32_t node) {
  double sum = 0.0;
  for (; node >= 0; node = nodes[static_cast<size_t>(node)].parent) {
    const TypicalVerdict& verdict = verdicts[static_cast<size_t>(node)];
    if (!verdict.accepted) return std::nullopt;
    sum += verdict.log_probability;
  }
  return sum;
}

}  // namespace

bool TypicalAcceptance::Accepts(double probability, double entropy) const {
  return probability > std::min(static_cast<double>(epsilon), DeltaOf(*this) * std::exp(-entropy));
}

void TypicalAcceptance::Validate() const {
  // Not a number fails both comparisons.
  if (!(epsilon >= 0.0f && epsilon < 1.0f)) {
    throw InvalidArgument("typical acceptance's epsilon is " + std::to_string(epsilon) +
                          ", expected 0 (off) to less than 1");
  }
  if (!(delta >= 0.0f && delta <= 1.0f)) {
    throw InvalidArgument("typical acceptance's delta is " + std::to_string(delta) +
                          ", expected 0 (the square root of epsilon) to 1");
  }
}

std::string TypicalAcceptance::Label() const {
  if (!on()) return {};
  char text[80];
  std::snprintf(text, sizeof(text), "typical acceptance, epsilon %g, delta %g",
                static_cast<double>(epsilon), DeltaOf(*this));
  return text;
}

void LongestAcceptedPath(std::span<const DraftNode> nodes, std::span<const TypicalVerdict> verdicts,
                         std::vector<int32_t>& path) {
  int32_t best = -1, best_depth = 0;
  double best_sum = 0.0;
  for (int32_t i = 0; i < static_cast<int32_t>(nodes.size()); ++i) {
    const int32_t depth = nodes[static_cast<size_t>(i)].depth;
    if (depth < best_depth) continue;
    const std::optional<double> sum = PathSum(nodes, verdicts, i);
    if (!sum || (depth == best_depth && *sum <= best_sum)) continue;
    best = i;
    best_depth = depth;
    best_sum = *sum;
  }
  path.clear();
  for (; best >= 0; best = nodes[static_cast<size_t>(best)].parent) path.push_back(best);
  std::reverse(path.begin(), path.end());
}

}  // namespace tern
