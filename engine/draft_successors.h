// Which tokens a model writes after which: what draft heads, who see the hidden state before the
// root, cannot know of the tokens between. A file of its own beside Medusa heads,
// tern_successors.safetensors:
//
//   starts [V + 1] I32   the pairs of token y are starts[y] .. starts[y + 1]
//   tokens [pairs] I32   x, rising within y
//   gains  [pairs] BF16  ln(1 + C(y, x) / (kPrior p(x))), C how often x came behind y, p its share
//
// A head's logit of x where y comes before it gets kWeight times the gain; a pair that is not
// there gets 0. That is ln(P(x | y) / P(x)) but for what all x behind y share, with P(x | y)
// smoothed by kPrior tokens of the text as a whole (Dirichlet prior). The weight is below 1 since
// heads know a part of it.
#ifndef TERN_ENGINE_DRAFT_SUCCESSORS_H_
#define TERN_ENGINE_DRAFT_SUCCESSORS_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/batch.h"

namespace tern {

struct DraftSuccessors {
  static constexpr float kPrior = 5.0f;
  static constexpr float kWeight = 0.7f;
  static constexpr float kMostGain = 32.0f;

  std::vector<int32_t> starts;  // [V + 1]; empty = nothing is known
  std::vector<TokenId> tokens;  // [pairs]
  std::vector<float> gains;     // [pairs], from 0 to kMostGain
  bool empty() const { return tokens.empty(); }
};

// Counts pairs in texts. A pair that came less than kLeastCount times is left out.
class SuccessorCounter {
 public:
  static constexpr int32_t kLeastCount = 3;
  explicit SuccessorCounter(size_t vocab_size) : singles_(vocab_size) {}
  // REQUIRES ids below the vocabulary's size.
  void Add(TokenId before, TokenId after) {
    ++singles_[static_cast<size_t>(after)];
    ++pairs_[static_cast<uint64_t>(before) * singles_.size() + static_cast<uint64_t>(after)];
  }
  DraftSuccessors Finish() const;

 private:
  std::vector<int64_t> singles_;                 // [V]
  std::unordered_map<uint64_t, int32_t> pairs_;  // by before * V + after
};

// Empty where there is no such file in `dir`. Throws kBadFile where it is not what stands above.
DraftSuccessors ReadSuccessors(const std::string& dir, int32_t vocab_size);

// Atomically; removes the file where there are none.
void WriteSuccessors(const std::string& dir, const DraftSuccessors& successors);

}  // namespace tern

#endif  // TERN_ENGINE_DRAFT_SUCCESSORS_H_
