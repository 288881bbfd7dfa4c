// What the hidden-state cache stores of each of some tokens, while it is put together.
#ifndef TERN_TRAINER_STORED_TOKENS_H_
#define TERN_TRAINER_STORED_TOKENS_H_

#include <cstdint>
#include <vector>

#include "engine/batch.h"
#include "kernels/bfloat16.h"

namespace tern {

struct StoredTokens {
  std::vector<TokenId> tokens;     // [n]
  std::vector<uint8_t> assistant;  // [n] 1 where the model wrote the token
  std::vector<BFloat16> hidden;    // [n, d], or none
  // [n, K], or none
  std::vector<TokenId> teacher_ids;
  std::vector<float> teacher_probs;
};

}  // namespace tern

#endif  // TERN_TRAINER_STORED_TOKENS_H_
