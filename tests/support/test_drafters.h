// Drafters that know nothing, and drafters that know the future: speculation must survive both.
#ifndef TERN_TESTS_SUPPORT_TEST_DRAFTERS_H_
#define TERN_TESTS_SUPPORT_TEST_DRAFTERS_H_

#include <algorithm>
#include <cstdint>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "engine/drafter.h"

namespace tern {

// One drafter, as generators take them.
inline std::vector<std::unique_ptr<Drafter>> OneDrafter(std::unique_ptr<Drafter> drafter) {
  std::vector<std::unique_ptr<Drafter>> drafters;
  drafters.push_back(std::move(drafter));
  return drafters;
}

// Random tokens in a random tree, another one at every step. Wrong almost always.
class RandomDrafter : public Drafter {
 public:
  RandomDrafter(int32_t vocab_size, int32_t nodes, uint64_t seed)
      : vocab_size_(vocab_size), nodes_(nodes), seed_(seed), random_(seed) {}
  void Reset() override { random_.seed(seed_); }
  void Propose(const DraftContext& context, DraftTree& tree) override {
    for (int32_t i = 0; i < nodes_; ++i) {
      int32_t parent = static_cast<int32_t>(random_() % static_cast<uint64_t>(tree.size() + 1)) - 1;
      if (parent >= 0 && tree[parent].depth >= context.max_depth) parent = -1;
      tree.Add(parent, Token(), static_cast<float>(random_() % 1000) / 1000.0f);
    }
  }

 protected:
  TokenId Token() { return static_cast<TokenId>(random_() % static_cast<uint64_t>(vocab_size_)); }
  int32_t vocab_size_, nodes_;
  uint64_t seed_;
  std::mt19937_64 random_;
};

// Knows the whole text: drafts its next tokens as a chain of random length, with `width` - 1 wrong
// siblings beside each node, some of which have children of their own. Random lengths end accepted
// paths at every place of the text.
class OracleDrafter : public RandomDrafter {
 public:
  OracleDrafter(int32_t max_depth, int32_t width, int32_t vocab_size, uint64_t seed)
      : RandomDrafter(vocab_size, 0, seed), max_depth_(max_depth), width_(width) {}
  // Prompt and text of the next run.
  void SetText(std::vector<TokenId> whole_text) { text_ = std::move(whole_text); }
  void Propose(const DraftContext& context, DraftTree& tree) override {
    int32_t parent = -1;
    const int32_t depth = std::min(
        context.max_depth, 1 + static_cast<int32_t>(random_() % static_cast<uint64_t>(max_depth_)));
    for (int32_t i = 0; i < depth; ++i) {
      const size_t at = context.tokens.size() + static_cast<size_t>(i);
      if (at >= text_.size()) return;
      for (int32_t sibling = 1; sibling < width_; ++sibling) {
        const int32_t wrong = tree.Add(parent, Token(), 0.9f);
        if (wrong >= 0 && i + 1 < depth) tree.Add(wrong, Token(), 0.8f);
      }
      parent = tree.Add(parent, text_[at], 1.0f);
      if (parent < 0) return;
    }
  }

 private:
  std::vector<TokenId> text_;
  int32_t max_depth_, width_;
};

}  // namespace tern

#endif  // TERN_TESTS_SUPPORT_TEST_DRAFTERS_H_
