#include "tools/cost_table_flag.h"

#include <CLI/CLI.hpp>

namespace tern {

void AddCostTable(CLI::App& command, std::string& path) {
  command.add_option(
      "--cost-table", path,
      "Plan drafts by this file's cost of rows instead of measuring: the same plans\n"
      "on every machine (eval --json and bench --json write such a table)");
}

std::shared_ptr<const CostTable> CostTableAt(const std::string& path) {
  return path.empty() ? nullptr : std::make_shared<const CostTable>(ReadCostTable(path));
}

nlohmann::ordered_json CostTableJson(const CostTable& table) {
  if (table.one_row_seconds <= 0.0 || table.ratios.size() < 2) return nullptr;
  nlohmann::ordered_json ratios;
  for (const auto& [rows, ratio] : table.ratios) ratios[std::to_string(rows)] = ratio;
  return {{"one_row_ms", 1e3 * table.one_row_seconds},
          {"ratios", std::move(ratios)},
          {"draft_ms", 1e3 * table.draft_seconds}};
}

}  // namespace tern
