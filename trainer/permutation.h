// Pseudo-random permutations without state: element i is computed, nothing is stored.
#ifndef TERN_TRAINER_PERMUTATION_H_
#define TERN_TRAINER_PERMUTATION_H_

#include <cstdint>

namespace tern {

// One step of SplitMix64 (Steele, Lea, Flood 2014): 64 well-mixed bits of `x`.
inline uint64_t Mix64(uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}
inline uint64_t Mix64(uint64_t a, uint64_t b) { return Mix64(Mix64(a) ^ b); }

// Element `index` of the permutation of [0, size) that `key` selects: a balanced Feistel network on
// the next even number of bits, walked until it falls inside (at most 4 steps on average).
// REQUIRES: index < size.
uint64_t PermutedIndex(uint64_t index, uint64_t size, uint64_t key);

}  // namespace tern

#endif  // TERN_TRAINER_PERMUTATION_H_
