#include "engine/byte_alphabet.h"

#include <array>
#include <cstdint>

namespace tern {
namespace {

constexpr uint32_t kFirstShifted = 0x100;
constexpr uint32_t kShifted = 68;  // bytes that have no visible character of their own

constexpr bool IsVisible(uint32_t byte) {
  return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
}

struct Alphabet {
  std::array<uint32_t, 256> code{};                      // of each byte
  std::array<int16_t, kFirstShifted + kShifted> byte{};  // of each code point, -1: none
  constexpr Alphabet() {
    byte.fill(-1);
    uint32_t next = kFirstShifted;
    for (uint32_t value = 0; value < 256; ++value) {
      code[value] = IsVisible(value) ? value : next++;
      byte[code[value]] = static_cast<int16_t>(value);
    }
  }
};
constexpr Alphabet kAlphabet;

}  // namespace

std::string SpellBytes(std::string_view bytes) {
  std::string spelling;
  spelling.reserve(2 * bytes.size());
  for (const char c : bytes) {
    const uint32_t code = kAlphabet.code[static_cast<uint8_t>(c)];
    if (code < 0x80) {
      spelling += static_cast<char>(code);
    } else {
      spelling += static_cast<char>(0xC0 | (code >> 6));
      spelling += static_cast<char>(0x80 | (code & 0x3F));
    }
  }
  return spelling;
}

std::optional<std::string> UnspellBytes(std::string_view spelling) {
  std::string bytes;
  for (size_t at = 0; at < spelling.size(); ++at) {
    uint32_t code = static_cast<uint8_t>(spelling[at]);
    if (code >= 0x80) {
      if (code < 0xC2 || code > 0xC5 || at + 1 == spelling.size()) return std::nullopt;
      const uint32_t low = static_cast<uint8_t>(spelling[++at]);
      if ((low & 0xC0) != 0x80) return std::nullopt;
      code = ((code & 0x1F) << 6) | (low & 0x3F);
    }
    const int16_t byte = code < kAlphabet.byte.size() ? kAlphabet.byte[code] : int16_t{-1};
    if (byte < 0) return std::nullopt;
    bytes += static_cast<char>(byte);
  }
  return bytes;
}

}  // namespace tern
