// Numbers that fixtures' scripts compute too: see `mixed` in tests/golden/*.py.
#ifndef TERN_TESTS_SUPPORT_MIXED_H_
#define TERN_TESTS_SUPPORT_MIXED_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace tern::test {

// Number `i` of a seed: a hash of both.
inline uint32_t Mixed(uint32_t seed, uint32_t i) {
  uint32_t x = i * 2654435761u + seed * 40503u + 1u;
  x = (x ^ (x >> 15)) * 2246822519u;
  x = (x ^ (x >> 13)) * 3266489917u;
  return x ^ (x >> 16);
}

// Multiples of 1/512 in [-1/4, 1/4): exact in bf16 and fp16.
inline std::vector<float> MixedValues(uint32_t seed, size_t n) {
  std::vector<float> values(n);
  for (size_t i = 0; i < n; ++i) {
    const uint32_t code = Mixed(seed, static_cast<uint32_t>(i)) % 256;
    values[i] = (static_cast<float>(code) - 128.0f) / 512.0f;
  }
  return values;
}

}  // namespace tern::test

#endif  // TERN_TESTS_SUPPORT_MIXED_H_
