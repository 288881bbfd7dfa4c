#include "trainer/cost_curve.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <iterator>
#include <nlohmann/json.hpp>
#include <numeric>

#include "engine/atomic_file.h"
#include "engine/error.h"
#include "engine/generation_options.h"
#include "engine/json_text.h"
#include "engine/kv_cache.h"
#include "engine/transformer.h"
#include "engine/workspace.h"
#include "kernels/check.h"
#include "kernels/kv_block.h"

namespace tern {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int32_t kContext = 64, kRounds = 11;
constexpr int32_t kRows[] = {1, 2, 3, 4, 6, 8, 12, 16, 24, 32};

Error BadCurve(const std::string& path, const std::string& got) {
  return BadFile({path, "not a curve of costs",
                  "{\"rows\": [1, ..], \"seconds\": [..]}, rows rising from 1 to at most " +
                      std::to_string(kMaxRows) + ", seconds above 0",
                  got, "correct it, or leave it out to have costs measured"});
}

}  // namespace

double CostCurve::Of(int32_t rows) const {
  TERN_CHECK(rows >= 1 && rows <= most_rows()) << rows;
  const auto above = std::ranges::lower_bound(points, rows, {}, &Point::rows);
  if (above->rows == rows) return above->seconds;
  const Point& below = *std::prev(above);
  const double share = static_cast<double>(rows - below.rows) / (above->rows - below.rows);
  return below.seconds + share * (above->seconds - below.seconds);
}

CostCurve MeasureCostCurve(const Model& model) {
  constexpr int32_t kMost = std::end(kRows)[-1], kLength = kContext + kMost;
  KvCache cache(model.config, 1, kLength, kLength / kKvBlock + 1, KvType::kBFloat16);
  Workspace workspace(model.config, kContext, kMost, kLength);
  cache.AddSequence();
  std::vector<TokenId> tokens(kContext);
  for (size_t i = 0; i < tokens.size(); ++i)  // scattered over the vocabulary
    tokens[i] =
        static_cast<TokenId>((i * 7919 + 13) % static_cast<size_t>(model.config.vocab_size));
  std::vector<int32_t> rows(kMost);
  std::iota(rows.begin(), rows.end(), 0);
  Forward(model, {.tokens = tokens}, cache, workspace);
  cache.CommitAll(0);
  std::vector<std::vector<double>> seconds(std::size(kRows));
  for (int32_t round = -1; round < kRounds; ++round) {  // the first one does not count
    for (size_t i = 0; i < std::size(kRows); ++i) {
      const auto n = static_cast<size_t>(kRows[i]);
      const Batch batch = {.tokens = std::span(tokens).first(n),
                           .screened_rows = std::span(rows).first(n)};
      const Clock::time_point begin = Clock::now();
      Forward(model, batch, cache, workspace);
      if (round >= 0)
        seconds[i].push_back(std::chrono::duration<double>(Clock::now() - begin).count());
      cache.DropPending(0);
    }
  }
  CostCurve curve;
  for (size_t i = 0; i < std::size(kRows); ++i) {
    std::ranges::nth_element(seconds[i], seconds[i].begin() + kRounds / 2);
    curve.points.push_back({kRows[i], seconds[i][kRounds / 2]});
  }
  // Who wants fewer rows may run more: no pass costs more than one of more rows.
  for (size_t i = curve.points.size() - 1; i > 0; --i) {
    curve.points[i - 1].seconds = std::min(curve.points[i - 1].seconds, curve.points[i].seconds);
  }
  return curve;
}

CostCurve ReadCostCurve(const std::string& path) { return ParseCostCurve(ReadFile(path), path); }

CostCurve ParseCostCurve(const std::string& text, const std::string& path) {
  const auto json = ParseJson<nlohmann::json>(text);
  try {
    const auto rows = json.at("rows").get<std::vector<int32_t>>();
    const auto seconds = json.at("seconds").get<std::vector<double>>();
    if (rows.empty() || rows.size() != seconds.size() || rows.front() != 1 ||
        rows.back() > kMaxRows) {
      throw BadCurve(path, json.dump().substr(0, 80));
    }
    CostCurve curve;
    for (size_t i = 0; i < rows.size(); ++i) {
      if ((i > 0 && rows[i] <= rows[i - 1]) || !std::isfinite(seconds[i]) || seconds[i] <= 0)
        throw BadCurve(path, json.dump().substr(0, 80));
      curve.points.push_back({rows[i], seconds[i]});
    }
    return curve;
  } catch (const nlohmann::json::exception& error) {
    throw BadCurve(path, error.what());
  }
}

std::string CostCurveText(const CostCurve& curve) {
  nlohmann::ordered_json json = {{"rows", nlohmann::json::array()},
                                 {"seconds", nlohmann::json::array()}};
  for (const CostCurve::Point& point : curve.points) {
    json["rows"].push_back(point.rows);
    json["seconds"].push_back(point.seconds);
  }
  return json.dump() + "\n";
}

}  // namespace tern
