#include "engine/generation_result.h"

namespace tern {

std::string_view ToString(FinishReason reason) {
  if (reason == FinishReason::kCancelled) return "cancelled";
  return reason == FinishReason::kEos || reason == FinishReason::kStopString ? "stop" : "length";
}

}  // namespace tern
