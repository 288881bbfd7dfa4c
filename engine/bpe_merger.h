// The merging of byte-pair encoding.
#ifndef TERN_ENGINE_BPE_MERGER_H_
#define TERN_ENGINE_BPE_MERGER_H_

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "engine/batch.h"

namespace tern {

class BpeMerges {
 public:
  struct Merge {
    uint32_t rank;
    TokenId token;  // of the union
  };
  void Reserve(size_t count) { of_.reserve(count); }
  void Add(TokenId left, TokenId right, Merge merge) {
    of_.insert_or_assign(Key(left, right), merge);
  }
  const Merge* Find(TokenId left, TokenId right) const {
    const auto found = of_.find(Key(left, right));
    return found == of_.end() ? nullptr : &found->second;
  }

 private:
  static uint64_t Key(TokenId left, TokenId right) {
    return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
  }
  struct Hash {  // ids are small and dense: their sum of bits alone would collide
    size_t operator()(uint64_t key) const { return (key ^ (key >> 29)) * 0x9E3779B97F4A7C15u >> 7; }
  };
  std::unordered_map<uint64_t, Merge, Hash> of_;
};

// Merges neighbours until no pair has a merge: always the pair of the lowest rank, of several the
// leftmost. n tokens take O(n log n). Holds scratch: one per thread.
class BpeMerger {
 public:
  explicit BpeMerger(const BpeMerges& merges) : merges_(merges) {}
  // Appends to `ids` what becomes of `tokens`.
  void Run(const std::vector<TokenId>& tokens, std::vector<TokenId>& ids);

 private:
  struct Symbol {
    TokenId token;          // -1: merged into the one before it
    int32_t before, after;  // -1: none
  };
  struct Candidate {
    uint32_t rank;
    int32_t left;                     // symbol
    TokenId left_token, right_token;  // when it was found; it is void where they have changed
    TokenId merged;
    bool operator<(const Candidate& other) const {  // the best is the heap's greatest
      return rank != other.rank ? rank > other.rank : left > other.left;
    }
  };
  void Push(int32_t left);

  const BpeMerges& merges_;
  std::vector<Symbol> symbols_;
  std::vector<Candidate> heap_;
};

}  // namespace tern

#endif  // TERN_ENGINE_BPE_MERGER_H_
