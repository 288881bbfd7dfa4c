// c(rows) as a file says, instead of as measured: plans then depend on nothing but the text.
#ifndef TERN_ENGINE_COST_TABLE_H_
#define TERN_ENGINE_COST_TABLE_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace tern {

struct CostTable {
  double one_row_seconds = 0.0;                    // of a pass of one row, > 0
  std::vector<std::pair<int32_t, double>> ratios;  // rows, rising from 1, and c(rows) / c(1)
  double draft_seconds = 0.0;                      // of evaluating draft heads for a step

  // Between two of the table's numbers of rows, and behind the last, it grows in a straight line.
  double Ratio(int32_t rows) const;
};

// {"one_row_ms": 1.2, "ratios": {"1": 1, "2": 1.08, "8": 1.5}, "draft_ms": 0.1}, alone or as the
// field "cost_table" of what `tern eval --json` and `tern bench --json` write. draft_ms may lack;
// row 1 is 1, and no ratio is below the one before it. Throws kNotFound or kBadFile.
CostTable ReadCostTable(const std::string& path);

}  // namespace tern

#endif  // TERN_ENGINE_COST_TABLE_H_
