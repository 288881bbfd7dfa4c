#include "engine/generation_result.h"

namespace tern {

std::string_view ToString(FinishReason reason) {
  if (reason == FinishReason::kCancelled) return "cancelled";
  const bool stopped = reason == FinishReason::kEos || reason == FinishReason::kStopString ||
                       reason == FinishReason::kGrammar;
  return stopped ? "stop" : "length";
}

}  // namespace tern
