// Drafts with Medusa heads, evaluated at the last accepted node only.
#ifndef TERN_ENGINE_MEDUSA_DRAFTER_H_
#define TERN_ENGINE_MEDUSA_DRAFTER_H_

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/draft_logits.h"
#include "engine/drafter.h"
#include "engine/head_calibration.h"
#include "engine/medusa_heads.h"

namespace tern {

// A step evaluates as many heads as were worth it lately, in one product, then one by one as long
// as a node of the next depth can raise the tokens per unit of time. A node at depth k is a token
// among the most probable of head k; its score is the product of the heads' probabilities along its
// path. Where the heads come with successors (draft_successors.h), what head k says of a node is
// corrected by the token before it, the root or the node's parent.
//
// Where the text is sampled, a head's candidates are those of the largest logit / temperature +
// lambda * noise, with the noise that the verification will add for that position: with lambda 1,
// what the sampler does with the backbone's logits (Gumbel coupling). On stories that is accepted
// 1.10 (temperature 0.7) to 1.26 times (1.0) as often as the likeliest tokens are. Lambda is part
// of the heads' calibration.
class MedusaDrafter : public Drafter {
 public:
  static constexpr int32_t kTop = 8;  // tokens taken from each head
  // Nodes less likely than this are not proposed: a row of a verification costs more than they
  // bring.
  static constexpr float kMinScore = 0.01f;

  // Tokens that a head must be able to gain to be evaluated: about what its time brings otherwise.
  static constexpr double kLeastGain = 0.03;

  // Proposes up to `max_nodes` nodes, the likeliest ones. Drafters of one thread may share
  // `logits`.
  MedusaDrafter(std::shared_ptr<DraftLogits> logits, int32_t max_nodes);
  void Reset() override { proposed_at_ = 0; }
  void Propose(const DraftContext& context, DraftTree& tree) override;
  // The heads' own mismatch; and says when head 1 keeps predicting the root, t + 1, which the
  // backbone predicts, instead of t + 2: heads of an offset off by one, as some trainers wrote
  // them, or heads without training.
  std::string Problem() const override;

  static constexpr int64_t kLeastSample = 16;  // proposals before Problem says anything

 protected:
  struct Choice {
    TokenId token;
    float probability;
  };
  // The best tokens by the logits of head `depth`, and their probabilities: choices.size() of them.
  virtual void Choose(const DraftContext& context, int32_t depth, std::span<const float> logits,
                      std::span<Choice> choices);

 private:
  struct Candidate {
    float score, parent_score;
    int32_t parent;  // in the tree proposed to
    int32_t depth, rank;
    int32_t list;  // of choices, where it has that rank
  };

  void CheckOffset(std::span<const TokenId> tokens);
  void LearnFrom(const DraftContext& context);
  int32_t EvaluateHeads(const DraftContext& context, int32_t count);
  bool DeeperMayPay(const DraftContext& context, int32_t depth) const;
  void Grow(const DraftContext& context, int32_t depth, DraftTree& tree);
  const Choice& InList(int32_t list, int32_t rank) const {
    return choices_[static_cast<size_t>(list) * top_ + static_cast<size_t>(rank)];
  }
  const Choice& At(int32_t depth, int32_t rank) const { return InList(depth - 1, rank); }
  std::span<Choice> List(int32_t list) {
    return std::span(choices_).subspan(static_cast<size_t>(list) * top_,
                                       static_cast<size_t>(ranks_));
  }
  int32_t UsefulRanks(const DraftContext& context) const;
  // Fills list `list` with what head `depth` says behind the token `before`.
  void FillList(const DraftContext& context, int32_t depth, TokenId before, int32_t list);
  int32_t ListBehind(const DraftContext& context, const Candidate& node, TokenId token);
  void Open(Candidate node);

  int32_t heads_, max_nodes_;
  std::shared_ptr<DraftLogits> logits_;
  size_t top_;
  float min_score_ = kMinScore;  // of this step
  int32_t ranks_ = 1;            // of a list that this step looks at, the first ones
  double useful_heads_ = 1.0;    // mean of the latest steps
  int64_t sample_ = 0, root_predicted_ = 0;
  // The latest proposal: tokens there were, root included (0: none in this text), and the likeliest
  // candidates of the heads asked.
  size_t proposed_at_ = 0;
  std::vector<Choice> firsts_;
  HeadCalibration calibration_;
  std::vector<float> values_, noise_;  // [tokens]
  std::vector<float> given_, heard_;   // [K, tokens] what heads say; [tokens] behind a token
  // [lists, top], falling, ranks_ of each filled: list k - 1 is head k's behind the likeliest path,
  // the others behind other nodes.
  std::vector<Choice> choices_;
  int32_t lists_ = 0;
  std::vector<Candidate> open_;  // nodes that could be added next
};

}  // namespace tern

#endif  // TERN_ENGINE_MEDUSA_DRAFTER_H_
