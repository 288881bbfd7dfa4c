// The planner decides which proposed nodes are worth a row of the next verification.
#ifndef TERN_ENGINE_PLANNER_H_
#define TERN_ENGINE_PLANNER_H_

#include <cstdint>
#include <vector>

#include "engine/token_tree.h"

namespace tern {

class Planner {
 public:
  virtual ~Planner() = default;
  // Fills `kept` with a prefix-closed part of `proposed`, parents first, so that the step has at
  // most `max_rows` rows, the root included. Allocates nothing.
  virtual void Plan(const DraftTree& proposed, int32_t max_rows, DraftTree& kept) = 0;
};

// The nodes with the best scores, as long as each raises the tokens expected per unit of time.
class BestFirstPlanner : public Planner {
 public:
  explicit BestFirstPlanner(int32_t capacity);
  // Cost of a further row as a share of a step of one row; 0 (the default) keeps all that fit.
  void SetRowCost(double share) { row_cost_ = share; }
  void Plan(const DraftTree& proposed, int32_t max_rows, DraftTree& kept) override;

 private:
  double row_cost_ = 0.0;
  std::vector<int32_t> order_, placed_;  // [capacity]
};

// One path: from the root, the best child again and again.
class ChainPlanner : public Planner {
 public:
  void Plan(const DraftTree& proposed, int32_t max_rows, DraftTree& kept) override;
};

// The nodes whose ranks among their siblings are in StaticTopology(max_rows).
class StaticTreePlanner : public Planner {
 public:
  // For steps of at most `max_rows` rows.
  explicit StaticTreePlanner(int32_t max_rows);
  void Plan(const DraftTree& proposed, int32_t max_rows, DraftTree& kept) override;

 private:
  TreeTopology topology_;        // its first n nodes are the topology of n rows
  std::vector<int32_t> source_;  // [rows] proposed node that fills each topology node, or -1
  std::vector<int32_t> placed_;  // [rows] its index in `kept`
};

}  // namespace tern

#endif  // TERN_ENGINE_PLANNER_H_
