#include "engine/text_forward.h"

#include <algorithm>

#include "engine/transformer.h"
#include "kernels/check.h"

namespace tern {
namespace {

constexpr int32_t kBlock = 64;  // positions of a cache block

}  // namespace

TextForward::TextForward(const Model& model, int32_t max_tokens, KvType kv_type)
    : model_(model),
      cache_(model.config, 1, max_tokens, (max_tokens + kBlock - 1) / kBlock, kv_type),
      workspace_(model.config, kChunk, kLogitsChunk, max_tokens),
      sequence_(cache_.AddSequence()),
      scratch_(model.config.vocab_size) {}

void TextForward::Run(std::span<const TokenId> tokens, const HiddenRows& on_hidden,
                      std::span<const uint8_t> wanted, size_t top_k, const TopRows& on_top) {
  TERN_CHECK(!tokens.empty() && (wanted.empty() || wanted.size() == tokens.size()));
  cache_.Truncate(sequence_, 0);
  top_.resize(top_k);
  const auto chunk = static_cast<size_t>(wanted.empty() ? kChunk : kLogitsChunk);
  for (size_t begin = 0; begin + 1 < tokens.size(); begin += chunk) {
    const size_t count = std::min(chunk, tokens.size() - 1 - begin);
    rows_.clear();
    for (size_t i = 0; i < count && !wanted.empty(); ++i) {
      if (wanted[begin + i + 1] != 0) rows_.push_back(static_cast<int32_t>(i));
    }
    const ForwardResult result = Forward(
        model_, {.tokens = tokens.subspan(begin, count), .logit_rows = rows_}, cache_, workspace_);
    cache_.CommitAll(sequence_);
    for (size_t i = 0; i < count; ++i)
      on_hidden(static_cast<int32_t>(begin + i), result.hidden.RowSpan(i));
    for (size_t i = 0; i < rows_.size(); ++i) {
      const size_t next = begin + static_cast<size_t>(rows_[i]) + 1;
      Logprobs(result.logits.RowSpan(i), tokens[next], top_, scratch_);
      on_top(next, top_);
    }
  }
}

}  // namespace tern
