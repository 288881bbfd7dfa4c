// How keys and values lie in memory: blocks of 64 slots per KV head, as bf16 or as int8 with a
// scale per vector.
#ifndef TERN_KERNELS_KV_BLOCK_H_
#define TERN_KERNELS_KV_BLOCK_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/bfloat16.h"

namespace tern {

// What a cache holds a K or V vector of head_dim values as.
enum class KvType {
  kBFloat16,
  // Codes -127 .. 127 and one fp32 scale, chosen from the vector alone: the largest magnitude (or
  // 1e-30, if that is more) / 127. A value differs from code * scale by at most half the scale,
  // rounding apart.
  kInt8,
};

inline constexpr size_t kKvBlock = 64;  // slots per block

// A block of one KV head takes KvBlockBytes() for K and as many for V. With bf16:
//   V of slot s, dimension i   element s * head_dim + i
//   K, stored rotated          element (i / 2 * 64 + s) * 2 + i % 2
// so pairs of dimensions with the slots side by side: a vector of scores is a sum over dimensions
// without a reduction of lanes. With int8:
//   V of slot s, dimension i   code s * head_dim + i
//   K                          code i * 64 + s
//   scales                     fp32 [64], by slot, behind the 64 * head_dim codes
inline constexpr size_t KvBlockBytes(KvType type, size_t head_dim) {
  return kKvBlock *
         (type == KvType::kInt8 ? head_dim + sizeof(float) : head_dim * sizeof(BFloat16));
}

// K or V of a slot, [head_dim] values, rounded (to nearest, ties to even) into a block, and as
// attention reads it from there. NaN and infinity are kept, with int8 as a vector of NaN.
void StoreKey(KvType type, std::span<const float> from, std::byte* block, size_t slot);
void StoreValue(KvType type, std::span<const float> from, std::byte* block, size_t slot);
void LoadKey(KvType type, const std::byte* block, size_t slot, std::span<float> to);
void LoadValue(KvType type, const std::byte* block, size_t slot, std::span<float> to);

// Moves the bits as they are, between slots of one block or two.
void CopyKey(KvType type, size_t head_dim, const std::byte* from, size_t from_slot, std::byte* to,
             size_t to_slot);
void CopyValue(KvType type, size_t head_dim, const std::byte* from, size_t from_slot, std::byte* to,
               size_t to_slot);

}  // namespace tern

#endif  // TERN_KERNELS_KV_BLOCK_H_
