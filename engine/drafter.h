// Drafters propose, a planner disposes (planner.h), the sampler decides. A drafter can be
// arbitrarily wrong: that costs speed and never changes a token (but where the LOSSY typical
// acceptance is asked for).
#ifndef TERN_ENGINE_DRAFTER_H_
#define TERN_ENGINE_DRAFTER_H_

#include <span>
#include <string>

#include "engine/batch.h"
#include "engine/sampler.h"
#include "engine/step_cost.h"
#include "engine/token_tree.h"

namespace tern {

class AcceptanceReplay;

// What a drafter may look at before a step.
struct DraftContext {
  // Prompt and generated text; the last one is the root, sampled but not yet run through the model.
  std::span<const TokenId> tokens;
  // [d] post-final-norm output of the last committed row, the one whose logits gave the root; empty
  // where it is not known. Draft head k predicts the token k places behind the root from it.
  std::span<const float> hidden;
  int32_t max_depth = 0;        // deepest node that can still be accepted, >= 1
  int32_t max_rows = kMaxRows;  // of the verification, the root included
  // What rows cost where the planner goes by it; null: every node is welcome.
  const StepCost* cost = nullptr;
  // How the text is sampled, whose noise the verification will add; null: greedy.
  const SamplingOptions* sampling = nullptr;
  // Where the text's acceptance is drawn from rates, by what (TextRequest).
  const AcceptanceReplay* replay = nullptr;
  // Tokens that the time of a pass of one row brings otherwise, as to the planner.
  double speed = 1.0;

  // A node with a lower score is not worth a row: proposing it is work for nothing.
  float MinScore() const {
    return cost == nullptr ? 0.0f : static_cast<float>(speed * cost->LeastPerRow(max_rows));
  }
};

// One sequence at a time; not thread-safe.
class Drafter {
 public:
  virtual ~Drafter() = default;
  // A new sequence begins. Until the next call, the tokens of a Propose extend those of the one
  // before.
  virtual void Reset() = 0;
  // Adds scored nodes to `tree`, no deeper than context.max_depth. The tree may hold those of other
  // drafters: so they merge, equal tokens under equal parents once, with the best score. Allocates
  // nothing.
  virtual void Propose(const DraftContext& context, DraftTree& tree) = 0;
  // What is wrong with what it drafts from, as its proposals have shown; empty = nothing.
  virtual std::string Problem() const { return {}; }
};

}  // namespace tern

#endif  // TERN_ENGINE_DRAFTER_H_
