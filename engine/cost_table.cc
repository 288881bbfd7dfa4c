#include "engine/cost_table.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "engine/atomic_file.h"
#include "engine/error.h"
#include "engine/generation_options.h"
#include "engine/json_text.h"
#include "kernels/check.h"

namespace tern {
namespace {

using Json = nlohmann::json;

constexpr double kMostMilliseconds = 1e6, kMostRatio = 1e4;

Error Bad(const std::string& path, const std::string& what, const std::string& expected,
          const Json& got) {
  const std::string text =
      got.is_discarded() ? "no JSON" : got.dump(-1, ' ', false, Json::error_handler_t::replace);
  return BadFile({path, what, expected, text.substr(0, 60),
                  "give a table as tern eval --json or tern bench --json writes it"});
}

double Milliseconds(const std::string& path, const Json& table, const char* name, double least) {
  const Json value = table.contains(name) ? table[name] : Json();
  // Not a number fails both comparisons.
  if (!value.is_number() ||
      !(value.get<double>() >= least && value.get<double>() <= kMostMilliseconds))
    throw Bad(path, "field " + std::string(name), "milliseconds, up to 1e6", value);
  return value.get<double>();
}

int32_t Rows(const std::string& text) {
  int32_t rows = 0;
  const char* const end = text.data() + text.size();
  const auto [read, error] = std::from_chars(text.data(), end, rows);
  return error == std::errc() && read == end ? rows : 0;
}

}  // namespace

double CostTable::Ratio(int32_t rows) const {
  TERN_CHECK(!ratios.empty() && ratios.front().first == 1) << ratios.size();
  if (ratios.size() == 1 || rows <= 1) return 1.0;
  size_t above = 1;
  while (above + 1 < ratios.size() && ratios[above].first < rows) ++above;
  const auto& [from, least] = ratios[above - 1];
  const auto& [to, most] = ratios[above];
  return least + (most - least) * (rows - from) / (to - from);
}

CostTable ReadCostTable(const std::string& path) {
  Json json = ParseJson<Json>(ReadFile(path));
  if (json.is_object() && json.contains("cost_table")) json = Json(json["cost_table"]);
  if (!json.is_object() || !json.contains("ratios") || !json["ratios"].is_object() ||
      json["ratios"].size() < 2 || json["ratios"].size() > static_cast<size_t>(kMaxRows))
    throw Bad(path, "cost table",
              "an object with one_row_ms and the ratios of 2 numbers of rows or more", json);
  CostTable table;
  // A pass takes longer than the clock's smallest step.
  table.one_row_seconds = 1e-3 * Milliseconds(path, json, "one_row_ms", 1e-6);
  if (json.contains("draft_ms"))
    table.draft_seconds = 1e-3 * Milliseconds(path, json, "draft_ms", 0.0);
  for (const auto& [key, ratio] : json["ratios"].items()) {
    const int32_t rows = Rows(key);
    if (rows < 1 || rows > kMaxRows)
      throw Bad(path, "field ratios", "rows from 1 to " + std::to_string(kMaxRows), Json(key));
    if (!ratio.is_number() || !(ratio.get<double>() >= 1.0 && ratio.get<double>() <= kMostRatio))
      throw Bad(path, "ratio of " + std::to_string(rows) + " rows", "a number from 1 to 1e4",
                ratio);
    table.ratios.emplace_back(rows, ratio.get<double>());
  }
  std::ranges::sort(table.ratios);
  const auto& ratios = table.ratios;
  if (ratios.front().first != 1 || ratios.front().second != 1.0)
    throw Bad(path, "field ratios", "1 for 1 row", json["ratios"]);
  for (size_t i = 1; i < ratios.size(); ++i) {
    if (ratios[i].first == ratios[i - 1].first || ratios[i].second < ratios[i - 1].second)
      throw Bad(path, "ratio of " + std::to_string(ratios[i].first) + " rows",
                "each number of rows once, none cheaper than fewer rows", ratios[i].second);
  }
  return table;
}

}  // namespace tern
