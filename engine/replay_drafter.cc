#include "engine/replay_drafter.h"

#include "engine/acceptance_replay.h"

namespace tern {

void ReplayDrafter::Choose(const DraftContext& context, int32_t depth,
                           std::span<const float> logits, std::span<Choice> choices) {
  MedusaDrafter::Choose(context, depth, logits, choices);
  if (context.replay == nullptr) return;
  const int32_t position = static_cast<int32_t>(context.tokens.size()) + depth - 1;
  for (size_t i = 0; i < choices.size(); ++i) {
    const auto rank = static_cast<int32_t>(i);
    choices[i] = {context.replay->Candidate(position, rank),
                  static_cast<float>(context.replay->Rate(position, depth, rank))};
  }
}

}  // namespace tern
