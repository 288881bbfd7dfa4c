// Hidden states and probabilities of a text that is there already.
#ifndef TERN_ENGINE_TEXT_FORWARD_H_
#define TERN_ENGINE_TEXT_FORWARD_H_

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "engine/kv_cache.h"
#include "engine/model.h"
#include "engine/sampler.h"
#include "engine/workspace.h"
#include "kernels/kv_block.h"

namespace tern {

// The bits are those of generating the same tokens: no row depends on what shares its pass. Not
// thread-safe.
class TextForward {
 public:
  // For texts of up to `max_tokens` tokens. `model` outlives this.
  TextForward(const Model& model, int32_t max_tokens, KvType kv_type);

  // Row (post-final-norm, [d]) of every token but the last, in order of positions.
  using HiddenRows = std::function<void(int32_t position, std::span<const float> row)>;
  // The `top_k` most probable tokens in place of `position`, at temperature 1, largest first.
  using TopRows = std::function<void(size_t position, std::span<const TokenLogprob> top)>;
  // `wanted` [n]: positions to call `on_top` for; may be empty.
  void Run(std::span<const TokenId> tokens, const HiddenRows& on_hidden,
           std::span<const uint8_t> wanted = {}, size_t top_k = 0, const TopRows& on_top = {});

 private:
  static constexpr int32_t kChunk = 128;       // rows of a pass
  static constexpr int32_t kLogitsChunk = 32;  // of one with logits: those of many rows are large

  const Model& model_;
  KvCache cache_;
  Workspace workspace_;
  int32_t sequence_;
  SamplerScratch scratch_;
  std::vector<int32_t> rows_;
  std::vector<TokenLogprob> top_;
};

}  // namespace tern

#endif  // TERN_ENGINE_TEXT_FORWARD_H_
