// Draft heads whose candidates are replaced by those of a replay (acceptance_replay.h).
#ifndef TERN_ENGINE_REPLAY_DRAFTER_H_
#define TERN_ENGINE_REPLAY_DRAFTER_H_

#include <memory>
#include <utility>

#include "engine/acceptance_replay.h"
#include "engine/medusa_drafter.h"

namespace tern {

// Evaluates heads as a MedusaDrafter does, all its work included, then drafts the candidates of
// `replay` instead, scored by its rates: as heads would whose probabilities are right on average
// and alike in every step.
class ReplayDrafter : public MedusaDrafter {
 public:
  ReplayDrafter(std::shared_ptr<DraftLogits> logits, int32_t max_nodes, AcceptanceReplay replay)
      : MedusaDrafter(std::move(logits), max_nodes), replay_(std::move(replay)) {}

 private:
  void Choose(const DraftContext& context, int32_t depth, std::span<const float> logits,
              std::span<Choice> choices) override;

  AcceptanceReplay replay_;
};

}  // namespace tern

#endif  // TERN_ENGINE_REPLAY_DRAFTER_H_
