// Blocks of the KV cache that outlive their sequence, found again by the tokens they hold: a later
// prompt that begins alike need not be run through the model again. Exact, since a row's keys and
// values depend on nothing but its history.
#ifndef TERN_ENGINE_PREFIX_CACHE_H_
#define TERN_ENGINE_PREFIX_CACHE_H_

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "engine/batch.h"
#include "engine/kv_cache.h"

namespace tern {

// Not thread-safe: the cache's owner's.
class PrefixCache {
 public:
  // `cache` outlives this; nobody else retains its blocks.
  explicit PrefixCache(KvCache& cache) : cache_(cache) {}

  // Fills `blocks` with the longest chain of known blocks that `tokens` begins with, at least one
  // token short of all of them: behind that one the text goes on.
  void Find(std::span<const TokenId> tokens, std::vector<int32_t>& blocks);
  // Remembers the full blocks of a sequence whose committed tokens are `tokens`. Where others came
  // first with the same tokens, the sequence goes on with their blocks and gives its own back.
  void Insert(int32_t sequence, std::span<const TokenId> tokens);
  // Forgets blocks that no sequence uses, the longest unused first and never one whose continuation
  // is still known, until `wanted` blocks are free. False where there are not so many.
  bool MakeFree(int32_t wanted);
  // Blocks that MakeFree could free. A sequence that uses a known block uses all known ones before
  // it, so what nobody uses is a part with all of its continuations.
  int32_t unused() const { return cache_.IdleBlocks(); }

 private:
  struct Node {
    int32_t parent = -1;  // -1: the first block of a text
    int32_t block = 0;
    int32_t children = 0;
    int64_t used = 0;  // clock_ of the latest Find or Insert; 0: the node is free
    std::vector<TokenId> tokens;
  };

  int32_t Child(int32_t parent, std::span<const TokenId> tokens) const;
  void Forget(int32_t node);
  static uint64_t Key(int32_t parent, std::span<const TokenId> tokens);

  KvCache& cache_;
  int64_t clock_ = 0;
  std::vector<Node> nodes_;
  std::vector<int32_t> free_nodes_;
  std::unordered_multimap<uint64_t, int32_t> children_;  // Key -> node
};

}  // namespace tern

#endif  // TERN_ENGINE_PREFIX_CACHE_H_
