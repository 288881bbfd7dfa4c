// The integer inner loops of the ternary product, one per instruction set.
//
// A strip is what one vector holds of a packed line: kStripRows consecutive outputs x 4 columns. A
// group of 16 outputs has 16 / kStripRows strips, at multiples of the vector size in each line.
// DotStrips computes, for kRows activation rows and kStrips strips, sum_k (weight + 1) * code; the
// caller subtracts the row's sum of codes.
#if defined(TERN_KERNELS_TERNARY_MATMUL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TERN_KERNELS_TERNARY_MATMUL_INL_H_
#undef TERN_KERNELS_TERNARY_MATMUL_INL_H_
#else
#define TERN_KERNELS_TERNARY_MATMUL_INL_H_
#endif

#include <cstdint>
#include <cstring>

#include "kernels/simd-inl.h"
#include "kernels/ternary_pack.h"

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

inline constexpr size_t kLineBytes = 64;  // one group of 16 rows x one block of 16 columns

#if HWY_TARGET == HWY_AVX3_DL || HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX2 || \
    HWY_TARGET == HWY_SSE4

using DotInt = hn::ScalableTag<int32_t>;
using DotVec = hn::Vec<DotInt>;
inline constexpr size_t kStripRows = HWY_LANES(int32_t);

// Four consecutive codes of one activation row, in every lane.
HWY_INLINE DotVec BroadcastCodes(const int8_t* codes) {
  int32_t four;
  std::memcpy(&four, codes, sizeof(four));
  return hn::Set(DotInt(), four);
}

HWY_INLINE DotVec LoadLine(const uint8_t* strip, size_t block) {
  return hn::Load(DotInt(), reinterpret_cast<const int32_t*>(strip + block * kLineBytes));
}

// Columns 4f .. 4f + 3 of a line: codes 0, 1, 2 as bytes.
template <int kField>
HWY_INLINE DotVec Field(DotVec line) {
  const DotVec mask = hn::Set(DotInt(), 0x03030303);
  if constexpr (kField == 0) {
    return hn::And(line, mask);
  } else {
    return hn::And(hn::ShiftRight<2 * kField>(line), mask);
  }
}

#endif

#if HWY_TARGET == HWY_AVX3_DL

// 8 rows x 2 strips are 16 accumulators, 16 independent dot steps per field: more than latency x
// rate.
inline constexpr size_t kMaxTileRows = 8;
inline constexpr size_t kTileStrips = 2;
// Tiles of so many rows take twice the strips: their products are few beside what starts and ends a
// tile. One row does not: it keeps four sums per strip.
inline constexpr size_t kMinWideRows = 2;
inline constexpr size_t kMaxWideRows = 4;

// acc + the 4-way products of unsigned bytes and signed bytes, in int32.
HWY_INLINE DotVec DotStep(DotVec acc, DotVec weights, DotVec codes) {
  return DotVec{_mm512_dpbusd_epi32(acc.raw, weights.raw, codes.raw)};
}

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
      const DotVec line = LoadLine(strips[s], b);
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
  if constexpr (kRows == 1) {
    DotStripsInPlace(strips, blocks, codes, dots);
    return;
  }
  const DotInt di;
#pragma GCC unroll 8
  for (size_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (size_t s = 0; s < kStrips; ++s) dots[r][s] = hn::Zero(di);
  }
  for (size_t b = 0; b < blocks; ++b) {
    DotVec lines[kStrips];
#pragma GCC unroll 8
    for (size_t s = 0; s < kStrips; ++s) {
      lines[s] = LoadLine(strips[s], b);
    }
    DotField<0>(lines, codes + b * 16, stride, dots);
    DotField<1>(lines, codes + b * 16, stride, dots);
    DotField<2>(lines, codes + b * 16, stride, dots);
    DotField<3>(lines, codes + b * 16, stride, dots);
  }
}

#elif HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_SSE4

// 4 x 2 accumulators fit 16 registers beside the operands. With 32 registers, 8 x 2 do not: the
// wide sums live as long as the narrow ones, and the compiler spills (measured: a third slower).
inline constexpr size_t kMaxTileRows = 4;
inline constexpr size_t kTileStrips = 2;
inline constexpr size_t kMinWideRows = 1;
inline constexpr size_t kMaxWideRows = 1;

// Adds of one pair of products before a 16-bit sum must be widened: a pair is at most 2 * 2 * 127 =
// 508 in magnitude, and 64 * 508 = 32,512 < 2^15. A block adds four.
inline constexpr size_t kBlocksPerWiden = 16;
static_assert(kBlocksPerWiden * 4 * 2 * 2 * 127 < 32768);

// Sums of neighbouring products, unsigned x signed bytes, in int16.
HWY_INLINE DotVec PairProducts(DotVec weights, DotVec codes) {
#if HWY_TARGET == HWY_AVX3
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
HWY_INLINE DotVec Widen(DotVec pairs) {
#if HWY_TARGET == HWY_AVX3
  return DotVec{_mm512_madd_epi16(pairs.raw, _mm512_set1_epi16(1))};
#elif HWY_TARGET == HWY_AVX2
  return DotVec{_mm256_madd_epi16(pairs.raw, _mm256_set1_epi16(1))};
#else
  return DotVec{_mm_madd_epi16(pairs.raw, _mm_set1_epi16(1))};
#endif
}

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
  const DotInt di;
  for (size_t r = 0; r < kRows; ++r) {
    for (size_t s = 0; s < kStrips; ++s) dots[r][s] = hn::Zero(di);
  }
  for (size_t first = 0; first < blocks; first += kBlocksPerWiden) {
    const size_t last = HWY_MIN(blocks, first + kBlocksPerWiden);
    DotVec pairs[kRows][kStrips];
#pragma GCC unroll 8
    for (size_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
      for (size_t s = 0; s < kStrips; ++s) pairs[r][s] = hn::Zero(di);
    }
    for (size_t b = first; b < last; ++b) {
      DotVec lines[kStrips];
#pragma GCC unroll 8
      for (size_t s = 0; s < kStrips; ++s) {
        lines[s] = LoadLine(strips[s], b);
      }
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

// dots -> y: lanes of one strip, of which the first `count` are outputs.
#if HWY_TARGET == HWY_AVX3_DL || HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX2 || \
    HWY_TARGET == HWY_SSE4

HWY_INLINE void StoreStrip(DotVec dots, int32_t row_sum, float scale, float* y, size_t count) {
  const DotInt di;
  const hn::RebindToFloat<DotInt> df;
  const auto exact = hn::ConvertTo(df, hn::Sub(dots, hn::Set(di, row_sum)));
  const auto value = hn::Mul(exact, hn::Set(df, scale));
  if (count >= kStripRows) {
    hn::StoreU(value, df, y);
    return;
  }
  HWY_ALIGN float lanes[kStripRows];
  hn::Store(value, df, lanes);
  std::memcpy(y, lanes, count * sizeof(float));
}

#else  // portable: one strip is the whole group

inline constexpr size_t kStripRows = kTernaryRowGroup;
inline constexpr size_t kMaxTileRows = 1;
inline constexpr size_t kTileStrips = 1;
inline constexpr size_t kMinWideRows = 1;
inline constexpr size_t kMaxWideRows = 0;

struct DotVec {
  int32_t lanes[kStripRows];
};

template <size_t kRows, size_t kStrips>
HWY_INLINE void DotStrips(const uint8_t* const (&strips)[kStrips], size_t blocks,
                          const int8_t* codes, size_t /*stride*/, DotVec (&dots)[kRows][kStrips]) {
  static_assert(kRows == 1 && kStrips == 1);
  for (size_t r = 0; r < kStripRows; ++r) {
    int32_t dot = 0;
    for (size_t b = 0; b < blocks; ++b) {
      for (size_t i = 0; i < 16; ++i) {
        const int32_t code = (strips[0][b * kLineBytes + 4 * r + i % 4] >> (2 * (i / 4))) & 3;
        dot += code * codes[b * 16 + i];
      }
    }
    dots[0][0].lanes[r] = dot;
  }
}

HWY_INLINE void StoreStrip(const DotVec& dots, int32_t row_sum, float scale, float* y,
                           size_t count) {
  for (size_t r = 0; r < HWY_MIN(count, kStripRows); ++r) {
    y[r] = static_cast<float>(dots.lanes[r] - row_sum) * scale;
  }
}

#endif

}  // namespace HWY_NAMESPACE
}  // namespace tern
HWY_AFTER_NAMESPACE();

#endif
