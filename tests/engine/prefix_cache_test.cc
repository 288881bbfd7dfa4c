#include "engine/prefix_cache.h"

#include <gtest/gtest.h>

#include <random>
#include <set>
#include <vector>

#include "tests/support/tiny_model.h"

namespace tern {
namespace {

constexpr int32_t kBlock = static_cast<int32_t>(kKvBlock);
constexpr int32_t kSequences = 4, kContext = 5 * kBlock, kBlocks = 14;

// Texts that come and go in random order. A block's tokens are all 0 or all 1, so that texts often
// begin alike; keys and values are of no interest here.
class ComingAndGoing {
 public:
  explicit ComingAndGoing(uint32_t seed) : random_(seed) {}

  void Step() {
    switch (Below(5)) {
      case 0:
        return Begin();
      case 1:
      case 2:
        return Grow();
      case 3:
        if (Text* text = Any()) prefixes_.Insert(text->sequence, text->tokens);
        return;
      default:
        return End();
    }
  }

  // Blocks neither free nor used by any sequence, found by going through all tables.
  int32_t ScanUnused() const {
    std::set<int32_t> used;
    for (const Text& text : texts_) {
      const int32_t* table = cache_.BlockTable(text.sequence);
      const int32_t blocks = (cache_.Length(text.sequence) + kBlock - 1) / kBlock;
      used.insert(table, table + blocks);
    }
    return kBlocks - cache_.FreeBlocks() - static_cast<int32_t>(used.size());
  }

  PrefixCache& prefixes() { return prefixes_; }
  const KvCache& cache() const { return cache_; }

 private:
  struct Text {
    int32_t sequence;
    std::vector<TokenId> tokens;
  };

  int32_t Below(int32_t n) { return static_cast<int32_t>(random_() % static_cast<uint32_t>(n)); }

  Text* Any() {
    if (texts_.empty()) return nullptr;
    return &texts_[static_cast<size_t>(Below(static_cast<int32_t>(texts_.size())))];
  }

  void Begin() {
    const int32_t sequence = cache_.AddSequence();
    if (sequence < 0) return;
    std::vector<TokenId> prompt;
    for (int32_t block = Below(4); block >= 0; --block)
      prompt.insert(prompt.end(), kBlock, Below(2));
    std::vector<int32_t> known;
    prefixes_.Find(prompt, known);
    cache_.Share(sequence, known);
    prompt.resize(known.size() * kKvBlock);
    texts_.push_back({sequence, prompt});
  }

  // By one block at most, some of whose rows are drafts that are dropped.
  void Grow() {
    Text* text = Any();
    if (text == nullptr) return;
    const int32_t rows = 1 + Below(kBlock);
    prefixes_.MakeFree(1 + Below(2));
    if (!cache_.HasRoom(text->sequence, rows)) return;
    std::vector<int32_t> kept;
    TokenId token = Below(2);
    for (int32_t row = 0; row < rows; ++row) {
      cache_.AppendPending(text->sequence);
      if (row >= rows - 2) continue;
      kept.push_back(row);
      if (text->tokens.size() % kKvBlock != 0) token = text->tokens.back();
      text->tokens.push_back(token);
    }
    cache_.Commit(text->sequence, kept);
  }

  void End() {
    if (texts_.empty()) return;
    const auto index = Below(static_cast<int32_t>(texts_.size()));
    cache_.RemoveSequence(texts_[static_cast<size_t>(index)].sequence);
    texts_.erase(texts_.begin() + index);
  }

  std::mt19937 random_;
  KvCache cache_{TinyConfig(), kSequences, kContext, kBlocks};
  PrefixCache prefixes_{cache_};
  std::vector<Text> texts_;
};

TEST(PrefixCache, CountsTheBlocksThatNobodyUses) {
  int32_t most = 0;
  for (uint32_t seed = 0; seed < 20; ++seed) {
    ComingAndGoing texts(seed);
    for (int step = 0; step < 1000; ++step) {
      texts.Step();
      const int32_t unused = texts.prefixes().unused();
      ASSERT_EQ(unused, texts.ScanUnused()) << "seed " << seed << ", step " << step;
      most = std::max(most, unused);
    }
  }
  EXPECT_GT(most, kBlocks / 2);  // it was worth counting
}

// The count is a promise to those who are admitted by it.
TEST(PrefixCache, FreesAsManyBlocksAsItCounts) {
  for (uint32_t seed = 0; seed < 20; ++seed) {
    ComingAndGoing texts(seed);
    for (int step = 0; step < 1000; ++step) {
      texts.Step();
      if (step % 20 != 19) continue;
      PrefixCache& prefixes = texts.prefixes();
      const int32_t available = texts.cache().FreeBlocks() + prefixes.unused();
      ASSERT_FALSE(prefixes.MakeFree(available + 1)) << "seed " << seed << ", step " << step;
      ASSERT_EQ(texts.cache().FreeBlocks(), available) << "seed " << seed << ", step " << step;
      ASSERT_EQ(prefixes.unused(), 0);
    }
  }
}

}  // namespace
}  // namespace tern
