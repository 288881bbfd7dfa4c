// Draft heads whose candidates are replaced by those of a replay (acceptance_replay.h).
#ifndef TERN_ENGINE_REPLAY_DRAFTER_H_
#define TERN_ENGINE_REPLAY_DRAFTER_H_

#include <span>

#include "engine/medusa_drafter.h"

namespace tern {

// Evaluates heads as a MedusaDrafter does, all its work included, then drafts the candidates of the
// text's replay instead, scored by its rates: as heads would whose probabilities are right.
class ReplayDrafter : public MedusaDrafter {
 public:
  using MedusaDrafter::MedusaDrafter;

 private:
  void Choose(const DraftContext& context, int32_t depth, std::span<const float> logits,
              std::span<Choice> choices) override;
};

}  // namespace tern

#endif  // TERN_ENGINE_REPLAY_DRAFTER_H_
