// What one call of Forward runs on: a forest of tokens.
#ifndef TERN_ENGINE_BATCH_H_
#define TERN_ENGINE_BATCH_H_

#include <cstdint>
#include <span>

#include "kernels/mat_view.h"
#include "kernels/vocab_screen.h"

namespace tern {

using TokenId = int32_t;

// n rows, one token each. What differs between prefill, decode, verification and training is data:
//   use             rows            parents   logit_rows
//   prefill chunk   up to a chunk   empty     none, or the last row
//   decode          1               empty     that row (or screened_rows)
//   verify a tree   nodes           tree      those likely to be accepted, the root among them
//   hidden states   a text          empty     none
struct Batch {
  std::span<const TokenId> tokens;  // [n]
  std::span<const int32_t>
      sequences;  // [n] cache sequence of each row; empty = all rows of sequence 0
  // [n] batch index of the parent row, always smaller than the row's own, -1 = the last committed
  // token. Empty = within each sequence the rows form one causal chain, in order.
  std::span<const int32_t> parents;
  std::span<const int32_t> logit_rows;  // rows whose logits are wanted; empty = none
  // Rows of which a token is to be chosen, but not every logit is wanted: half the memory traffic.
  // REQUIRES a model with a screen.
  std::span<const int32_t> screened_rows;
  // Of a single row, where the model has the copies for it (zero_skip.h); changes no bit.
  bool skip_zeros = true;
};
// A row's position follows from these: its parent's + 1, or the sequence's committed length at the
// root.

struct ForwardResult {
  MatView<const float> hidden;  // [n, d] after the final norm
  MatView<const float> logits;  // [logit_rows.size(), V]
  ScreenedLogits* screened;     // of screened_rows
  // By how much zero skipping reduced the bytes of weights read.
  int64_t skipped_bytes = 0;
};

}  // namespace tern

#endif  // TERN_ENGINE_BATCH_H_
