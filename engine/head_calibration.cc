#include "engine/head_calibration.h"

#include <algorithm>
#include <cmath>

#include "kernels/check.h"
#include "kernels/vector_math.h"

namespace tern {
namespace {

// What the heads of the default model were found to need, so that the first texts are planned well.
constexpr float kFirst[] = {1.1f, 1.8f, 2.2f, 2.1f};
constexpr float kRate = 0.02f;  // of one observation: some hundred settle it
constexpr float kLeast = 0.5f, kMost = 8.0f;

}  // namespace

HeadCalibration::HeadCalibration(int32_t heads) : heads_(heads) {
  for (const float spread : kFirst)
    logs_.insert(logs_.end(), static_cast<size_t>(heads), Log(spread));
}

size_t HeadCalibration::RangeOf(float temperature) {
  if (temperature == 0.0f) return 0;
  if (temperature <= 0.5f) return 1;
  return temperature <= 0.85f ? 2 : 3;
}

size_t HeadCalibration::At(float temperature, int32_t depth) const {
  TERN_CHECK(depth >= 1 && depth <= heads_) << depth << " of " << heads_;
  return RangeOf(temperature) * static_cast<size_t>(heads_) + static_cast<size_t>(depth - 1);
}

float HeadCalibration::Spread(float temperature, int32_t depth) const {
  return Exp(logs_[At(temperature, depth)]);
}

// Robbins and Monro's step towards the spread at which as many come as were expected.
void HeadCalibration::Learn(float temperature, int32_t depth, float probability, bool came) {
  if (!std::isfinite(probability)) return;
  float& log = logs_[At(temperature, depth)];
  log = std::clamp(log + kRate * (probability - (came ? 1.0f : 0.0f)), Log(kLeast), Log(kMost));
}

}  // namespace tern
