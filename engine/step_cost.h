// c(rows): what a pass of several rows costs here, as measured while generating.
#ifndef TERN_ENGINE_STEP_COST_H_
#define TERN_ENGINE_STEP_COST_H_

#include <array>
#include <cstdint>
#include <memory>

#include "engine/cost_table.h"
#include "engine/generation_options.h"
#include "engine/recent_median.h"

namespace tern {

// The price of drafting, by medians of the latest passes of each number of rows. Fed with
// durations, it reads no clock itself: tests replay any machine. Not thread-safe.
class StepCost {
 public:
  // `prior` stands for what is not measured yet: a further row's cost as a share of a pass of one.
  // Where there is a `frozen` table, it holds and nothing is learned.
  explicit StepCost(double prior, std::shared_ptr<const CostTable> frozen = nullptr);
  double prior() const { return prior_; }
  bool frozen() const { return frozen_ != nullptr; }
  // REQUIRES frozen().
  double draft_seconds() const { return frozen_->draft_seconds; }
  // REQUIRES 1 <= rows <= kMaxRows.
  void Report(int32_t rows, double seconds);
  // c(rows) / c(1), at least 1. A number of rows without measurements costs by the row what the
  // next smaller measured one does. Where kStale passes went by since the latest measurement, what
  // is above 1 counts half: one that was too high must not prevent the next. Where the next was no
  // less, it takes twice as many passes until it counts half again, up to kMostStale.
  double OfPass(int32_t rows) const;
  // How many sequences share the next pass, a root each (1 after construction). The two functions
  // below are about one of them.
  void SetRoots(int32_t roots) { roots_ = roots; }
  // What `rows` rows of a sequence cost it, in its share of a pass of all roots: with R roots,
  // 1 + (c(R - 1 + rows) - c(R)) * R / c(R). So a row pays for which the tokens it is expected to
  // add are more than it adds to this.
  double Relative(int32_t rows) const;
  // The least that any pass of up to `most_rows` rows costs by further row, in passes of one row: a
  // node less likely than that to be accepted cannot pay.
  double LeastPerRow(int32_t most_rows) const;

  // Of a pass of one row, by the smallest passes measured; 0 until any was reported.
  double one_row_seconds() const;
  // A sequence's share of a pass of all roots.
  double token_seconds() const { return one_row_seconds() * OfPass(roots_) / roots_; }

  // What it knows, up to `rows` rows; nothing is known of drafting.
  CostTable Table(int32_t rows) const;

  static constexpr double kLeastShare = 0.01, kMostShare = 1.0;  // of a further row, believed
  static constexpr size_t kFirst = 3;                            // passes before a median counts
  static constexpr int64_t kStale = 128, kMostStale = 8192;

 private:
  struct Measured {
    RecentMedian latest;
    double median = 0.0;
    int64_t at = 0;  // passes_ when the latest was reported
    int64_t patience = kStale;
  };
  void Reconsider(double seconds, Measured& measured);
  bool IsStale(const Measured& measured) const {
    return passes_ - measured.at >= measured.patience;
  }

  double Share(int32_t rows) const;  // of a further row, measured; < 0 where it is not

  double prior_;
  std::shared_ptr<const CostTable> frozen_;
  int32_t roots_ = 1;
  int64_t passes_ = 0;
  std::array<Measured, kMaxRows + 1> seconds_{};  // [rows]
};

}  // namespace tern

#endif  // TERN_ENGINE_STEP_COST_H_
