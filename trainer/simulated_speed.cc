#include "trainer/simulated_speed.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace tern {

void SpeedSimulator::Add(std::span<const uint32_t> ranks) {
  const bool judges = places_++ % 2 == 1;
  std::string path;
  for (uint32_t rank : ranks) {
    if (rank >= kRanks) break;
    path.push_back(static_cast<char>(rank));
    Counts& counts = paths_[path];
    ++(judges ? counts.judging : counts.making);
  }
}

SimulatedSpeed SpeedSimulator::Best(const CostCurve& curve) const {
  std::vector<std::pair<std::string, Counts>> order(paths_.begin(), paths_.end());
  // Shorter ones first among equals, so that a path never comes before the one that it extends.
  std::ranges::stable_sort(order, [](const auto& a, const auto& b) {
    if (a.second.making != b.second.making) return a.second.making > b.second.making;
    return a.first.size() < b.first.size();
  });
  const double judges = static_cast<double>(std::max<uint64_t>(1, places_ / 2));
  SimulatedSpeed best{1, 1, 1 / curve.Of(1)};
  double length = 1;
  for (int32_t rows = 2; rows <= curve.most_rows(); ++rows) {
    const auto node = static_cast<size_t>(rows - 2);
    if (node >= order.size()) break;
    length += static_cast<double>(order[node].second.judging) / judges;
    const double speed = length / curve.Of(rows);
    if (speed > best.tokens_per_second) best = {rows, length, speed};
  }
  return best;
}

}  // namespace tern
