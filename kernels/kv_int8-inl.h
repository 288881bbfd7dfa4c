// How attention reads a block of keys and values that are int8 (kv_block.h). Once per target.
#if defined(TERN_KERNELS_KV_INT8_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TERN_KERNELS_KV_INT8_INL_H_
#undef TERN_KERNELS_KV_INT8_INL_H_
#else
#define TERN_KERNELS_KV_INT8_INL_H_
#endif

#include "kernels/kv_block.h"
#include "kernels/prefetch.h"
#include "kernels/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tern {
namespace HWY_NAMESPACE {

// The members are those of BFloat16Kv. Codes are widened exactly and multiplied as they are: the
// scale of a key meets the score, that of a value its weight, once each.
struct Int8Kv {
  static constexpr size_t kBytes = 1;
  // Of values, the first and the last Lanes of 2 * Lanes dimensions.
  struct Pair {
    FloatVec first, second;
  };

  static HWY_INLINE Pair Keys(const std::byte* block, size_t slot, size_t dim) {
    const std::byte* const at = block + dim * kKvBlock + slot;
    return {Load(at), Load(at + kKvBlock)};
  }
  // A dimension of a block is a line; four lines of scales follow the last.
  template <size_t kVecs>
  static HWY_INLINE void PrefetchKeys(const std::byte* block, size_t head_dim, size_t slot,
                                      size_t dim) {
    PrefetchToL2(block + dim * kKvBlock + slot);
    PrefetchToL2(block + (dim + 1) * kKvBlock + slot);
    if (dim < 8) PrefetchToL2(block + (head_dim + dim / 2) * kKvBlock);
  }
  static HWY_INLINE FloatVec Scaled(FloatVec sums, const std::byte* block, size_t head_dim,
                                    size_t slot) {
    return hn::Mul(sums, hn::LoadU(FloatTag(), Scales(block, head_dim) + slot));
  }

  static HWY_INLINE Pair Values(const std::byte* at, size_t part) {
    const size_t lanes = hn::Lanes(FloatTag());
    if (HWY_LIKELY(part == 0)) return {Load(at), Load(at + lanes)};
    std::byte codes[32] = {};
    std::memcpy(codes, at, part);
    return {Load(codes), Load(codes + lanes)};
  }
  static HWY_INLINE float Weight(float weight, const std::byte* block, size_t head_dim,
                                 size_t slot) {
    return weight * Scales(block, head_dim)[slot];
  }
  static HWY_INLINE void StoreInOrder(const Pair& sums, float* to) {
    hn::StoreU(sums.first, FloatTag(), to);
    hn::StoreU(sums.second, FloatTag(), to + hn::Lanes(FloatTag()));
  }

 private:
  static HWY_INLINE FloatVec Load(const std::byte* at) {
    const hn::Rebind<int8_t, FloatTag> codes;
    const auto wide =
        hn::PromoteTo(IntTag(), hn::LoadU(codes, reinterpret_cast<const int8_t*>(at)));
    return hn::ConvertTo(FloatTag(), wide);
  }
  static HWY_INLINE const float* Scales(const std::byte* block, size_t head_dim) {
    return reinterpret_cast<const float*>(block + kKvBlock * head_dim);
  }
};

}  // namespace HWY_NAMESPACE
}  // namespace tern
HWY_AFTER_NAMESPACE();

#endif
