// Decides before a costly drafter runs whether it is likely to pay in this step.
#ifndef TERN_ENGINE_DRAFT_GATE_H_
#define TERN_ENGINE_DRAFT_GATE_H_

#include <cstdint>

namespace tern {

// Goes by the mean of what the drafter has gained lately. While that is a loss, a few steps in a
// row draft now and then: a single one would find the drafter's weights gone from the cache and
// cost more than drafting does. Fed with gains, it reads no clock itself.
class DraftGate {
 public:
  // Call once before each step.
  bool ShouldDraft();
  // What the drafter gained in a step that ShouldDraft allowed, in passes of one row: tokens
  // expected, less the cost of their rows and of the drafter itself.
  void Report(double gain);

  static constexpr int64_t kFirst = 16;  // steps that draft in any case
  // While it does not pay, this many in a row of so many steps draft: under 2%.
  static constexpr int64_t kProbes = 8, kProbeInterval = 512;
  static constexpr double kRate = 1.0 / 64;  // of the latest gain in the mean

 private:
  int64_t reports_ = 0, closed_steps_ = 0;
  double mean_ = 0.0;
};

}  // namespace tern

#endif  // TERN_ENGINE_DRAFT_GATE_H_
