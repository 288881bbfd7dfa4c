// --cost-table, and what it reads.
#ifndef TERN_TOOLS_COST_TABLE_FLAG_H_
#define TERN_TOOLS_COST_TABLE_FLAG_H_

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "engine/cost_table.h"

namespace CLI {
class App;
}

namespace tern {

// Its value goes into `path`.
void AddCostTable(CLI::App& command, std::string& path);

// Null where `path` is empty. Throws ReadCostTable's errors.
std::shared_ptr<const CostTable> CostTableAt(const std::string& path);

// As ReadCostTable reads it; null where nothing was measured.
nlohmann::ordered_json CostTableJson(const CostTable& table);

}  // namespace tern

#endif  // TERN_TOOLS_COST_TABLE_FLAG_H_
