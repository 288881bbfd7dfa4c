#include "trainer/simulated_speed.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

namespace tern {

void SpeedSimulator::Add(std::span<const uint32_t> ranks, bool judges) {
  ++places_;
  judges_ += judges ? 1 : 0;
  std::string path;
  for (uint32_t rank : ranks) {
    if (rank >= kRanks) break;
    path.push_back(static_cast<char>(rank));
    Counts& counts = paths_[path];
    ++(judges ? counts.judging : counts.making);
  }
}

void SpeedSimulator::Share(ProcessGroup& group) {
  nlohmann::json own = {places_, judges_, nlohmann::json::array()};
  for (const auto& [path, counts] : paths_) {
    nlohmann::json::binary_t bytes(std::vector<uint8_t>(path.begin(), path.end()));
    own[2].push_back({std::move(bytes), counts.making, counts.judging});
  }
  const std::vector<uint8_t> packed = nlohmann::json::to_cbor(own);
  *this = {};
  for (const std::string& text : GatherTexts(group, {packed.begin(), packed.end()})) {
    const nlohmann::json part = nlohmann::json::from_cbor(text);
    places_ += part[0].get<uint64_t>();
    judges_ += part[1].get<uint64_t>();
    for (const nlohmann::json& entry : part[2]) {
      const auto& bytes = entry[0].get_binary();
      Counts& counts = paths_[{bytes.begin(), bytes.end()}];
      counts.making += entry[1].get<uint64_t>();
      counts.judging += entry[2].get<uint64_t>();
    }
  }
}

SimulatedSpeed SpeedSimulator::Best(const CostCurve& curve) const {
  std::vector<std::pair<std::string, Counts>> order(paths_.begin(), paths_.end());
  // Shorter ones first among equals, so that a path never comes before the one that it extends.
  std::ranges::stable_sort(order, [](const auto& a, const auto& b) {
    if (a.second.making != b.second.making) return a.second.making > b.second.making;
    return a.first.size() < b.first.size();
  });
  const double judges = static_cast<double>(std::max<uint64_t>(1, judges_));
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
