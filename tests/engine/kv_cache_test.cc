#include "engine/kv_cache.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "engine/error.h"
#include "engine/transformer.h"
#include "tests/support/tiny_model.h"

namespace tern {
namespace {

constexpr KvType kKvTypes[] = {KvType::kBFloat16, KvType::kInt8};

// K of a row that is to be known again in a layer and head, by signs and by size; V is twice that.
std::vector<float> Marked(const ModelConfig& config, int32_t layer, int32_t head, uint32_t mark) {
  std::vector<float> k(static_cast<size_t>(config.head_dim));
  for (size_t i = 0; i < k.size(); ++i)
    k[i] = std::ldexp((i == 0 || (mark >> i % 8 & 1) != 0) ? 1.0f : -0.5f,
                      layer + 3 * head + static_cast<int32_t>(mark % 4));
  return k;
}

std::vector<float> Doubled(std::vector<float> x) {
  for (float& value : x) value *= 2;
  return x;
}

// Marks the row in `slot` in every layer and head.
void Mark(KvCache& cache, const ModelConfig& config, int32_t sequence, int32_t slot,
          uint32_t mark) {
  for (int32_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    for (int32_t head = 0; head < config.num_key_value_heads; ++head) {
      const std::vector<float> k = Marked(config, layer, head, mark);
      cache.Store(layer, sequence, slot, head, k, Doubled(k));
    }
  }
}

void ExpectMark(const KvCache& cache, const ModelConfig& config, int32_t sequence, int32_t slot,
                uint32_t mark) {
  for (int32_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    for (int32_t head = 0; head < config.num_key_value_heads; ++head) {
      const std::vector<float> expected = Marked(config, layer, head, mark);
      std::vector<float> k(expected.size()), v(expected.size());
      cache.Load(layer, sequence, slot, head, k, v);
      // Exact in bf16; as int8, -0.5 is -64 / 127.
      const float allowed = 0.004f * *std::max_element(expected.begin(), expected.end());
      for (size_t i = 0; i < k.size(); ++i) {
        ASSERT_NEAR(k[i], expected[i], allowed) << "slot " << slot;
        ASSERT_NEAR(v[i], 2 * expected[i], 2 * allowed) << "slot " << slot;
      }
    }
  }
}

TEST(KvCache, CommitKeepsThePathAndItsRows) {
  const ModelConfig config = TinyConfig();
  for (const KvType type : kKvTypes) {
    KvCache cache(config, 2, 200, 6, type);
    const int32_t s = cache.AddSequence();
    for (uint32_t i = 0; i < 62; ++i) Mark(cache, config, s, cache.AppendPending(s), i);
    cache.CommitAll(s);
    for (uint32_t i = 0; i < 70; ++i) Mark(cache, config, s, cache.AppendPending(s), 100 + i);
    EXPECT_EQ(cache.FreeBlocks(), 3);
    cache.Commit(s, std::vector<int32_t>{0, 3, 4, 69});
    EXPECT_EQ(cache.Length(s), 66);
    EXPECT_EQ(cache.Pending(s), 0);
    EXPECT_EQ(cache.FreeBlocks(), 4);
    for (int32_t slot = 0; slot < 62; ++slot)
      ExpectMark(cache, config, s, slot, static_cast<uint32_t>(slot));
    for (const auto& [slot, mark] : {std::pair{62, 100u}, {63, 103u}, {64, 104u}, {65, 169u}})
      ExpectMark(cache, config, s, slot, mark);
  }
}

TEST(KvCache, BytesAreThoseOfItsType) {
  ModelConfig config = TinyConfig();
  config.num_hidden_layers = 30;
  config.num_key_value_heads = 5;
  config.head_dim = 128;
  // 2 x 30 layers x 5 heads x 64 slots x 128 values, and as int8 a scale for each 128.
  EXPECT_EQ(KvCache::Bytes(config, 1, KvType::kBFloat16), 2u * 30 * 5 * 64 * 128 * 2);
  EXPECT_EQ(KvCache::Bytes(config, 1, KvType::kInt8), 2u * 30 * 5 * 64 * (128 + 4));
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
