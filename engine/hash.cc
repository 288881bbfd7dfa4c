#include "engine/hash.h"

#include <cinttypes>
#include <cstdio>
#include <cstring>

namespace tern {

uint64_t HashBytes(std::span<const std::byte> bytes, uint64_t seed) {
  constexpr uint64_t kPrime = 0x100000001b3, kOffset = 0xcbf29ce484222325;  // FNV-1a's constants
  uint64_t hash = kOffset ^ seed;
  const auto step = [&hash](uint64_t word) {
    hash = (hash ^ word) * kPrime;
    hash ^= hash >> 29;  // the product alone never carries high bits into low ones
  };
  size_t i = 0;
  for (; i + 8 <= bytes.size(); i += 8) {
    uint64_t word;  // little-endian hosts only, as the whole of tern
    std::memcpy(&word, bytes.data() + i, 8);
    step(word);
  }
  uint64_t tail = 0;
  if (i < bytes.size()) std::memcpy(&tail, bytes.data() + i, bytes.size() - i);
  step(tail);
  step(bytes.size());
  return hash;
}

std::string HashName(uint64_t hash) {
  char text[17];
  std::snprintf(text, sizeof(text), "%016" PRIx64, hash);
  return text;
}

}  // namespace tern
