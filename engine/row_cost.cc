#include "engine/row_cost.h"

#include <algorithm>

#include "kernels/check.h"

namespace tern {

void RowCost::Report(int32_t rows, double seconds) {
  TERN_CHECK(rows >= 1) << rows;
  one_row_passes_ = rows == 1 ? one_row_passes_ + 1 : 0;
  if (rows == 1) {
    one_row_.Add(seconds);
  } else if (one_row_.count() > 0) {
    further_row_.Add((seconds - one_row_.Median()) / (rows - 1));
  }
}

double RowCost::share() const {
  if (further_row_.count() == 0) return prior_;
  const double one = one_row_.Median();
  if (one <= 0.0) return prior_;
  const double measured = std::clamp(further_row_.Median() / one, kLeast, kMost);
  return one_row_passes_ >= kStale ? measured / 2 : measured;
}

}  // namespace tern
