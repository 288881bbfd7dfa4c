// Merging against the definition: look at all pairs, merge the best, again.
#include "engine/bpe_merger.h"

#include <gtest/gtest.h>

#include <chrono>
#include <limits>
#include <random>
#include <vector>

namespace tern {
namespace {

std::vector<TokenId> MergeByDefinition(const BpeMerges& merges, std::vector<TokenId> tokens) {
  for (;;) {
    const BpeMerges::Merge* best = nullptr;
    size_t at = 0;
    for (size_t i = 0; i + 1 < tokens.size(); ++i) {
      const BpeMerges::Merge* merge = merges.Find(tokens[i], tokens[i + 1]);
      if (merge != nullptr && (best == nullptr || merge->rank < best->rank)) {
        best = merge;
        at = i;
      }
    }
    if (best == nullptr) return tokens;
    tokens[at] = best->token;
    tokens.erase(tokens.begin() + static_cast<std::ptrdiff_t>(at) + 1);
  }
}

TEST(BpeMergerTest, MergesAsDefined) {
  std::mt19937 random(11);
  for (int repeat = 0; repeat < 300; ++repeat) {
    BpeMerges merges;
    const TokenId letters = 2 + static_cast<TokenId>(random() % 4);
    TokenId next = letters;
    for (uint32_t rank = 0; rank < 60; ++rank) {
      const auto pick = [&] {
        return static_cast<TokenId>(random() % static_cast<uint32_t>(next));
      };
      const TokenId left = pick(), right = pick();
      if (merges.Find(left, right) == nullptr) merges.Add(left, right, {rank, next++});
    }
    BpeMerger merger(merges);
    for (int text = 0; text < 5; ++text) {
      std::vector<TokenId> tokens(random() % 80), ids;
      for (TokenId& token : tokens) token = static_cast<TokenId>(random() % letters);
      merger.Run(tokens, ids);
      ASSERT_EQ(ids, MergeByDefinition(merges, tokens)) << "repeat " << repeat;
    }
  }
}

// A text without spaces is one piece. By the definition a million tokens would take hours.
TEST(BpeMergerTest, LongPiecesTakeNoQuadraticTime) {
  BpeMerges merges;
  for (TokenId token = 0; token < 18; ++token) {  // 2^k letters of one kind in a token
    merges.Add(token, token, {static_cast<uint32_t>(token), token + 1});
  }
  BpeMerger merger(merges);
  std::vector<TokenId> ids;
  const auto start = std::chrono::steady_clock::now();
  merger.Run(std::vector<TokenId>(1 << 20, 0), ids);
  EXPECT_EQ(ids, std::vector<TokenId>(4, 18));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(30));
}

}  // namespace
}  // namespace tern
