// The integer inner loops of the ternary product, one per instruction set.
//
// DotStrips computes, for kRows activation rows and kStrips strips, sum_k (weight + 1) * code; the
// caller subtracts the row's sum of codes.
#if defined(TERN_KERNELS_TERNARY_MATMUL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TERN_KERNELS_TERNARY_MATMUL_INL_H_
#undef TERN_KERNELS_TERNARY_MATMUL_INL_H_
#else
#define TERN_KERNELS_TERNARY_MATMUL_INL_H_
#endif

#include <hwy/cache_control.h>

#include <cstdint>

#include "kernels/int_dot-inl.h"
#include "kernels/ternary_pack.h"

TERN_BEFORE_INT_DOT();
namespace tern {
namespace HWY_NAMESPACE {

#if TERN_INT_DOT_VECTORS

// Columns 4f .. 4f + 3 of a line: codes 0, 1, 2 as bytes.
template <int kField>
HWY_INLINE DotVec Field(DotVec line) {
  const DotVec mask = hn::Set(DotInt(), 0x03030303);
#if HWY_ARCH_ARM_A64  // shifts bytes: the last field needs no mask
  if constexpr (kField == 3)
    return DotVec{vreinterpretq_s32_u8(vshrq_n_u8(vreinterpretq_u8_s32(line.raw), 6))};
#endif
  if constexpr (kField == 0) {
    return hn::And(line, mask);
  } else {
    return hn::And(hn::ShiftRight<2 * kField>(line), mask);
  }
}

#endif

// Lines between what is read and what is asked for, 4 KiB: several rows keep the core busy for as
// long as a line takes from memory, and its own prefetcher then falls behind.
inline constexpr size_t kTernaryAhead = 32;

#if HWY_TARGET == HWY_AVX3_DL || TERN_NEON_DOT

// 8 rows x 2 strips are 16 accumulators, 16 independent dot steps per field: more than latency x
// rate.
inline constexpr size_t kMaxTileRows = 8;
inline constexpr size_t kTileStrips = 2;
// With VNNI, tiles of one row need no more strips: they keep four sums of each. NEON's strips are a
// quarter as long: twice as many make half the passes over a group.
inline constexpr size_t kMaxWideRows = TERN_NEON_DOT ? 4 : 0;

#if !TERN_NEON_DOT
// One row: unpacking costs as much as the products, so the fields stay where they are in the byte,
// weigh 4^f, and keep sums of their own that are shifted down at the end. A sum is below
// 64 * 2 * 127 * K / 4 <= 4,064 * 132,104 < 2^31, and a multiple of 4^f.
template <size_t kStrips>
HWY_INLINE void DotStripsInPlace(const uint8_t* const (&strips)[kStrips], size_t blocks,
                                 const int8_t* codes, DotVec (&dots)[1][kStrips]) {
  const DotInt di;
  const DotVec mask0 = hn::Set(di, 0x03030303), mask1 = hn::Set(di, 0x0C0C0C0C);
  const DotVec mask2 = hn::Set(di, 0x30303030);
  const DotVec mask3 = hn::Set(di, static_cast<int32_t>(0xC0C0C0C0u));
  DotVec sum0[kStrips], sum1[kStrips], sum2[kStrips], sum3[kStrips];
#pragma GCC unroll 8
  for (size_t s = 0; s < kStrips; ++s) sum0[s] = sum1[s] = sum2[s] = sum3[s] = hn::Zero(di);
  for (size_t b = 0; b < blocks; ++b, codes += 16) {
#pragma GCC unroll 8
    for (size_t s = 0; s < kStrips; ++s) {
      const DotVec line = LoadLine<kTernaryRowGroup>(strips[s], b);
      sum0[s] = DotStep(sum0[s], hn::And(line, mask0), BroadcastCodes(codes));
      sum1[s] = DotStep(sum1[s], hn::And(line, mask1), BroadcastCodes(codes + 4));
      sum2[s] = DotStep(sum2[s], hn::And(line, mask2), BroadcastCodes(codes + 8));
      sum3[s] = DotStep(sum3[s], hn::And(line, mask3), BroadcastCodes(codes + 12));
    }
  }
#pragma GCC unroll 8
  for (size_t s = 0; s < kStrips; ++s) {
    const DotVec low = hn::Add(sum0[s], hn::ShiftRight<2>(sum1[s]));
    dots[0][s] = hn::Add(low, hn::Add(hn::ShiftRight<4>(sum2[s]), hn::ShiftRight<6>(sum3[s])));
  }
}
#endif

// One field of all strips against the codes of all rows.
template <int kField, size_t kRows, size_t kStrips>
HWY_INLINE void DotField(const DotVec (&lines)[kStrips], const int8_t* codes, size_t stride,
                         DotVec (&dots)[kRows][kStrips]) {
  DotVec weights[kStrips];
#pragma GCC unroll 8
  for (size_t s = 0; s < kStrips; ++s) weights[s] = Field<kField>(lines[s]);
#pragma GCC unroll 8
  for (size_t r = 0; r < kRows; ++r) {
    const DotVec four = BroadcastCodes(codes + r * stride + 4 * kField);
#pragma GCC unroll 8
    for (size_t s = 0; s < kStrips; ++s) dots[r][s] = DotStep(dots[r][s], weights[s], four);
  }
}

template <size_t kRows, size_t kStrips>
HWY_INLINE void DotStrips(const uint8_t* const (&strips)[kStrips], size_t blocks,
                          const int8_t* codes, size_t stride, DotVec (&dots)[kRows][kStrips]) {
#if !TERN_NEON_DOT  // whose bytes are signed: 2 in the last field would be -128
  if constexpr (kRows == 1) {
    DotStripsInPlace(strips, blocks, codes, dots);
    return;
  }
#endif
  SetZero(dots);
  for (size_t b = 0; b < blocks; ++b) {
    DotVec lines[kStrips];
#pragma GCC unroll 8
    for (size_t s = 0; s < kStrips; ++s) {
      lines[s] = LoadLine<kTernaryRowGroup>(strips[s], b);
      hwy::Prefetch(strips[s] + (b + kTernaryAhead) * (4 * kTernaryRowGroup));
    }
    DotField<0>(lines, codes + b * 16, stride, dots);
    DotField<1>(lines, codes + b * 16, stride, dots);
    DotField<2>(lines, codes + b * 16, stride, dots);
    DotField<3>(lines, codes + b * 16, stride, dots);
  }
}

#elif TERN_INT_DOT_VECTORS

// 4 x 2 accumulators fit 16 registers beside the operands. With 32 registers, 8 x 2 do not: the
// wide sums live as long as the narrow ones, and the compiler spills (measured: a third slower).
inline constexpr size_t kMaxTileRows = 4;
inline constexpr size_t kTileStrips = 2;
// Tiles of so few rows take twice the strips: their products are few beside what starts and ends a
// tile.
inline constexpr size_t kMaxWideRows = 1;

// Adds of one pair of products before a 16-bit sum must be widened: a pair is at most 2 * 2 * 127 =
// 508 in magnitude, and 64 * 508 = 32,512 < 2^15. A block adds four.
inline constexpr size_t kBlocksPerWiden = 16;
static_assert(kBlocksPerWiden * 4 * 2 * 2 * 127 < 32768);

// Sums of neighbouring products, unsigned x signed bytes, in int16.
HWY_INLINE DotVec PairProducts(DotVec weights, DotVec codes) {
#if HWY_ARCH_ARM_A64
  const int8x16_t w = vreinterpretq_s8_s32(weights.raw), c = vreinterpretq_s8_s32(codes.raw);
  const int16x8_t low = vmull_s8(vget_low_s8(w), vget_low_s8(c));
  return DotVec{vreinterpretq_s32_s16(vpaddq_s16(low, vmull_high_s8(w, c)))};
#elif HWY_TARGET == HWY_AVX3
  return DotVec{_mm512_maddubs_epi16(weights.raw, codes.raw)};
#elif HWY_TARGET == HWY_AVX2
  return DotVec{_mm256_maddubs_epi16(weights.raw, codes.raw)};
#else
  return DotVec{_mm_maddubs_epi16(weights.raw, codes.raw)};
#endif
}

HWY_INLINE DotVec AddPairs(DotVec a, DotVec b) {
  const hn::RepartitionToNarrow<DotInt> d16;
  return hn::BitCast(DotInt(), hn::Add(hn::BitCast(d16, a), hn::BitCast(d16, b)));
}

// Neighbouring int16 added in int32.
HWY_INLINE DotVec Widen(DotVec pairs) { return PairDot(pairs, hn::Set(DotInt(), 0x00010001)); }

template <int kField, size_t kRows, size_t kStrips>
HWY_INLINE void DotField(const DotVec (&lines)[kStrips], const int8_t* codes, size_t stride,
                         DotVec (&pairs)[kRows][kStrips]) {
  DotVec weights[kStrips];
#pragma GCC unroll 8
  for (size_t s = 0; s < kStrips; ++s) weights[s] = Field<kField>(lines[s]);
#pragma GCC unroll 8
  for (size_t r = 0; r < kRows; ++r) {
    const DotVec four = BroadcastCodes(codes + r * stride + 4 * kField);
#pragma GCC unroll 8
    for (size_t s = 0; s < kStrips; ++s)
      pairs[r][s] = AddPairs(pairs[r][s], PairProducts(weights[s], four));
  }
}

template <size_t kRows, size_t kStrips>
HWY_INLINE void DotStrips(const uint8_t* const (&strips)[kStrips], size_t blocks,
                          const int8_t* codes, size_t stride, DotVec (&dots)[kRows][kStrips]) {
  SetZero(dots);
  for (size_t first = 0; first < blocks; first += kBlocksPerWiden) {
    const size_t last = HWY_MIN(blocks, first + kBlocksPerWiden);
    DotVec pairs[kRows][kStrips];
    SetZero(pairs);
    for (size_t b = first; b < last; ++b) {
      DotVec lines[kStrips];
#pragma GCC unroll 8
      for (size_t s = 0; s < kStrips; ++s) {
        lines[s] = LoadLine<kTernaryRowGroup>(strips[s], b);
      }
#pragma GCC unroll 8
      for (size_t at = 0; at < 4 * kStripRows * kStrips; at += 64)
        hwy::Prefetch(strips[0] + (b + kTernaryAhead) * (4 * kTernaryRowGroup) + at);
      DotField<0>(lines, codes + b * 16, stride, pairs);
      DotField<1>(lines, codes + b * 16, stride, pairs);
      DotField<2>(lines, codes + b * 16, stride, pairs);
      DotField<3>(lines, codes + b * 16, stride, pairs);
    }
#pragma GCC unroll 8
    for (size_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
      for (size_t s = 0; s < kStrips; ++s) dots[r][s] = hn::Add(dots[r][s], Widen(pairs[r][s]));
    }
  }
}

#endif

#if TERN_INT_DOT_VECTORS

// dots -> y: lanes of one strip, of which the first `count` are outputs.
HWY_INLINE void StoreTernary(DotVec dots, int32_t row_sum, float scale, float* y, size_t count) {
  StoreStrip(dots, row_sum, hn::Set(hn::RebindToFloat<DotInt>(), scale), y, count);
}

#else  // portable

inline constexpr size_t kMaxTileRows = 1;
inline constexpr size_t kTileStrips = 1;
inline constexpr size_t kMaxWideRows = 0;

template <size_t kRows, size_t kStrips>
HWY_INLINE void DotStrips(const uint8_t* const (&strips)[kStrips], size_t blocks,
                          const int8_t* codes, size_t /*stride*/, DotVec (&dots)[kRows][kStrips]) {
  static_assert(kRows == 1 && kStrips == 1);
  for (size_t r = 0; r < kStripRows; ++r) {
    int32_t dot = 0;
    for (size_t b = 0; b < blocks; ++b) {
      for (size_t i = 0; i < 16; ++i) {
        const int32_t code =
            (strips[0][b * (4 * kTernaryRowGroup) + 4 * r + i % 4] >> (2 * (i / 4))) & 3;
        dot += code * codes[b * 16 + i];
      }
    }
    dots[0][0].lanes[r] = dot;
  }
}

// dots -> y: lanes of one strip, of which the first `count` are outputs.
HWY_INLINE void StoreTernary(const DotVec& dots, int32_t row_sum, float scale, float* y,
                             size_t count) {
  for (size_t r = 0; r < HWY_MIN(count, kStripRows); ++r) {
    y[r] = static_cast<float>(dots.lanes[r] - row_sum) * scale;
  }
}

#endif

}  // namespace HWY_NAMESPACE
}  // namespace tern
TERN_AFTER_INT_DOT();

#endif
