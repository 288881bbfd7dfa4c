// The one forward pass of tern: prefill, decode, verification and hidden states for training.
#ifndef TERN_ENGINE_TRANSFORMER_H_
#define TERN_ENGINE_TRANSFORMER_H_

#include <functional>
#include <span>
#include <string_view>

#include "engine/batch.h"
#include "engine/kv_cache.h"
#include "engine/model.h"
#include "engine/workspace.h"

namespace tern {

// Sees named intermediate results (name, layer or -1, rows): golden tests, `tern info`, bisection.
using Tap = std::function<void(std::string_view name, int32_t layer, MatView<const float> value)>;

// Runs all rows of `batch` through the model and appends them to `cache` as pending rows; the
// caller then commits a path. The views returned live in `workspace` until the next call with it. A
// row's result depends only on its own history: not on other rows, threads, or how its prefix came
// into the cache. Throws Error(kInvalidArgument) on a token id outside the vocabulary, more rows
// than the workspace holds, a bad parent, or a sequence without room; the cache is then unchanged.
ForwardResult Forward(const Model& model, const Batch& batch, KvCache& cache, Workspace& workspace,
                      const Tap* tap = nullptr);

// logits[V] of one row of ForwardResult::hidden, for which Forward was not asked: the same bits.
void RowLogits(const Model& model, std::span<const float> hidden, std::span<float> logits);

}  // namespace tern

#endif  // TERN_ENGINE_TRANSFORMER_H_
