#include "engine/head_calibration.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "kernels/check.h"
#include "kernels/vector_math.h"

namespace tern {
namespace {

constexpr float kRate = 0.02f;  // of one observation: some hundred settle it

}  // namespace

HeadCalibration::HeadCalibration(DraftCalibration stored) : stored_(std::move(stored)) {
  for (const DraftCalibration::Range& range : stored_.ranges) {
    for (const float spread : range.spreads) logs_.push_back(Log(spread));
  }
}

size_t HeadCalibration::At(float temperature, int32_t depth) const {
  TERN_CHECK(depth >= 1 && depth <= stored_.heads()) << depth << " of " << stored_.heads();
  return DraftCalibration::RangeOf(temperature) * stored_.noise.size() +
         static_cast<size_t>(depth - 1);
}

float HeadCalibration::Spread(float temperature, int32_t depth) const {
  return Exp(logs_[At(temperature, depth)]);
}

float HeadCalibration::Noise(int32_t depth) const {
  TERN_CHECK(depth >= 1 && depth <= stored_.heads()) << depth << " of " << stored_.heads();
  return stored_.noise[static_cast<size_t>(depth - 1)];
}

// Robbins and Monro's step towards the spread at which as many come as were expected.
void HeadCalibration::Learn(float temperature, int32_t depth, float probability, bool came) {
  if (!std::isfinite(probability)) return;
  float& log = logs_[At(temperature, depth)];
  log = std::clamp(log + kRate * (probability - (came ? 1.0f : 0.0f)),
                   Log(DraftCalibration::kLeastSpread), Log(DraftCalibration::kMostSpread));
}

}  // namespace tern
