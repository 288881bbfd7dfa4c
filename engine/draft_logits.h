// What a Medusa drafter sees of its heads: their logits in int8, for the tokens worth drafting.
// Drafts only guide, verification decides: a rounded logit or a missing token costs speed at most.
#ifndef TERN_ENGINE_DRAFT_LOGITS_H_
#define TERN_ENGINE_DRAFT_LOGITS_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/batch.h"
#include "engine/draft_calibration.h"
#include "engine/medusa_heads.h"
#include "engine/model.h"
#include "engine/root_weights.h"
#include "kernels/int8_pack.h"
#include "kernels/quantize.h"

namespace tern {

class DraftLogits {
 public:
  // Packs heads and vocabularies; `heads` may go, and `model` outlives this. The tokens are the
  // most frequent ones of the heads' shortlist, as many as ShortlistSize allows, or all where there
  // is no shortlist.
  DraftLogits(const Model& model, const MedusaHeads& heads);

  // Logits of heads first .. first + count, [count, tokens().size()], valid until the next call.
  // hidden [d], and the token behind it. A head's logits depend on nothing but these. Allocates
  // nothing.
  MatView<const float> Evaluate(std::span<const float> hidden, TokenId root, int32_t first,
                                int32_t count);

  // Whether successors say anything of what heads from `depth` on propose, and what they say:
  // `logits` [tokens().size()] of head `depth` behind the token `before`, in place. Nothing at
  // depth 1 where heads see the root: they know what follows it. Allocates nothing.
  bool HasSuccessors(int32_t depth = kMaxMedusaHeads) const {
    return !successors_.empty() && (depth > 1 || !roots_);
  }
  void AddSuccessors(int32_t depth, TokenId before, std::span<float> logits) const;

  int32_t heads() const { return static_cast<int32_t>(heads_); }
  // The token of each column, rising.
  std::span<const TokenId> tokens() const { return tokens_; }
  const DraftCalibration& calibration() const { return calibration_; }
  const std::string& mismatch() const { return mismatch_; }  // as in MedusaHeads

 private:
  struct Block {                      // of MedusaHeads
    std::vector<Int8Matrix> weights;  // [K] of [d, d]
    std::vector<Int8Matrix> outputs;  // [K] of [d, d], or none
    AlignedBuffer<float> biases;      // [K*d]
  };

  QuantizedRows Quantized(size_t first, size_t rows);
  void RunBlock(const Block& block, size_t first, MatView<const float> biases,
                MatView<const float> x, MatView<float> out);

  struct Successor {
    uint32_t column;  // of tokens_
    float bonus;
  };
  void PackSuccessors(const DraftSuccessors& from);

  size_t heads_, hidden_size_;
  std::vector<TokenId> tokens_;
  std::vector<Successor> successors_;      // of tokens_ only
  std::vector<uint32_t> first_successor_;  // [V + 1] of each token, or none
  DraftCalibration calibration_;
  std::string mismatch_;
  std::vector<Block> blocks_;             // [L]
  std::optional<RootBiases> roots_;       // where heads see the root
  std::vector<Int8Matrix> vocabularies_;  // [tokens, d], of all heads or of each
  AlignedBuffer<float> rows_;             // [K, d] heads' outputs
  AlignedBuffer<float> inputs_;           // [K, d] of blocks behind the first
  AlignedBuffer<float> inner_;            // [K, d] between two matrices
  AlignedBuffer<float> zeros_;            // [d]
  AlignedBuffer<float> logits_;           // [K, tokens]
  AlignedBuffer<int8_t> codes_;           // [K, PadK(d)]
  AlignedBuffer<float> scales_;           // [K]
  AlignedBuffer<int32_t> sums_;           // [K]
};

// Tokens that a draft vocabulary of `model` should have. Its products are 1/64 of a pass's, its
// bytes 1/16. What the rarer tokens would add in acceptance costs more: on stories, 256 of 4,096
// draft as many tokens per step as 1,024.
size_t ShortlistSize(const Model& model);

}  // namespace tern

#endif  // TERN_ENGINE_DRAFT_LOGITS_H_
