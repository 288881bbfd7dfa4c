// How often draft heads are right about a text that the model wrote.
#ifndef TERN_TRAINER_HEAD_SCORER_H_
#define TERN_TRAINER_HEAD_SCORER_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/medusa_heads.h"
#include "engine/model.h"
#include "kernels/aligned_buffer.h"
#include "trainer/acceptance.h"

namespace tern {

// Counts by head, rank and confidence. `model` and `heads` outlive it. Not thread-safe.
class HeadScorer {
 public:
  HeadScorer(const Model& model, const MedusaHeads& heads);
  // The hidden state [d] at `position` of `tokens`. Head k guesses the token k + 1 places on.
  void Score(std::span<const TokenId> tokens, size_t position, std::span<const float> hidden);
  // Sets head_ranks, head_top1, acceptance and acceptance_by_confidence.
  void Fill(AcceptanceReport* report) const;

 private:
  using Counts = std::array<int64_t, AcceptanceReport::kRanks>;  // by rank
  struct ConfidenceBin {
    int64_t reached = 0;
    Counts right{};
  };

  static size_t BinOf(std::span<const float> logits);
  static std::array<double, AcceptanceReport::kRanks> Shares(const Counts& counts, int64_t all);
  static size_t RankOf(TokenId token, std::span<const float> logits);

  const Model& model_;
  const MedusaHeads& heads_;
  std::vector<Counts> ranks_;     // [K]
  std::vector<int64_t> seen_;     // [K]
  std::vector<Counts> right_;     // [K] where every head before had the token as a candidate
  std::vector<int64_t> reached_;  // [K] those places
  // [K] the same by the head's confidence.
  std::vector<std::array<ConfidenceBin, AcceptanceReport::kConfidenceBins>> bins_;
  std::vector<float> root_;      // [d]
  AlignedBuffer<float> rows_;    // [K, d]
  AlignedBuffer<float> logits_;  // [K, V]
};

}  // namespace tern

#endif  // TERN_TRAINER_HEAD_SCORER_H_
