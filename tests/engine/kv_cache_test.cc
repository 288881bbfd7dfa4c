#include "engine/kv_cache.h"

#include <gtest/gtest.h>

#include <functional>
#include <random>

#include "engine/error.h"
#include "engine/transformer.h"
#include "tests/support/tiny_model.h"

namespace tern {
namespace {

// Marks the row in `slot` in every layer and head.
void Mark(KvCache& cache, const ModelConfig& config, int32_t sequence, int32_t slot,
          uint16_t mark) {
  for (int32_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    for (int32_t head = 0; head < config.num_key_value_heads; ++head) {
      for (int32_t i = 0; i < config.head_dim; ++i) {
        const uint16_t value = static_cast<uint16_t>(mark + 1000 * layer + 300 * head);
        cache.K(layer, sequence, slot, head)[KeyElement(0, static_cast<size_t>(i))] = {value};
        cache.V(layer, sequence, slot, head)[i] = {static_cast<uint16_t>(value + 7)};
      }
    }
  }
}

void ExpectMark(KvCache& cache, const ModelConfig& config, int32_t sequence, int32_t slot,
                uint16_t mark) {
  for (int32_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    for (int32_t head = 0; head < config.num_key_value_heads; ++head) {
      const uint16_t value = static_cast<uint16_t>(mark + 1000 * layer + 300 * head);
      for (const int32_t i : {0, config.head_dim - 1}) {
        ASSERT_EQ(cache.K(layer, sequence, slot, head)[KeyElement(0, static_cast<size_t>(i))].bits,
                  value)
            << "slot " << slot;
        ASSERT_EQ(cache.V(layer, sequence, slot, head)[i].bits, value + 7) << "slot " << slot;
      }
    }
  }
}

TEST(KvCache, CommitKeepsThePathAndItsRows) {
  const ModelConfig config = TinyConfig();
  KvCache cache(config, 2, 200, 6);
  const int32_t s = cache.AddSequence();
  for (uint16_t i = 0; i < 62; ++i) Mark(cache, config, s, cache.AppendPending(s), i);
  cache.CommitAll(s);
  for (uint16_t i = 0; i < 70; ++i) {
    Mark(cache, config, s, cache.AppendPending(s), static_cast<uint16_t>(100 + i));
  }
  EXPECT_EQ(cache.FreeBlocks(), 3);
  cache.Commit(s, std::vector<int32_t>{0, 3, 4, 69});
  EXPECT_EQ(cache.Length(s), 66);
  EXPECT_EQ(cache.Pending(s), 0);
  EXPECT_EQ(cache.FreeBlocks(), 4);
  for (int32_t slot = 0; slot < 62; ++slot)
    ExpectMark(cache, config, s, slot, static_cast<uint16_t>(slot));
  for (const auto& [slot, mark] : {std::pair{62, 100}, {63, 103}, {64, 104}, {65, 169}}) {
    ExpectMark(cache, config, s, slot, static_cast<uint16_t>(mark));
  }
}

TEST(KvCache, BlocksAreTakenAndGivenBack) {
  KvCache cache(TinyConfig(), 2, 512, 3);
  const int32_t a = cache.AddSequence(), b = cache.AddSequence();
  EXPECT_EQ(cache.AddSequence(), -1);
  EXPECT_TRUE(cache.HasRoom(a, 192));
  EXPECT_FALSE(cache.HasRoom(a, 193));
  for (int i = 0; i < 65; ++i) cache.AppendPending(a);
  EXPECT_TRUE(cache.HasRoom(a, 63));
  EXPECT_TRUE(cache.HasRoom(b, 64));
  EXPECT_FALSE(cache.HasRoom(b, 65));
  cache.AppendPending(b);
  EXPECT_FALSE(cache.HasRoom(a, 64));
  cache.DropPending(a);
  EXPECT_EQ(cache.FreeBlocks(), 2);
  cache.RemoveSequence(b);
  EXPECT_EQ(cache.FreeBlocks(), 3);
  EXPECT_FALSE(cache.IsActive(b));
  EXPECT_EQ(cache.AddSequence(), b);
  EXPECT_EQ(cache.Length(b), 0);
}

TEST(KvCache, ContextIsALimitOfItsOwn) {
  KvCache cache(TinyConfig(), 1, 70, 8);
  const int32_t s = cache.AddSequence();
  EXPECT_TRUE(cache.HasRoom(s, 70));
  EXPECT_FALSE(cache.HasRoom(s, 71));
}

// Bad batches: one Error each, and a cache that does not know that anything happened.
TEST(ForwardErrors, BadBatchesChangeNothing) {
  const Model model = MakeTinyModel();
  KvCache cache(model.config, 2, 100, 3);
  Workspace workspace(model.config, 80, 4, 100);
  cache.AddSequence();
  cache.AddSequence();
  const std::vector<TokenId> text = RandomTokens(90, 259, 1);
  const auto first = [&](size_t n) { return std::span(text).first(n); };
  Forward(model, {first(30)}, cache, workspace);
  cache.CommitAll(0);
  Forward(model, {first(60)}, cache, workspace);  // pending: 90 of 100 slots, 2 blocks

  const std::vector<TokenId> outside = {5, 259}, negative = {-1}, two = {1, 2};
  const std::vector<int32_t> forward = {0, 1}, far_back = {-2, 0}, ones(80, 1), both = {0, 1};
  const std::vector<int32_t> unknown = {0, 2}, rows_5 = {0, 1, 2, 3, 4}, row_2 = {2},
                             row_minus = {-1};
  const std::vector<int32_t> other_sequence = {-1, 0};
  const std::pair<const char*, Batch> cases[] = {
      {"no rows", {}},
      {"token above", {outside}},
      {"token below", {negative}},
      {"too many rows", {first(81)}},
      {"parent of itself", {.tokens = two, .parents = forward}},
      {"parent below -1", {.tokens = two, .parents = far_back}},
      {"parent in another sequence", {.tokens = two, .sequences = both, .parents = other_sequence}},
      {"unknown sequence", {.tokens = two, .sequences = unknown}},
      {"short list", {.tokens = two, .sequences = row_2}},
      {"too many logit rows", {.tokens = first(6), .logit_rows = rows_5}},
      {"logit row above", {.tokens = two, .logit_rows = row_2}},
      {"logit row below", {.tokens = two, .logit_rows = row_minus}},
      {"beyond the context", {first(11)}},
      {"beyond the free blocks", {.tokens = first(80), .sequences = ones}},
  };
  for (const auto& [name, batch] : cases) {
    try {
      Forward(model, batch, cache, workspace);
      ADD_FAILURE() << name << ": accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), Error::Kind::kInvalidArgument) << name;
      EXPECT_NE(std::string(error.what()).find("forward: "), std::string::npos) << error.what();
    }
    EXPECT_EQ(cache.Length(0), 30) << name;
    EXPECT_EQ(cache.Pending(0), 60) << name;
    EXPECT_EQ(cache.Pending(1), 0) << name;
    EXPECT_EQ(cache.FreeBlocks(), 1) << name;
  }
}

TEST(ForwardErrors, PositionsBeyondTheModelsContext) {
  ModelConfig config = TinyConfig();
  config.max_position_embeddings = 8;
  const Model model = MakeTinyModel(config);
  KvCache cache(config, 1, 100, 2);
  Workspace workspace(config, 16, 0, 100);
  cache.AddSequence();
  const std::vector<TokenId> text = RandomTokens(9, 259, 1);
  EXPECT_THROW(Forward(model, {text}, cache, workspace), Error);
  EXPECT_NO_THROW(Forward(model, {std::span(text).first(8)}, cache, workspace));
}

}  // namespace
}  // namespace tern
