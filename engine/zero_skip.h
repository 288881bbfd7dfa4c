// Exact zero skipping in the feed-forward block: squared ReLU makes most gates exactly 0, so the
// rows of up_proj behind them, and the columns of down_proj whose int8 input is 0, need not be
// read. Forward does so for a single row, from copies of the two matrices in which rows and columns
// lie alone (kernels/ternary_lines.h), where that is faster; with the same bits as without.
#ifndef TERN_ENGINE_ZERO_SKIP_H_
#define TERN_ENGINE_ZERO_SKIP_H_

#include <cstddef>
#include <span>

#include "engine/batch.h"
#include "engine/model.h"

namespace tern {

// Bytes of memory that the copies take: up to rounding, those of up_proj and down_proj again.
size_t ZeroSkipBytes(const ModelConfig& config);

// Makes the copies. Throws kInvalidArgument where the model's gate is not squared ReLU or its
// activations are not int8, and RequireMemory's error.
void AddZeroSkipping(Model& model);

// Share of gates that are not positive, over all layers and all of `tokens` as one text.
double ShareOfZeroGates(const Model& model, std::span<const TokenId> tokens);

}  // namespace tern

#endif  // TERN_ENGINE_ZERO_SKIP_H_
