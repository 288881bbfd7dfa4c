#include "trainer/permutation.h"

#include <bit>

#include "kernels/check.h"

namespace tern {

uint64_t PermutedIndex(uint64_t index, uint64_t size, uint64_t key) {
  TERN_CHECK(index < size) << index << " of " << size;
  if (size == 1) return 0;
  constexpr int kRounds = 4;  // Luby and Rackoff: 4 rounds make a strong pseudo-random permutation
  const int half = (std::bit_width(size - 1) + 1) / 2;
  const uint64_t mask = (uint64_t{1} << half) - 1;
  uint64_t x = index;
  do {
    uint64_t left = x >> half, right = x & mask;
    for (uint64_t round = 0; round < kRounds; ++round) {
      const uint64_t next = left ^ (Mix64(key + round, right) & mask);
      left = right;
      right = next;
    }
    x = left << half | right;
  } while (x >= size);
  return x;
}

}  // namespace tern
