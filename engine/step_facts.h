// What one step did to one text, for who measures drafting.
#ifndef TERN_ENGINE_STEP_FACTS_H_
#define TERN_ENGINE_STEP_FACTS_H_

#include <cstdint>
#include <span>

#include "engine/token_tree.h"

namespace tern {

// Of a step behind the prompt. The views live until the callback returns.
struct StepFacts {
  int32_t context = 0;  // tokens committed before the step
  int32_t emitted = 0;  // tokens that it added to the text, >= 1
  // The drafted nodes that were verified; none: a plain step.
  std::span<const DraftNode> nodes;
  // Rows of this text that were kept, from the root: 0 is the root, i + 1 node i.
  std::span<const int32_t> path;
  double draft_seconds = 0.0;  // this text's Propose
  double plan_seconds = 0.0;   // of that, all but draft heads
  // Of the whole pass, all texts that share it: the model, and everything from the first Propose to
  // the last token's choice.
  double pass_seconds = 0.0, seconds = 0.0;

  int32_t rows() const { return static_cast<int32_t>(nodes.size()) + 1; }
  // Tokens that the scores promise.
  double Expected() const {
    double tokens = 1.0;
    for (const DraftNode& node : nodes) tokens += static_cast<double>(node.score);
    return tokens;
  }
};

}  // namespace tern

#endif  // TERN_ENGINE_STEP_FACTS_H_
