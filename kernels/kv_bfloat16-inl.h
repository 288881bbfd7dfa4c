// How attention reads a block of keys and values that are bf16 (kv_block.h). Once per target.
#if defined(TERN_KERNELS_KV_BFLOAT16_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TERN_KERNELS_KV_BFLOAT16_INL_H_
#undef TERN_KERNELS_KV_BFLOAT16_INL_H_
#else
#define TERN_KERNELS_KV_BFLOAT16_INL_H_
#endif

#include "kernels/bfloat16-inl.h"
#include "kernels/kv_block.h"
#include "kernels/prefetch.h"

HWY_BEFORE_NAMESPACE();
namespace tern {
namespace HWY_NAMESPACE {

struct BFloat16Kv {
  static constexpr size_t kBytes = sizeof(BFloat16);  // of an element
  // Two vectors of fp32: of keys, dimensions `dim` and dim + 1 (dim is even) of slots from `slot`
  // on; of values, the even and the odd ones of 2 * Lanes dimensions.
  struct Pair {
    FloatVec first, second;
  };

  static HWY_INLINE size_t KeyByte(size_t slot, size_t dim) {
    return (dim * kKvBlock + 2 * slot) * kBytes;
  }
  static HWY_INLINE Pair Keys(const std::byte* block, size_t slot, size_t dim) {
    return Load(block + KeyByte(slot, dim));
  }
  // Asks for the lines that Keys() reads for kVecs vectors of slots.
  template <size_t kVecs>
  static HWY_INLINE void PrefetchKeys(const std::byte* block, size_t, size_t slot, size_t dim) {
    for (size_t i = 0; i < kVecs; ++i)
      PrefetchToL2(block + KeyByte(slot + i * hn::Lanes(FloatTag()), dim));
  }
  // Products with codes to products with keys.
  static HWY_INLINE FloatVec Scaled(FloatVec sums, const std::byte*, size_t, size_t) {
    return sums;
  }

  // `at` is where the values begin; the last `part` dimensions where part > 0.
  static HWY_INLINE Pair Values(const std::byte* at, size_t part) {
    if (HWY_LIKELY(part == 0)) return Load(at);
    const BFloat16Pairs pairs =
        LoadBFloat16PairsPart(FloatTag(), reinterpret_cast<const BFloat16*>(at), part);
    return {pairs.even, pairs.odd};
  }
  // The weight of a code of the slot's values.
  static HWY_INLINE float Weight(float weight, const std::byte*, size_t, size_t) { return weight; }
  // As the values lay.
  static HWY_INLINE void StoreInOrder(const Pair& sums, float* to) {
    hn::StoreInterleaved2(sums.first, sums.second, FloatTag(), to);
  }

 private:
  static HWY_INLINE Pair Load(const std::byte* at) {
    const BFloat16Pairs pairs =
        LoadBFloat16Pairs(FloatTag(), reinterpret_cast<const BFloat16*>(at));
    return {pairs.even, pairs.odd};
  }
};

}  // namespace HWY_NAMESPACE
}  // namespace tern
HWY_AFTER_NAMESPACE();

#endif
