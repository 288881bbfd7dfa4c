// Token files made in code.
#ifndef TERN_TESTS_TRAINER_TOKEN_DATA_H_
#define TERN_TESTS_TRAINER_TOKEN_DATA_H_

#include <string>
#include <vector>

#include "engine/token_file.h"
#include "trainer/permutation.h"

namespace tern::test {

// A learnable sequence: mostly (previous + 1) mod 8, one in four at random, ids below 8.
inline std::vector<uint32_t> LearnableTokens(size_t count, uint64_t seed) {
  std::vector<uint32_t> tokens(count);
  uint32_t last = 0;
  for (size_t i = 0; i < count; ++i) {
    const uint64_t bits = Mix64(seed, i);
    last = (bits & 3) == 0 ? static_cast<uint32_t>(bits >> 8) % 8 : (last + 1) % 8;
    tokens[i] = last;
  }
  return tokens;
}

inline void WriteTokens(const std::string& path, const std::vector<uint32_t>& tokens,
                        uint32_t vocabulary, uint64_t text_bytes = 0, uint64_t tokenizer_hash = 7) {
  TokenFileWriter writer(path, vocabulary, tokenizer_hash);
  writer.Append(std::span<const uint32_t>(tokens));
  writer.Commit(text_bytes);
}

}  // namespace tern::test

#endif  // TERN_TESTS_TRAINER_TOKEN_DATA_H_
