// Drafts with Medusa heads, evaluated at the last accepted node only.
#ifndef TERN_ENGINE_MEDUSA_DRAFTER_H_
#define TERN_ENGINE_MEDUSA_DRAFTER_H_

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "engine/drafter.h"
#include "engine/medusa_heads.h"
#include "kernels/top_k.h"

namespace tern {

// A step costs one product with the stacked heads [K*d, d] and one vocabulary projection of K rows,
// the vocabulary read once. A node at depth k is a token among the most probable of head k; its
// score is the product of the heads' probabilities along its path.
class MedusaDrafter : public Drafter {
 public:
  static constexpr int32_t kTop = 8;  // tokens taken from each head
  // Nodes less likely than this are not proposed: a row of a verification costs more than they
  // bring.
  static constexpr float kMinScore = 0.01f;

  // Proposes up to `max_nodes` nodes, the likeliest ones. `model` outlives the drafter.
  MedusaDrafter(const Model& model, std::shared_ptr<const MedusaHeads> heads, int32_t max_nodes);
  void Reset() override {}
  void Propose(const DraftContext& context, DraftTree& tree) override;

 private:
  struct Candidate {
    float score, parent_score;
    int32_t parent;  // in the tree proposed to
    int32_t depth, rank;
  };
  struct Choice {
    TokenId token;
    float probability;
  };

  void EvaluateHeads(std::span<const float> hidden, int32_t count);
  void Grow(int32_t depth, DraftTree& tree);
  void Open(float parent_score, int32_t parent, int32_t depth, int32_t rank);

  const Model& model_;
  std::shared_ptr<const MedusaHeads> heads_;
  int32_t max_nodes_, top_;
  AlignedBuffer<float> rows_;    // [K, d]
  AlignedBuffer<float> logits_;  // [K, V]
  std::vector<Choice> choices_;  // [K, top]
  std::vector<Candidate> open_;  // nodes that could be added next
};

}  // namespace tern

#endif  // TERN_ENGINE_MEDUSA_DRAFTER_H_
