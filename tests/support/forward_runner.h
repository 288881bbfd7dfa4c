// Runs Forward in tests and keeps what each row gave, so that rows can be compared bit for bit.
#ifndef TERN_TESTS_SUPPORT_FORWARD_RUNNER_H_
#define TERN_TESTS_SUPPORT_FORWARD_RUNNER_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "engine/transformer.h"

namespace tern {

struct RowResult {
  std::vector<float> hidden;  // [d]
  std::vector<float> logits;  // [V]
};

// Equal in every bit (so a NaN equals itself, and 0 differs from -0).
inline testing::AssertionResult SameBits(const RowResult& expected, const RowResult& got) {
  const auto differ = [](const std::vector<float>& a, const std::vector<float>& b) -> std::string {
    if (a.size() != b.size())
      return "sizes " + std::to_string(a.size()) + ", " + std::to_string(b.size());
    for (size_t i = 0; i < a.size(); ++i) {
      if (std::memcmp(&a[i], &b[i], sizeof(float)) == 0) continue;
      return "[" + std::to_string(i) + "]: expected " + std::to_string(a[i]) + ", got " +
             std::to_string(b[i]);
    }
    return "";
  };
  if (const std::string text = differ(expected.hidden, got.hidden); !text.empty()) {
    return testing::AssertionFailure() << "hidden" << text;
  }
  if (const std::string text = differ(expected.logits, got.logits); !text.empty()) {
    return testing::AssertionFailure() << "logits" << text;
  }
  return testing::AssertionSuccess();
}

// A cache and a workspace for one model; sequence 0 exists from the start.
class ForwardRunner {
 public:
  explicit ForwardRunner(const Model& model, KvType type = KvType::kBFloat16,
                         int32_t max_rows = 320, int32_t max_sequences = 4)
      : model_(model),
        cache_(model.config, max_sequences, 512, 8 * max_sequences, type),
        workspace_(model.config, max_rows, max_rows, 512) {
    cache_.AddSequence();
  }
  KvCache& cache() { return cache_; }
  Workspace& workspace() { return workspace_; }

  // Every row with logits; rows stay pending.
  std::vector<RowResult> Run(std::span<const TokenId> tokens, std::span<const int32_t> parents = {},
                             std::span<const int32_t> sequences = {}) {
    std::vector<int32_t> all(tokens.size());
    std::iota(all.begin(), all.end(), 0);
    const ForwardResult result =
        Forward(model_, {tokens, sequences, parents, all}, cache_, workspace_);
    std::vector<RowResult> rows(tokens.size());
    for (size_t i = 0; i < rows.size(); ++i) {
      rows[i].hidden.assign(result.hidden.Row(i), result.hidden.Row(i) + result.hidden.cols);
      rows[i].logits.assign(result.logits.Row(i), result.logits.Row(i) + result.logits.cols);
    }
    return rows;
  }

  // Appends `tokens` to sequence 0 in chunks and commits them: one result per token.
  std::vector<RowResult> Prefill(std::span<const TokenId> tokens, size_t chunk) {
    std::vector<RowResult> rows;
    for (size_t begin = 0; begin < tokens.size(); begin += chunk) {
      const size_t count = std::min(chunk, tokens.size() - begin);
      for (RowResult& row : Run(tokens.subspan(begin, count))) rows.push_back(std::move(row));
      cache_.CommitAll(0);
    }
    return rows;
  }

 private:
  const Model& model_;
  KvCache cache_;
  Workspace workspace_;
};

// What each token of a text gives when decoded alone, one row a call, in a fresh cache.
inline std::vector<RowResult> DecodeOneByOne(const Model& model, std::span<const TokenId> tokens,
                                             KvType type = KvType::kBFloat16) {
  return ForwardRunner(model, type, 1, 1).Prefill(tokens, 1);
}

}  // namespace tern

#endif  // TERN_TESTS_SUPPORT_FORWARD_RUNNER_H_
