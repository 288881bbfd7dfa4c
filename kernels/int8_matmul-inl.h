// The integer inner loops of the int8 product, one per instruction set.
//
// DotInt8Strips computes, for kRows activation rows and kStrips strips, sum_k (weight +
// kInt8Offset) * code. `first`: they begin a group, of which other strips follow. The caller
// subtracts kInt8Offset times the row's sum of codes. Unsigned weights are what the VNNI
// instruction takes, signed ones those of arm64, AVX2 and SSE4.
#if defined(TERN_KERNELS_INT8_MATMUL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TERN_KERNELS_INT8_MATMUL_INL_H_
#undef TERN_KERNELS_INT8_MATMUL_INL_H_
#else
#define TERN_KERNELS_INT8_MATMUL_INL_H_
#endif

#include <hwy/cache_control.h>

#include <cstdint>

#include "kernels/int8_pack.h"
#include "kernels/int_dot-inl.h"

TERN_BEFORE_INT_DOT();
namespace tern {
namespace HWY_NAMESPACE {

// Products of magnitudes and codes that took the weights' signs.
#undef TERN_INT8_BY_SIGN
#define TERN_INT8_BY_SIGN (HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_SSE4)

inline constexpr int32_t kInt8Offset = TERN_NEON_DOT || TERN_INT8_BY_SIGN ? 0 : 128;

#if TERN_INT_DOT_VECTORS

// Lines between what is read and what is asked for; 4 KiB.
inline constexpr size_t kAhead = 16;

#if HWY_TARGET == HWY_AVX3_DL || TERN_NEON_DOT

// 4 x 4 are 16 accumulators, which hide the latency of the dot step, and fit the 32 registers
// beside the weights of all strips. Four strips are a whole line, so that a tile reads one stream.
inline constexpr size_t kInt8MaxTileRows = 4;
constexpr size_t Int8TileStrips(size_t /*rows*/) { return 4; }
// One block of 4 columns.
template <size_t kRows, size_t kStrips>
HWY_INLINE void DotInt8Block(const uint8_t* const (&strips)[kStrips], size_t block, bool /*first*/,
                             const int8_t* codes, size_t stride, DotVec (&dots)[kRows][kStrips]) {
  DotVec weights[kStrips];
#pragma GCC unroll 8
  for (size_t s = 0; s < kStrips; ++s) {
    weights[s] = LoadLine<kInt8RowGroup>(strips[s], block);
    hwy::Prefetch(strips[s] + (block + kAhead) * (4 * kInt8RowGroup));
#if TERN_NEON_DOT
    weights[s] = hn::Xor(weights[s], hn::Set(DotInt(), static_cast<int32_t>(0x80808080u)));
#endif
  }
#pragma GCC unroll 8
  for (size_t r = 0; r < kRows; ++r) {
    const DotVec four = BroadcastCodes(codes + r * stride + block * 4);
#pragma GCC unroll 8
    for (size_t s = 0; s < kStrips; ++s) {
      dots[r][s] = DotStep(dots[r][s], weights[s], four);
    }
  }
}

#else

inline constexpr size_t kInt8MaxTileRows = 4;
// 8 accumulators fit 16 registers beside the operands. A single row waits for memory: of a line it
// reads all, or as much as fits.
constexpr size_t Int8TileStrips(size_t rows) {
  const size_t line = kInt8RowGroup / kStripRows, fits = rows == 1 ? 8 : rows == 2 ? 4 : 2;
  return line < fits ? line : fits;
}

// A tile reads a part of each line. The first one of a group asks for whole lines, which the others
// find in the second cache: memory is read in order, once.
HWY_INLINE void PrefetchLine(const uint8_t* strip, size_t block) {
  constexpr size_t kLine = 4 * kInt8RowGroup;
#pragma GCC unroll 8
  for (size_t at = 0; at < kLine; at += 64) hwy::Prefetch(strip + (block + kAhead) * kLine + at);
}

#if TERN_INT8_BY_SIGN

// Signed weights and their magnitudes.
struct SignedWeights {
  DotVec weights, magnitudes;
};

HWY_INLINE SignedWeights LoadSigned(const uint8_t* strip, size_t block) {
  const hn::Repartition<int8_t, DotInt> d8;
  const DotVec flips = hn::Set(DotInt(), static_cast<int32_t>(0x80808080u));
  const DotVec weights = hn::Xor(LoadLine<kInt8RowGroup>(strip, block), flips);
  return {weights, hn::BitCast(DotInt(), hn::Abs(hn::BitCast(d8, weights)))};
}

// acc + the 4-way products. Codes and weights are at most 127 in magnitude, so that two products
// fit 16 bits: 2 * 127 * 127 = 32258.
HWY_INLINE DotVec DotStep(DotVec acc, const SignedWeights& w, DotVec codes) {
#if HWY_TARGET == HWY_AVX2
  const DotVec pairs = {
      _mm256_maddubs_epi16(w.magnitudes.raw, _mm256_sign_epi8(codes.raw, w.weights.raw))};
#else
  const DotVec pairs = {
      _mm_maddubs_epi16(w.magnitudes.raw, _mm_sign_epi8(codes.raw, w.weights.raw))};
#endif
  return hn::Add(acc, PairDot(pairs, hn::Set(DotInt(), 0x00010001)));
}

// One block of 4 columns.
template <size_t kRows, size_t kStrips>
HWY_INLINE void DotInt8Block(const uint8_t* const (&strips)[kStrips], size_t block, bool first,
                             const int8_t* codes, size_t stride, DotVec (&dots)[kRows][kStrips]) {
  if (first) PrefetchLine(strips[0], block);
  if constexpr (kRows <= 2) {  // codes stay in registers, strips pass
    DotVec four[kRows];
#pragma GCC unroll 8
    for (size_t r = 0; r < kRows; ++r) four[r] = BroadcastCodes(codes + r * stride + block * 4);
#pragma GCC unroll 8
    for (size_t s = 0; s < kStrips; ++s) {
      const SignedWeights weights = LoadSigned(strips[s], block);
#pragma GCC unroll 8
      for (size_t r = 0; r < kRows; ++r) dots[r][s] = DotStep(dots[r][s], weights, four[r]);
    }
    return;
  }
  SignedWeights weights[kStrips];
#pragma GCC unroll 8
  for (size_t s = 0; s < kStrips; ++s) weights[s] = LoadSigned(strips[s], block);
#pragma GCC unroll 8
  for (size_t r = 0; r < kRows; ++r) {
    const DotVec four = BroadcastCodes(codes + r * stride + block * 4);
#pragma GCC unroll 8
    for (size_t s = 0; s < kStrips; ++s) dots[r][s] = DotStep(dots[r][s], weights[s], four);
  }
}

#else

// acc + the 4-way products of unsigned bytes and signed bytes, both as even and odd columns in
// int16: products of bytes do not fit 16 bits in pairs.
HWY_INLINE DotVec DotStep(DotVec acc, DotVec even, DotVec odd, DotVec even_codes,
                          DotVec odd_codes) {
  return hn::Add(acc, hn::Add(PairDot(even, even_codes), PairDot(odd, odd_codes)));
}

// One block of 4 columns.
template <size_t kRows, size_t kStrips>
HWY_INLINE void DotInt8Block(const uint8_t* const (&strips)[kStrips], size_t block, bool first,
                             const int8_t* codes, size_t stride, DotVec (&dots)[kRows][kStrips]) {
  const DotInt d;
  const hn::RepartitionToNarrow<DotInt> d16;
  const hn::RebindToUnsigned<decltype(d16)> du16;
  const auto even_of = [&](DotVec line) HWY_ATTR { return hn::And(line, hn::Set(d, 0x00FF00FF)); };
  const auto odd_of = [&](DotVec line) HWY_ATTR {
    return hn::BitCast(d, hn::ShiftRight<8>(hn::BitCast(du16, line)));
  };
  const auto codes_of = [&](size_t r, DotVec& even, DotVec& odd) HWY_ATTR {
    const auto four = hn::BitCast(d16, BroadcastCodes(codes + r * stride + block * 4));
    even = hn::BitCast(d, hn::ShiftRight<8>(hn::ShiftLeft<8>(four)));
    odd = hn::BitCast(d, hn::ShiftRight<8>(four));
  };
  if (first) PrefetchLine(strips[0], block);
  if constexpr (kRows <= 2) {  // codes stay in registers, strips pass
    DotVec even_codes[kRows], odd_codes[kRows];
#pragma GCC unroll 8
    for (size_t r = 0; r < kRows; ++r) codes_of(r, even_codes[r], odd_codes[r]);
#pragma GCC unroll 8
    for (size_t s = 0; s < kStrips; ++s) {
      const DotVec line = LoadLine<kInt8RowGroup>(strips[s], block);
      const DotVec even = even_of(line), odd = odd_of(line);
#pragma GCC unroll 8
      for (size_t r = 0; r < kRows; ++r)
        dots[r][s] = DotStep(dots[r][s], even, odd, even_codes[r], odd_codes[r]);
    }
    return;
  }
  DotVec even[kStrips], odd[kStrips];
#pragma GCC unroll 8
  for (size_t s = 0; s < kStrips; ++s) {
    const DotVec line = LoadLine<kInt8RowGroup>(strips[s], block);
    even[s] = even_of(line);
    odd[s] = odd_of(line);
  }
#pragma GCC unroll 8
  for (size_t r = 0; r < kRows; ++r) {
    DotVec even_codes, odd_codes;
    codes_of(r, even_codes, odd_codes);
#pragma GCC unroll 8
    for (size_t s = 0; s < kStrips; ++s)
      dots[r][s] = DotStep(dots[r][s], even[s], odd[s], even_codes, odd_codes);
  }
}

#endif

#endif

template <size_t kRows, size_t kStrips>
HWY_INLINE void DotInt8Strips(const uint8_t* const (&strips)[kStrips], size_t blocks, bool first,
                              const int8_t* codes, size_t stride, DotVec (&dots)[kRows][kStrips]) {
  SetZero(dots);
  for (size_t b = 0; b < blocks; ++b) DotInt8Block(strips, b, first, codes, stride, dots);
}

// dots -> y: lanes of one strip, of which the first `count` are outputs. `scales` has all lanes.
HWY_INLINE void StoreInt8(DotVec dots, int32_t offset, float row_scale, const float* scales,
                          float* y, size_t count) {
  const hn::RebindToFloat<DotInt> df;
  StoreStrip(dots, offset, hn::Mul(hn::Set(df, row_scale), hn::Load(df, scales)), y, count);
}

#else  // portable

inline constexpr size_t kInt8MaxTileRows = 1;
constexpr size_t Int8TileStrips(size_t /*rows*/) { return 1; }

template <size_t kRows, size_t kStrips>
HWY_INLINE void DotInt8Strips(const uint8_t* const (&strips)[kStrips], size_t blocks,
                              bool /*first*/, const int8_t* codes, size_t /*stride*/,
                              DotVec (&dots)[kRows][kStrips]) {
  static_assert(kRows == 1 && kStrips == 1);
  for (size_t r = 0; r < kStripRows; ++r) {
    int32_t dot = 0;
    for (size_t b = 0; b < blocks; ++b) {
      const uint8_t* weights = strips[0] + b * (4 * kInt8RowGroup) + 4 * r;
      for (size_t j = 0; j < 4; ++j) dot += weights[j] * codes[b * 4 + j];
    }
    dots[0][0].lanes[r] = dot;
  }
}

HWY_INLINE void StoreInt8(const DotVec& dots, int32_t offset, float row_scale, const float* scales,
                          float* y, size_t count) {
  for (size_t r = 0; r < HWY_MIN(count, kStripRows); ++r) {
    y[r] = static_cast<float>(dots.lanes[r] - offset) * (row_scale * scales[r]);
  }
}

#endif

}  // namespace HWY_NAMESPACE
}  // namespace tern
TERN_AFTER_INT_DOT();

#endif
