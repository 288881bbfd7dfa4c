// A set of tokens: those that a grammar allows next.
#ifndef TERN_ENGINE_TOKEN_MASK_H_
#define TERN_ENGINE_TOKEN_MASK_H_

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/batch.h"

namespace tern {

class TokenMask {
 public:
  // The logit of tokens that are not allowed: below every real one at every temperature, and still
  // finite.
  static constexpr float kForbidden = -1e30f;

  TokenMask() = default;
  explicit TokenMask(int32_t vocab_size) : words_((static_cast<size_t>(vocab_size) + 63) / 64) {}

  void Add(TokenId token) { words_[Word(token)] |= uint64_t{1} << (token & 63); }
  void AddAll(const TokenMask& other) {
    for (size_t i = 0; i < words_.size(); ++i) words_[i] |= other.words_[i];
  }
  bool Has(TokenId token) const { return (words_[Word(token)] >> (token & 63) & 1) != 0; }
  int32_t Count() const {
    int32_t count = 0;
    for (const uint64_t word : words_) count += std::popcount(word);
    return count;
  }
  // The lowest token; -1 where there is none.
  TokenId First() const {
    for (size_t i = 0; i < words_.size(); ++i) {
      if (words_[i] != 0) return static_cast<TokenId>(i * 64) + std::countr_zero(words_[i]);
    }
    return -1;
  }
  // Sets the values of all other tokens to kForbidden. `values` [V].
  void Forbid(std::span<float> values) const {
    for (size_t i = 0; i < words_.size(); ++i) {
      if (words_[i] == ~uint64_t{0}) continue;
      const size_t end = values.size() < i * 64 + 64 ? values.size() : i * 64 + 64;
      for (size_t v = i * 64; v < end; ++v) {
        if ((words_[i] >> (v & 63) & 1) == 0) values[v] = kForbidden;
      }
    }
  }

 private:
  static size_t Word(TokenId token) { return static_cast<size_t>(token) / 64; }
  std::vector<uint64_t> words_;
};

}  // namespace tern

#endif  // TERN_ENGINE_TOKEN_MASK_H_
