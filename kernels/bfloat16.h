// bfloat16 as a storage type: the upper half of an fp32. Arithmetic happens in fp32.
#ifndef TERN_KERNELS_BFLOAT16_H_
#define TERN_KERNELS_BFLOAT16_H_

#include <bit>
#include <cstdint>

namespace tern {

struct BFloat16 {
  uint16_t bits = 0;

  float ToFloat() const { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

  // Rounds to nearest, ties to even; NaN stays NaN (quietened).
  static BFloat16 FromFloat(float value) {
    const uint32_t raw = std::bit_cast<uint32_t>(value);
    if ((raw & 0x7FFFFFFFu) > 0x7F800000u) return {static_cast<uint16_t>((raw >> 16) | 0x40u)};
    return {static_cast<uint16_t>((raw + 0x7FFFu + ((raw >> 16) & 1u)) >> 16)};
  }
  friend bool operator==(BFloat16, BFloat16) = default;
};
static_assert(sizeof(BFloat16) == 2);

inline float RoundToBFloat16(float value) { return BFloat16::FromFloat(value).ToFloat(); }

}  // namespace tern

#endif  // TERN_KERNELS_BFLOAT16_H_
