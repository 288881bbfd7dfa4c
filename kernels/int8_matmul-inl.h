// The integer inner loops of the int8 product, one per instruction set.
//
// A strip is what one vector holds of a packed line: kInt8StripRows consecutive outputs x 4
// columns. DotInt8Strips computes, for kRows activation rows and kStrips strips, sum_k (weight +
// 128) * code; the caller subtracts 128 times the row's sum of codes. Unsigned weights are what the
// VNNI instruction takes.
#if defined(TERN_KERNELS_INT8_MATMUL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TERN_KERNELS_INT8_MATMUL_INL_H_
#undef TERN_KERNELS_INT8_MATMUL_INL_H_
#else
#define TERN_KERNELS_INT8_MATMUL_INL_H_
#endif

#include <hwy/cache_control.h>

#include <cstdint>
#include <cstring>

#include "kernels/int8_pack.h"
#include "kernels/simd-inl.h"

#if HWY_ARCH_X86
#include <immintrin.h>
#endif

// Highway's attributes for AVX3_DL leave out the 512-bit dot product, although its CPU check
// includes it.
#if HWY_TARGET == HWY_AVX3_DL
HWY_PUSH_ATTRIBUTES(HWY_TARGET_STR ",avx512vnni")
#else
HWY_BEFORE_NAMESPACE();
#endif
namespace tern {
namespace HWY_NAMESPACE {

inline constexpr size_t kInt8LineBytes = 64;  // one group of 16 rows x one block of 4 columns

#if HWY_TARGET == HWY_AVX3_DL || HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX2 || \
    HWY_TARGET == HWY_SSE4

using Int8DotTag = hn::ScalableTag<int32_t>;
using Int8Dots = hn::Vec<Int8DotTag>;
inline constexpr size_t kInt8StripRows = HWY_LANES(int32_t);

// Four consecutive codes of one activation row, in every lane.
HWY_INLINE Int8Dots BroadcastInt8(const int8_t* codes) {
  int32_t four;
  std::memcpy(&four, codes, sizeof(four));
  return hn::Set(Int8DotTag(), four);
}

HWY_INLINE Int8Dots LoadInt8Line(const uint8_t* strip, size_t block) {
  return hn::Load(Int8DotTag(), reinterpret_cast<const int32_t*>(strip + block * kInt8LineBytes));
}

#if HWY_TARGET == HWY_AVX3_DL

inline constexpr size_t kInt8MaxTileRows = 8;
// 16 accumulators hide the latency of the dot step, 8 nearly do, and fit the 32 registers beside
// the weights of all strips.
constexpr size_t Int8TileStrips(size_t rows) { return rows <= 2 ? 8 : rows <= 4 ? 4 : 2; }

// One block of 4 columns.
template <size_t kRows, size_t kStrips>
HWY_INLINE void DotInt8Block(const uint8_t* const (&strips)[kStrips], size_t block,
                             const int8_t* codes, size_t stride, Int8Dots (&dots)[kRows][kStrips]) {
  Int8Dots weights[kStrips];
#pragma GCC unroll 8
  for (size_t s = 0; s < kStrips; ++s) weights[s] = LoadInt8Line(strips[s], block);
#pragma GCC unroll 8
  for (size_t r = 0; r < kRows; ++r) {
    const Int8Dots four = BroadcastInt8(codes + r * stride + block * 4);
#pragma GCC unroll 8
    for (size_t s = 0; s < kStrips; ++s) {
      dots[r][s] = Int8Dots{_mm512_dpbusd_epi32(dots[r][s].raw, weights[s].raw, four.raw)};
    }
  }
}

#else

inline constexpr size_t kInt8MaxTileRows = 4;
// 4 x 2 accumulators fit 16 registers beside the operands.
constexpr size_t Int8TileStrips(size_t /*rows*/) { return 2; }

// The sum of two neighbouring 16-bit products, in int32.
HWY_INLINE Int8Dots PairDot(Int8Dots a, Int8Dots b) {
#if HWY_TARGET == HWY_AVX3
  return Int8Dots{_mm512_madd_epi16(a.raw, b.raw)};
#elif HWY_TARGET == HWY_AVX2
  return Int8Dots{_mm256_madd_epi16(a.raw, b.raw)};
#else
  return Int8Dots{_mm_madd_epi16(a.raw, b.raw)};
#endif
}

// One block of 4 columns. Products of bytes do not fit 16 bits in pairs, so even and odd columns
// are widened first.
template <size_t kRows, size_t kStrips>
HWY_INLINE void DotInt8Block(const uint8_t* const (&strips)[kStrips], size_t block,
                             const int8_t* codes, size_t stride, Int8Dots (&dots)[kRows][kStrips]) {
  const Int8DotTag d;
  const hn::RepartitionToNarrow<Int8DotTag> d16;
  const hn::RebindToUnsigned<decltype(d16)> du16;
  const Int8Dots low_bytes = hn::Set(d, 0x00FF00FF);
  Int8Dots even[kStrips], odd[kStrips];
#pragma GCC unroll 8
  for (size_t s = 0; s < kStrips; ++s) {
    const Int8Dots line = LoadInt8Line(strips[s], block);
    even[s] = hn::And(line, low_bytes);
    odd[s] = hn::BitCast(d, hn::ShiftRight<8>(hn::BitCast(du16, line)));
  }
#pragma GCC unroll 8
  for (size_t r = 0; r < kRows; ++r) {
    const auto four = hn::BitCast(d16, BroadcastInt8(codes + r * stride + block * 4));
    const Int8Dots even_codes = hn::BitCast(d, hn::ShiftRight<8>(hn::ShiftLeft<8>(four)));
    const Int8Dots odd_codes = hn::BitCast(d, hn::ShiftRight<8>(four));
#pragma GCC unroll 8
    for (size_t s = 0; s < kStrips; ++s) {
      const Int8Dots sum = hn::Add(PairDot(even[s], even_codes), PairDot(odd[s], odd_codes));
      dots[r][s] = hn::Add(dots[r][s], sum);
    }
  }
}

#endif

template <size_t kRows, size_t kStrips>
HWY_INLINE void DotInt8Strips(const uint8_t* const (&strips)[kStrips], size_t blocks,
                              const int8_t* codes, size_t stride,
                              Int8Dots (&dots)[kRows][kStrips]) {
#pragma GCC unroll 8
  for (size_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (size_t s = 0; s < kStrips; ++s) dots[r][s] = hn::Zero(Int8DotTag());
  }
  for (size_t b = 0; b < blocks; ++b) {
#pragma GCC unroll 8
    for (size_t s = 0; s < kStrips; ++s)
      hwy::Prefetch(strips[s] + (b + kStrips * blocks) * kInt8LineBytes);
    DotInt8Block(strips, b, codes, stride, dots);
  }
}

// dots -> y: lanes of one strip, of which the first `count` are outputs. `scales` has all lanes.
HWY_INLINE void StoreInt8Strip(Int8Dots dots, int32_t offset, float row_scale, const float* scales,
                               float* y, size_t count) {
  const Int8DotTag di;
  const hn::RebindToFloat<Int8DotTag> df;
  const auto dot = hn::ConvertTo(df, hn::Sub(dots, hn::Set(di, offset)));
  const auto value = hn::Mul(dot, hn::Mul(hn::Set(df, row_scale), hn::Load(df, scales)));
  if (count >= kInt8StripRows) {
    hn::StoreU(value, df, y);
    return;
  }
  HWY_ALIGN float lanes[kInt8StripRows];
  hn::Store(value, df, lanes);
  std::memcpy(y, lanes, count * sizeof(float));
}

#else  // portable: one strip is the whole group

inline constexpr size_t kInt8StripRows = kInt8RowGroup;
inline constexpr size_t kInt8MaxTileRows = 1;
constexpr size_t Int8TileStrips(size_t /*rows*/) { return 1; }

struct Int8Dots {
  int32_t lanes[kInt8StripRows];
};

template <size_t kRows, size_t kStrips>
HWY_INLINE void DotInt8Strips(const uint8_t* const (&strips)[kStrips], size_t blocks,
                              const int8_t* codes, size_t /*stride*/,
                              Int8Dots (&dots)[kRows][kStrips]) {
  static_assert(kRows == 1 && kStrips == 1);
  for (size_t r = 0; r < kInt8StripRows; ++r) {
    int32_t dot = 0;
    for (size_t b = 0; b < blocks; ++b) {
      const uint8_t* weights = strips[0] + b * kInt8LineBytes + 4 * r;
      for (size_t j = 0; j < 4; ++j) dot += weights[j] * codes[b * 4 + j];
    }
    dots[0][0].lanes[r] = dot;
  }
}

HWY_INLINE void StoreInt8Strip(const Int8Dots& dots, int32_t offset, float row_scale,
                               const float* scales, float* y, size_t count) {
  for (size_t r = 0; r < HWY_MIN(count, kInt8StripRows); ++r) {
    y[r] = static_cast<float>(dots.lanes[r] - offset) * (row_scale * scales[r]);
  }
}

#endif

}  // namespace HWY_NAMESPACE
}  // namespace tern
HWY_AFTER_NAMESPACE();

#endif
