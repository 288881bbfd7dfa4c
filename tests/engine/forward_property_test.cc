// A row's result depends on nothing but its own history, bit for bit: every case runs on several
// odd shapes and on every instruction set that this CPU has.
#include <gtest/gtest.h>

#include <numeric>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "engine/error.h"
#include "kernels/dispatch.h"
#include "kernels/parallel.h"
#include "kernels/top_k.h"
#include "tests/support/forward_runner.h"
#include "tests/support/tiny_model.h"

namespace tern {
namespace {

constexpr KvType kKvTypes[] = {KvType::kBFloat16, KvType::kInt8};
std::string NameOf(KvType type) { return type == KvType::kInt8 ? "_int8" : ""; }

ModelConfig Shape(int32_t heads, int32_t kv_heads, int32_t head_dim, int32_t f, int32_t vocab,
                  bool tied) {
  ModelConfig config = TinyConfig();
  config.num_attention_heads = heads;
  config.num_key_value_heads = kv_heads;
  config.head_dim = head_dim;
  config.hidden_size = heads * head_dim;
  config.intermediate_size = f;
  config.vocab_size = vocab;
  config.tie_word_embeddings = tied;
  return config;
}

const ModelConfig& ConfigNamed(const std::string& name) {
  static const ModelConfig tiny = TinyConfig();
  static const ModelConfig one_kv_head = Shape(3, 1, 32, 172, 101, false);
  static const ModelConfig narrow = Shape(1, 1, 16, 20, 37, true);
  static const ModelConfig llama = TinyLlamaConfig();
  static const ModelConfig qwen = TinyQwenConfig();
  if (name == "llama" || name == "qwen") return name == "llama" ? llama : qwen;
  return name == "tiny" ? tiny : name == "one_kv_head" ? one_kv_head : narrow;
}

class ForwardProperty
    : public testing::TestWithParam<std::tuple<std::string, std::string, KvType>> {
 protected:
  void SetUp() override {
    ASSERT_TRUE(SetMaxTarget(std::get<1>(GetParam())));
    SetThreadCount(1);  // ForwardThreads below compares thread counts
    model_ = MakeTinyModel(ConfigNamed(std::get<0>(GetParam())), 7);
    tokens_ = RandomTokens(150, model_.config.vocab_size, 11);
    alone_ = DecodeOneByOne(model_, tokens_, Type());
  }
  void TearDown() override { ASSERT_TRUE(SetMaxTarget(SupportedTargets().back())); }

  static KvType Type() { return std::get<2>(GetParam()); }
  std::span<const TokenId> First(size_t n) const { return std::span(tokens_).first(n); }

  Model model_;
  std::vector<TokenId> tokens_;
  std::vector<RowResult> alone_;  // of tokens_
};

TEST_P(ForwardProperty, PrefillInAnyChunksEqualsDecode) {
  for (const size_t chunk : {1, 2, 3, 7, 16, 33, 63, 64, 65, 100, 128, 150}) {
    const std::vector<RowResult> rows = ForwardRunner(model_, Type()).Prefill(tokens_, chunk);
    for (size_t i = 0; i < rows.size(); ++i) {
      ASSERT_TRUE(SameBits(alone_[i], rows[i])) << "chunk " << chunk << ", token " << i;
    }
  }
}

TEST_P(ForwardProperty, TreeWithOnePathEqualsChain) {
  for (const size_t prefix : {0, 1, 40, 63, 64, 65, 120}) {
    ForwardRunner runner(model_, Type());
    runner.Prefill(First(prefix), 64);
    std::vector<int32_t> parents(20);
    std::iota(parents.begin(), parents.end(), -1);
    const std::vector<RowResult> rows = runner.Run(std::span(tokens_).subspan(prefix, 20), parents);
    for (size_t i = 0; i < rows.size(); ++i) {
      ASSERT_TRUE(SameBits(alone_[prefix + i], rows[i])) << "prefix " << prefix << ", row " << i;
    }
  }
}

TEST_P(ForwardProperty, TreeRowsEqualTheirPathsAlone) {
  std::mt19937_64 random(3);
  for (const size_t prefix : {0, 1, 5, 61, 63, 64, 127, 130}) {
    const size_t n = 14;
    const std::vector<TokenId> nodes = RandomTokens(n, model_.config.vocab_size, prefix);
    std::vector<int32_t> parents(n);
    for (size_t i = 0; i < n; ++i) parents[i] = static_cast<int32_t>(random() % (i + 1)) - 1;
    ForwardRunner tree(model_, Type());
    tree.Prefill(First(prefix), 64);
    const std::vector<RowResult> rows = tree.Run(nodes, parents);
    for (size_t i = 0; i < n; ++i) {
      std::vector<TokenId> path;
      for (int32_t node = static_cast<int32_t>(i); node >= 0;
           node = parents[static_cast<size_t>(node)]) {
        path.insert(path.begin(), nodes[static_cast<size_t>(node)]);
      }
      path.insert(path.begin(), tokens_.begin(), tokens_.begin() + static_cast<ptrdiff_t>(prefix));
      ASSERT_TRUE(SameBits(ForwardRunner(model_, Type()).Prefill(path, 320).back(), rows[i]))
          << "prefix " << prefix << ", node " << i;
    }
  }
}

// Grows a text by trees in which the text's own tokens hide among decoys, and commits them: every
// length is reached by some seed, with blocks ending anywhere inside tree and prefix.
TEST_P(ForwardProperty, CommittedPathsEqualFreshPrefill) {
  for (uint64_t seed = 0; seed < 4; ++seed) {
    std::mt19937_64 random(seed);
    ForwardRunner runner(model_, Type());
    size_t length = 0;
    while (length < tokens_.size()) {
      std::vector<TokenId> nodes;
      std::vector<int32_t> parents, path;
      const size_t depth = std::min<size_t>(1 + random() % 5, tokens_.size() - length);
      for (size_t d = 0; d < depth; ++d) {
        for (size_t decoys = random() % 3; decoys > 0; --decoys) {
          parents.push_back(static_cast<int32_t>(random() % (nodes.size() + 1)) - 1);
          nodes.push_back(
              static_cast<TokenId>(random() % static_cast<uint64_t>(model_.config.vocab_size)));
        }
        parents.push_back(path.empty() ? -1 : path.back());
        path.push_back(static_cast<int32_t>(nodes.size()));
        nodes.push_back(tokens_[length + d]);
      }
      const std::vector<RowResult> rows = runner.Run(nodes, parents);
      for (size_t d = 0; d < depth; ++d) {
        ASSERT_TRUE(SameBits(alone_[length + d], rows[static_cast<size_t>(path[d])]))
            << "seed " << seed << ", token " << length + d;
      }
      runner.cache().Commit(0, path);
      length += depth;
      ASSERT_EQ(runner.cache().Length(0), static_cast<int32_t>(length));
    }
  }
}

TEST_P(ForwardProperty, SequencesDoNotSeeEachOther) {
  const std::vector<TokenId> other = RandomTokens(90, model_.config.vocab_size, 99);
  const std::vector<RowResult> other_alone = DecodeOneByOne(model_, other, Type());
  ForwardRunner runner(model_, Type());
  ASSERT_EQ(runner.cache().AddSequence(), 1);
  std::mt19937_64 random(5);
  size_t done[2] = {0, 0};
  while (done[0] < tokens_.size() || done[1] < other.size()) {
    std::vector<TokenId> batch;
    std::vector<int32_t> sequences;
    const size_t begin[2] = {done[0], done[1]};
    for (size_t row = 0; row < 1 + random() % 30; ++row) {
      const int32_t s = static_cast<int32_t>(random() % 2);
      const std::vector<TokenId>& text = s == 0 ? tokens_ : other;
      if (done[s] == text.size()) continue;
      batch.push_back(text[done[s]++]);
      sequences.push_back(s);
    }
    if (batch.empty()) continue;
    const std::vector<RowResult> rows = runner.Run(batch, {}, sequences);
    size_t next[2] = {begin[0], begin[1]};
    for (size_t i = 0; i < rows.size(); ++i) {
      const std::vector<RowResult>& expected = sequences[i] == 0 ? alone_ : other_alone;
      const size_t token = next[sequences[i]]++;
      ASSERT_TRUE(SameBits(expected[token], rows[i]))
          << "sequence " << sequences[i] << ", " << token;
    }
    runner.cache().CommitAll(0);
    runner.cache().CommitAll(1);
  }
}

TEST_P(ForwardProperty, TruncateThenContinueEqualsFresh) {
  ForwardRunner runner(model_, Type());
  runner.Prefill(RandomTokens(140, model_.config.vocab_size, 21), 50);
  for (const size_t keep : {0, 130, 128, 127, 64, 63, 1}) {
    runner.cache().Truncate(0, 0);
    runner.Prefill(tokens_, 64);
    runner.cache().Truncate(0, static_cast<int32_t>(keep));
    const std::vector<RowResult> rows = runner.Prefill(std::span(tokens_).subspan(keep), 9);
    for (size_t i = 0; i < rows.size(); ++i) {
      ASSERT_TRUE(SameBits(alone_[keep + i], rows[i])) << "kept " << keep << ", token " << keep + i;
    }
  }
}

// Together with logits of other rows and alone.
TEST_P(ForwardProperty, ScreenedRowsHaveTheLargestLogits) {
  const std::vector<int32_t> screened_rows = {4, 0, 9, 9}, logit_rows = {1};
  KvCache cache(model_.config, 1, 64, 1, Type());
  Workspace workspace(model_.config, 10, 4, 64);
  cache.AddSequence();
  const Batch batch = {
      .tokens = First(10), .logit_rows = logit_rows, .screened_rows = screened_rows};
  const ForwardResult result = Forward(model_, batch, cache, workspace);
  ASSERT_EQ(result.screened->rows(), screened_rows.size());
  for (size_t i = 0; i < screened_rows.size(); ++i) {
    const RowResult& row = alone_[static_cast<size_t>(screened_rows[i])];
    EXPECT_EQ(result.screened->ArgMax(i), ArgMax(row.logits)) << i;
  }
  EXPECT_TRUE(std::equal(alone_[1].logits.begin(), alone_[1].logits.end(), result.logits.Row(0)));
  cache.DropPending(0);
  model_.screen = {};
  EXPECT_THROW(Forward(model_, batch, cache, workspace), Error);
}

TEST_P(ForwardProperty, DroppedRowsLeaveNoTrace) {
  ForwardRunner runner(model_, Type());
  runner.Prefill(First(60), 60);
  runner.Run(RandomTokens(30, model_.config.vocab_size, 8));
  runner.cache().DropPending(0);
  const std::vector<RowResult> rows = runner.Prefill(std::span(tokens_).subspan(60), 30);
  for (size_t i = 0; i < rows.size(); ++i) ASSERT_TRUE(SameBits(alone_[60 + i], rows[i])) << i;
}

INSTANTIATE_TEST_SUITE_P(
    All, ForwardProperty,
    testing::Combine(testing::Values("tiny", "one_kv_head", "narrow", "llama", "qwen"),
                     testing::ValuesIn(SupportedTargets()), testing::ValuesIn(kKvTypes)),
    [](const auto& param_info) {
      return std::get<0>(param_info.param) + "_" + std::get<1>(param_info.param) +
             NameOf(std::get<2>(param_info.param));
    });

// Every length 1..300 as one prefill, against one row at a time.
TEST(ForwardLengths, OnePrefillOfEveryLengthEqualsDecode) {
  const Model model = MakeTinyModel(Shape(2, 1, 16, 36, 50, true), 5);
  const std::vector<TokenId> tokens = RandomTokens(300, model.config.vocab_size, 17);
  for (const KvType type : kKvTypes) {
    const std::vector<RowResult> alone = DecodeOneByOne(model, tokens, type);
    ForwardRunner runner(model, type);
    for (size_t length = 1; length <= tokens.size(); ++length) {
      runner.cache().Truncate(0, 0);
      const std::vector<RowResult> rows = runner.Prefill(std::span(tokens).first(length), length);
      ASSERT_TRUE(SameBits(alone[length - 1], rows.back())) << "length " << length << NameOf(type);
    }
  }
}

// Large enough that the kernels really split their work.
TEST(ForwardThreads, ResultsDoNotDependOnThreads) {
  ModelConfig config = Shape(4, 2, 64, 700, 3001, true);
  const Model model = MakeTinyModel(config, 5);
  const std::vector<TokenId> tokens = RandomTokens(96, config.vocab_size, 1);
  for (const KvType type : kKvTypes) {
    SetThreadCount(1);
    const std::vector<RowResult> one = ForwardRunner(model, type).Prefill(tokens, 96);
    for (const int threads : {2, 3}) {
      SetThreadCount(threads);
      for (const size_t chunk : {1, 31, 96}) {
        const std::vector<RowResult> rows = ForwardRunner(model, type).Prefill(tokens, chunk);
        for (size_t i = 0; i < rows.size(); ++i) {
          ASSERT_TRUE(SameBits(one[i], rows[i]))
              << threads << " threads, chunk " << chunk << ", " << i << NameOf(type);
        }
      }
    }
  }
  SetThreadCount(2);
}

}  // namespace
}  // namespace tern
