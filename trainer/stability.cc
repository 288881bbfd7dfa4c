#include "trainer/stability.h"

#include <algorithm>
#include <cmath>
#include <sstream>

#include "engine/error.h"

namespace tern {

StepVerdict Judge(const StabilityOptions& options, double loss, double gradient_norm,
                  StabilityState& state) {
  if (!std::isfinite(loss) || !std::isfinite(gradient_norm)) return StepVerdict::kNotFinite;
  const double jump = loss - state.mean;
  if (state.good_steps >= options.settle_steps && jump > options.least_jump &&
      jump > options.sigmas * std::sqrt(state.variance)) {
    return StepVerdict::kSpike;
  }
  // Before the memory is full, a plain average: a mean that started at 0 would lag for 1 / (1 -
  // memory) steps.
  const double keep = std::min(options.memory, static_cast<double>(state.good_steps) /
                                                   (static_cast<double>(state.good_steps) + 1));
  state.mean = keep * state.mean + (1 - keep) * loss;
  if (state.good_steps > 0) state.variance = keep * state.variance + (1 - keep) * jump * jump;
  ++state.good_steps;
  return StepVerdict::kGood;
}

void Validate(const StabilityOptions& options) {
  const auto check = [](const char* name, bool ok, double value, const char* range) {
    if (!ok) {
      std::ostringstream text;
      text << name << " is " << value << ", expected " << range;
      throw InvalidArgument(text.str());
    }
  };
  check("--spike-sigmas", options.sigmas > 0, options.sigmas, "above 0");
  check("--spike-jump", options.least_jump > 0, options.least_jump, "above 0");
  check("--spike-memory", options.memory > 0 && options.memory < 1, options.memory,
        "between 0 and 1");
  check("--rollback-lr", options.rate_factor > 0 && options.rate_factor <= 1, options.rate_factor,
        "above 0, at most 1");
  check("--most-rollbacks", options.most_rollbacks >= 0, options.most_rollbacks, "0 or more");
}

}  // namespace tern
