// The planner decides which proposed nodes are worth a row of the next verification.
#ifndef TERN_ENGINE_PLANNER_H_
#define TERN_ENGINE_PLANNER_H_

#include <cstdint>
#include <span>
#include <vector>

#include "engine/step_cost.h"
#include "engine/token_tree.h"

namespace tern {

class Planner {
 public:
  virtual ~Planner() = default;
  // Fills `kept` with a prefix-closed part of `proposed`, parents first, so that the step has at
  // most `max_rows` rows, the root included. Allocates nothing.
  virtual void Plan(const DraftTree& proposed, int32_t max_rows, DraftTree& kept) = 0;
};

// The nodes with the best scores, as many as bring more tokens than their time does otherwise: with
// the speed that steps have on the whole, that is where the tokens of all steps per time of all
// steps are most (Dinkelbach 1967, on ratios of sums).
class BestFirstPlanner : public Planner {
 public:
  // `cost` outlives the planner.
  BestFirstPlanner(int32_t capacity, const StepCost& cost);
  void Plan(const DraftTree& proposed, int32_t max_rows, DraftTree& kept) override;
  // Tokens that the time of a pass of one row brings otherwise, at least 1; plain decoding's 1
  // until this is called.
  void SetSpeed(double speed) { speed_ = speed; }

 private:
  int32_t BestCount(const DraftTree& proposed, int32_t most) const;

  const StepCost& cost_;
  double speed_ = 1.0;
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

// Shares the rows of a step among sequences: over all their trees, the nodes with the best scores,
// as many as give the most tokens expected per unit of time.
class JointPlanner {
 public:
  // `cost` outlives the planner.
  JointPlanner(int32_t max_sequences, const StepCost& cost);
  // counts[i] = how many nodes of trees[i] to verify, the first ones; each tree's nodes stand in
  // falling order of their scores. The step has a root for each of `roots` sequences, and at most
  // `max_rows` rows. Allocates nothing.
  void Plan(std::span<const DraftTree* const> trees, int32_t roots, int32_t max_rows,
            std::span<int32_t> counts);

 private:
  const StepCost& cost_;
  std::vector<int32_t> taken_;  // [max_sequences]
};

}  // namespace tern

#endif  // TERN_ENGINE_PLANNER_H_
