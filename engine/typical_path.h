// The path of a step's drafts that typical acceptance takes (engine/typical_acceptance.h).
#ifndef TERN_ENGINE_TYPICAL_PATH_H_
#define TERN_ENGINE_TYPICAL_PATH_H_

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "engine/sampler.h"
#include "engine/token_counts.h"
#include "engine/token_tree.h"
#include "engine/typical_acceptance.h"

namespace tern {

class TypicalPath {
 public:
  // For drafts of up to `nodes` nodes Find allocates nothing.
  void Reserve(size_t nodes);

  // The longest path of nodes that `rule` accepts, as LongestAcceptedPath has it; the view lives
  // until the next call. `logits` of row 0 are those behind the root, of row i + 1 those behind
  // node i; only those of accepted nodes are asked for. `counts` are the text's, and are so again
  // in the end.
  std::span<const int32_t> Find(const DraftTree& draft, const TypicalAcceptance& rule,
                                const SamplingOptions& sampling,
                                const std::function<std::span<const float>(int32_t row)>& logits,
                                TokenCounts& counts, SamplerScratch& scratch);

 private:
  // [nodes]
  std::vector<TypicalVerdict> verdicts_;
  std::vector<TokenId> children_;
  std::vector<double> probabilities_;  // of the children
  std::vector<int32_t> above_, path_;
};

}  // namespace tern

#endif  // TERN_ENGINE_TYPICAL_PATH_H_
