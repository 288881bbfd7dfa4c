// How often each token occurs in one sequence: what the penalties of the sampler are counted on.
#ifndef TERN_ENGINE_TOKEN_COUNTS_H_
#define TERN_ENGINE_TOKEN_COUNTS_H_

#include <cstdint>
#include <span>
#include <vector>

#include "engine/batch.h"

namespace tern {

// A stack: the tokens of a path are pushed in order and popped in reverse, O(1) each, so that a
// tree path can be tried and taken back. Prompt tokens come first and are never popped. Memory: 4
// bytes per vocabulary entry and 4 per distinct token, allocated by the constructor.
class TokenCounts {
 public:
  // Counts nothing: for sequences without penalties.
  TokenCounts() = default;
  TokenCounts(int32_t vocab_size, int32_t max_tokens);

  // Forgets everything; O(distinct tokens).
  void Clear();
  // REQUIRES: nothing pushed yet; ids inside the vocabulary.
  void AddPrompt(std::span<const TokenId> tokens);
  void Push(TokenId token);
  // Takes back the last push, which was of `token`.
  void Pop(TokenId token);

  // Distinct tokens of prompt and generated text, in order of first occurrence.
  std::span<const TokenId> distinct() const { return distinct_; }
  // Occurrences in the generated text.
  int32_t Generated(TokenId token) const {
    return static_cast<int32_t>(counts_[static_cast<size_t>(token)] & ~kInPrompt);
  }

 private:
  static constexpr uint32_t kInPrompt = 1u << 31;
  std::vector<uint32_t> counts_;  // [V] occurrences in the generated text, and kInPrompt
  std::vector<TokenId> distinct_;
};

}  // namespace tern

#endif  // TERN_ENGINE_TOKEN_COUNTS_H_
