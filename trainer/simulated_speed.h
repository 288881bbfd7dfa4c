// How fast heads would make a model on texts that are known: speculative decoding of held-out
// texts, with ranks instead of passes.
#ifndef TERN_TRAINER_SIMULATED_SPEED_H_
#define TERN_TRAINER_SIMULATED_SPEED_H_

#include <cstdint>
#include <map>
#include <span>
#include <string>

#include "trainer/cost_curve.h"
#include "trainer/process_group.h"

namespace tern {

struct SimulatedSpeed {
  int32_t rows = 1;              // of a verification, the root included
  double acceptance_length = 1;  // tokens per step
  double tokens_per_second = 0;  // acceptance_length / c(rows)
};

// A place of a text is a greedy step of speculative decoding: the backbone gives t + 1, and drafts
// are accepted as deep as the tree has the text's own tokens. A node of the tree is a path of
// ranks, (2, 1) being head 2's most probable token behind head 1's second. The tree of n rows that
// accepts most has the n - 1 most frequent paths, since none is more frequent than the path it
// extends. So that a tree is not judged on the places it was made for, some places make trees and
// others judge them.
class SpeedSimulator {
 public:
  static constexpr uint32_t kRanks = 8;  // candidates of a head that a tree may hold
  // Of each head: how many tokens it finds more probable than the text's. Places where the text
  // ends before the last head's token do not belong here.
  void Add(std::span<const uint32_t> ranks, bool judges);
  uint64_t places() const { return places_; }
  // Becomes that of all processes' places.
  void Share(ProcessGroup& group);
  // The number of rows that gives most tokens per second.
  SimulatedSpeed Best(const CostCurve& curve) const;

 private:
  struct Counts {
    uint64_t making = 0, judging = 0;
  };
  std::map<std::string, Counts> paths_;  // by ranks, a char each
  uint64_t places_ = 0, judges_ = 0;
};

}  // namespace tern

#endif  // TERN_TRAINER_SIMULATED_SPEED_H_
