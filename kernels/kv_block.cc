#include "kernels/kv_block.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace tern {
namespace {

// Where the elements of one K or V vector lie in a block.
struct Place {
  size_t first;   // element of dimension 0
  size_t second;  // of dimension 1, behind that
  size_t stride;  // from a pair of dimensions to the next
  size_t operator[](size_t i) const { return first + i / 2 * stride + i % 2 * second; }
};

Place KeyPlace(KvType type, size_t slot) {
  if (type == KvType::kInt8) return {slot, kKvBlock, 2 * kKvBlock};
  return {2 * slot, 1, 2 * kKvBlock};
}

Place ValuePlace(size_t head_dim, size_t slot) { return {slot * head_dim, 1, 2}; }

BFloat16* Halves(std::byte* block) { return reinterpret_cast<BFloat16*>(block); }
const BFloat16* Halves(const std::byte* block) { return reinterpret_cast<const BFloat16*>(block); }
int8_t* Codes(std::byte* block) { return reinterpret_cast<int8_t*>(block); }
const int8_t* Codes(const std::byte* block) { return reinterpret_cast<const int8_t*>(block); }
float* Scales(std::byte* block, size_t head_dim) {
  return reinterpret_cast<float*>(block + kKvBlock * head_dim);
}
const float* Scales(const std::byte* block, size_t head_dim) {
  return reinterpret_cast<const float*>(block + kKvBlock * head_dim);
}

// The largest magnitude. Magnitudes compare like their bit patterns, and there NaN is above
// infinity: a NaN in the vector shows in its scale.
float AbsMax(std::span<const float> x) {
  uint32_t largest = 0;
  for (const float value : x)
    largest = std::max(largest, std::bit_cast<uint32_t>(value) & 0x7FFFFFFFu);
  return std::bit_cast<float>(largest);
}

// `x`, of magnitude below 2^22, to the nearest whole number, ties to even: what adding 1.5 * 2^23
// leaves room for.
float RoundToWhole(float x) {
  constexpr float kShift = 0x1.8p23f;
  return (x + kShift) - kShift;
}

// What a thousand pairs a pass go through: their place steps instead of being worked out for each
// element. g++ vectorises it, with FromFloat's test for NaN as a selection.
void StoreHalves(std::span<const float> from, BFloat16* block, Place place) {
  const size_t pairs = from.size() / 2;
  BFloat16* to = block + place.first;
  for (size_t i = 0; i < pairs; ++i, to += place.stride) {
    to[0] = BFloat16::FromFloat(from[2 * i]);
    to[1] = BFloat16::FromFloat(from[2 * i + 1]);
  }
  if (from.size() % 2 != 0) to[0] = BFloat16::FromFloat(from.back());
}

void Store(KvType type, std::span<const float> from, std::byte* block, Place place, size_t slot) {
  if (type == KvType::kBFloat16) return StoreHalves(from, Halves(block), place);
  const float absmax = AbsMax(from);
  // A vector with NaN or infinity is one of NaN.
  const bool finite = absmax <= 0x1.fffffep127f;
  const float top = std::max(absmax, 1e-30f);
  Scales(block, from.size())[slot] = finite ? top / 127.0f : std::bit_cast<float>(0x7FC00000u);
  const float inverse = 127.0f / top;  // |x * inverse| rounds to at most 127
  for (size_t i = 0; i < from.size(); ++i) {
    const float code = finite ? RoundToWhole(from[i] * inverse) : 0.0f;
    Codes(block)[place[i]] = static_cast<int8_t>(code);
  }
}

void Load(KvType type, const std::byte* block, Place place, size_t slot, std::span<float> to) {
  if (type == KvType::kBFloat16) {
    for (size_t i = 0; i < to.size(); ++i) to[i] = Halves(block)[place[i]].ToFloat();
    return;
  }
  const float scale = Scales(block, to.size())[slot];
  for (size_t i = 0; i < to.size(); ++i) to[i] = static_cast<float>(Codes(block)[place[i]]) * scale;
}

void Copy(KvType type, size_t head_dim, const std::byte* from, Place from_place, size_t from_slot,
          std::byte* to, Place to_place, size_t to_slot) {
  if (type == KvType::kBFloat16) {
    for (size_t i = 0; i < head_dim; ++i) Halves(to)[to_place[i]] = Halves(from)[from_place[i]];
    return;
  }
  for (size_t i = 0; i < head_dim; ++i) Codes(to)[to_place[i]] = Codes(from)[from_place[i]];
  Scales(to, head_dim)[to_slot] = Scales(from, head_dim)[from_slot];
}

}  // namespace

void StoreKey(KvType type, std::span<const float> from, std::byte* block, size_t slot) {
  Store(type, from, block, KeyPlace(type, slot), slot);
}

void StoreValue(KvType type, std::span<const float> from, std::byte* block, size_t slot) {
  Store(type, from, block, ValuePlace(from.size(), slot), slot);
}

void LoadKey(KvType type, const std::byte* block, size_t slot, std::span<float> to) {
  Load(type, block, KeyPlace(type, slot), slot, to);
}

void LoadValue(KvType type, const std::byte* block, size_t slot, std::span<float> to) {
  Load(type, block, ValuePlace(to.size(), slot), slot, to);
}

void CopyKey(KvType type, size_t head_dim, const std::byte* from, size_t from_slot, std::byte* to,
             size_t to_slot) {
  Copy(type, head_dim, from, KeyPlace(type, from_slot), from_slot, to, KeyPlace(type, to_slot),
       to_slot);
}

void CopyValue(KvType type, size_t head_dim, const std::byte* from, size_t from_slot, std::byte* to,
               size_t to_slot) {
  Copy(type, head_dim, from, ValuePlace(head_dim, from_slot), from_slot, to,
       ValuePlace(head_dim, to_slot), to_slot);
}

}  // namespace tern
