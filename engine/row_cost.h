// What a further row of a pass costs here, as measured while generating.
#ifndef TERN_ENGINE_ROW_COST_H_
#define TERN_ENGINE_ROW_COST_H_

#include <cstdint>

#include "engine/recent_median.h"

namespace tern {

// The price of drafting: (c(m) - c(1)) / ((m - 1) c(1)) for passes of m rows, by medians of the
// latest passes. Fed with durations, it reads no clock itself: tests replay any machine.
class RowCost {
 public:
  // `prior` is the share until passes of one row and of several have been reported.
  explicit RowCost(double prior) : prior_(prior) {}
  void Report(int32_t rows, double seconds);
  // A row's cost as a share of a pass of one row, in [kLeast, kMost]. After kStale passes of one
  // row in a row, half of that: a measurement that was too high must not prevent the next one.
  double share() const;

  // Of a pass of one row; 0 until one was reported.
  double one_row_seconds() const { return one_row_.Median(); }

  static constexpr double kLeast = 0.01, kMost = 1.0;
  static constexpr int64_t kStale = 64;

 private:
  double prior_;
  int64_t one_row_passes_ = 0;  // since the latest of several
  RecentMedian one_row_;        // seconds
  RecentMedian further_row_;    // seconds
};

}  // namespace tern

#endif  // TERN_ENGINE_ROW_COST_H_
