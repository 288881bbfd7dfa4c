#include "engine/step_cost.h"

#include <algorithm>
#include <utility>

#include "kernels/check.h"

namespace tern {

StepCost::StepCost(double prior, std::shared_ptr<const CostTable> frozen)
    : prior_(prior), frozen_(std::move(frozen)) {}

void StepCost::Report(int32_t rows, double seconds) {
  TERN_CHECK(rows >= 1 && rows <= kMaxRows) << rows;
  if (frozen_) return;
  Measured& measured = seconds_[static_cast<size_t>(rows)];
  if (measured.at > 0 && IsStale(measured)) Reconsider(seconds, measured);
  measured.latest.Add(seconds);
  measured.median = measured.latest.Median();
  measured.at = ++passes_;
}

// Looked at again after a long time. Other programs only ever make a pass longer, so one that took
// clearly less than was believed is right.
void StepCost::Reconsider(double seconds, Measured& measured) {
  const double one = one_row_seconds();
  const bool less = seconds - one < 0.75 * (measured.median - one);
  measured.patience = less ? kStale : std::min(2 * measured.patience, kMostStale);
  if (less) measured.latest.Clear();
}

double StepCost::Share(int32_t rows) const {
  const Measured& measured = seconds_[static_cast<size_t>(rows)];
  const double one = one_row_seconds();
  if (measured.latest.count() < kFirst || one <= 0.0) return -1.0;
  const double share = (measured.median / one - 1.0) / (rows - 1);
  return std::clamp(share, kLeastShare, kMostShare) * (IsStale(measured) ? 0.5 : 1.0);
}

double StepCost::OfPass(int32_t rows) const {
  if (frozen_) return frozen_->Ratio(rows);
  double share = -1.0;
  for (int32_t m = std::min(rows, kMaxRows); m > 1 && share < 0.0; --m) share = Share(m);
  return 1.0 + (share < 0.0 ? prior_ : share) * (rows - 1);
}

double StepCost::Relative(int32_t rows) const {
  const double roots = OfPass(roots_);
  return 1.0 + (OfPass(roots_ - 1 + rows) - roots) * roots_ / roots;
}

double StepCost::LeastPerRow(int32_t most_rows) const {
  double least = kMostShare;
  for (int32_t m = 2; m <= most_rows; ++m)
    least = std::min(least, std::max((Relative(m) - 1.0) / (m - 1), kLeastShare));
  return least;
}

double StepCost::one_row_seconds() const {
  if (frozen_) return frozen_->one_row_seconds;
  for (int32_t m = 1; m <= kMaxRows; ++m) {
    const double median = seconds_[static_cast<size_t>(m)].median;
    if (median > 0.0) return median / (1.0 + prior_ * (m - 1));
  }
  return 0.0;
}

CostTable StepCost::Table(int32_t rows) const {
  CostTable table{.one_row_seconds = one_row_seconds(), .ratios = {}, .draft_seconds = 0.0};
  // Two medians need not agree: a table says that more rows cost no less.
  double most = 1.0;
  for (int32_t m = 1; m <= rows; ++m)
    table.ratios.emplace_back(m, most = std::max(most, OfPass(m)));
  return table;
}

}  // namespace tern
