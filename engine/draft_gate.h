// Decides before a costly drafter runs whether it is likely to pay in this step.
#ifndef TERN_ENGINE_DRAFT_GATE_H_
#define TERN_ENGINE_DRAFT_GATE_H_

#include <array>
#include <cstdint>

namespace tern {

// Where the model was sure of the last token, what follows is easier to draft. So steps are told
// apart by that probability, and each kind has a mean of what drafting has gained in such steps.
// Fed with gains, it reads no clock itself.
class DraftGate {
 public:
  // `confidence`: the probability that the model gave the last token. Call once before each step.
  bool ShouldDraft(float confidence);
  // What the drafter gained in a step that ShouldDraft allowed, in passes of one row: tokens
  // expected, less the cost of their rows and of the drafter itself.
  void Report(float confidence, double gain);

  static constexpr int32_t kKinds = 6;
  static constexpr int64_t kFirst = 8;           // steps of a kind that draft in any case
  static constexpr int64_t kProbeInterval = 64;  // while a kind does not pay, one step in this many
  static constexpr double kRate = 1.0 / 24;      // of the latest gain in the mean

 private:
  struct Kind {
    int64_t reports = 0, skipped = 0;
    double mean = 0.0;
  };
  Kind& KindOf(float confidence);
  std::array<Kind, kKinds> kinds_{};
};

}  // namespace tern

#endif  // TERN_ENGINE_DRAFT_GATE_H_
