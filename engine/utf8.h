// Strict UTF-8, as RFC 3629 defines it.
#ifndef TERN_ENGINE_UTF8_H_
#define TERN_ENGINE_UTF8_H_

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace tern {

// Bytes of the character that `text` begins with: 1 to 4, or 0 where it begins with none (an
// overlong form, a surrogate, a value above U+10FFFF, a stray or missing continuation byte, the
// end).
inline size_t Utf8Length(std::string_view text) {
  const auto byte = [text](size_t i) {
    return i < text.size() ? static_cast<uint8_t>(text[i]) : 0u;
  };
  const auto in = [](uint32_t b, uint32_t low, uint32_t high) { return b >= low && b <= high; };
  if (text.empty()) return 0;
  const uint32_t first = byte(0);
  if (first < 0x80) return 1;
  if (in(first, 0xC2, 0xDF)) return in(byte(1), 0x80, 0xBF) ? 2 : 0;
  if (in(first, 0xE0, 0xEF)) {
    const uint32_t low = first == 0xE0 ? 0xA0 : 0x80, high = first == 0xED ? 0x9F : 0xBF;
    return in(byte(1), low, high) && in(byte(2), 0x80, 0xBF) ? 3 : 0;
  }
  if (in(first, 0xF0, 0xF4)) {
    const uint32_t low = first == 0xF0 ? 0x90 : 0x80, high = first == 0xF4 ? 0x8F : 0xBF;
    return in(byte(1), low, high) && in(byte(2), 0x80, 0xBF) && in(byte(3), 0x80, 0xBF) ? 4 : 0;
  }
  return 0;
}

}  // namespace tern

#endif  // TERN_ENGINE_UTF8_H_
