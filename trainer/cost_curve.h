// What a pass of several rows costs on the machine that will run a model: seconds c(rows).
#ifndef TERN_TRAINER_COST_CURVE_H_
#define TERN_TRAINER_COST_CURVE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "engine/model.h"

namespace tern {

// At the numbers of rows that were measured, rising from 1; straight lines lie between.
struct CostCurve {
  struct Point {
    int32_t rows;
    double seconds;
  };
  std::vector<Point> points;
  int32_t most_rows() const { return points.back().rows; }
  // REQUIRES 1 <= rows <= most_rows().
  double Of(int32_t rows) const;
};

// Greedy passes behind 64 tokens: medians of a few, taken in turns.
CostCurve MeasureCostCurve(const Model& model);

// {"rows": [1, 2, ..], "seconds": [.., ..]}; what else the file says is ignored. Reading throws
// kBadFile where rows do not rise from 1 to at most kMaxRows or seconds are not above 0.
CostCurve ReadCostCurve(const std::string& path);
CostCurve ParseCostCurve(const std::string& text, const std::string& path);
std::string CostCurveText(const CostCurve& curve);

}  // namespace tern

#endif  // TERN_TRAINER_COST_CURVE_H_
