// Fingerprint of bytes: tells files apart and finds damage. Not cryptographic.
#ifndef TERN_ENGINE_HASH_H_
#define TERN_ENGINE_HASH_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace tern {

// 64 bits of `bytes`, continuing from `seed`; the same on every machine. FNV-1a's step on 8-byte
// words with a fold, so that it runs at memory speed.
uint64_t HashBytes(std::span<const std::byte> bytes, uint64_t seed = 0);
inline uint64_t HashText(std::string_view text) {
  return HashBytes(std::as_bytes(std::span(text)));
}

// 16 hexadecimal digits.
std::string HashName(uint64_t hash);

}  // namespace tern

#endif  // TERN_ENGINE_HASH_H_
