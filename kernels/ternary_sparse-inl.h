// The integer inner loops of the sparse products, one per instruction set.
//
// Both work on batches of lines and step through them side by side, a block of each at a time: the
// CPU's own prefetcher, which takes one line of memory after another for a stream, would go on
// reading behind the end of every listed line. So the lines of the next batch are asked for here.
//
// RowBatchDots: sums over lines of (weight + 1) * code. AddColumnBatch: sums of (weight + 1) * code
// over columns, an int32 an output, in the order that StoreBlock reads. Callers subtract the sum of
// codes.
#if defined(TERN_KERNELS_TERNARY_SPARSE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TERN_KERNELS_TERNARY_SPARSE_INL_H_
#undef TERN_KERNELS_TERNARY_SPARSE_INL_H_
#else
#define TERN_KERNELS_TERNARY_SPARSE_INL_H_
#endif

#include <cstdint>
#include <cstring>

#include "kernels/ternary_lines.h"
#include "kernels/ternary_matmul-inl.h"

// Products in one step, into int32; else pairs of them in int16.
#undef TERN_DOT_STEP
#if HWY_TARGET == HWY_AVX3_DL || TERN_NEON_DOT
#define TERN_DOT_STEP 1
#else
#define TERN_DOT_STEP 0
#endif

TERN_BEFORE_INT_DOT();
namespace tern {
namespace HWY_NAMESPACE {

inline constexpr size_t kLineBatch = 16;

// Beyond the last listed line, any line again.
struct LineBatch {
  const uint8_t* lines[kLineBatch];
};

// Asks for block `block` of all lines. Into the second level of the cache: faster (measured) than
// into the first one, whose few requests under way are soon used up.
HWY_INLINE void Prefetch(const LineBatch& batch, size_t block) {
  for (const uint8_t* line : batch.lines) __builtin_prefetch(line + block * kLineBlockBytes, 0, 2);
}

#if TERN_INT_DOT_VECTORS

inline constexpr size_t kVectorBytes = 4 * kStripRows;
inline constexpr size_t kVectorsPerBlock = kLineBlockBytes / kVectorBytes;

// The weights of field kField. With VNNI they stay where they are in the byte and weigh 4^field:
// sums are shifted down at the end (SumShift), which saves a shift per vector. NEON's bytes are
// signed, and 16-bit sums would overflow.
template <int kField>
HWY_INLINE DotVec LineField(DotVec block) {
#if HWY_TARGET == HWY_AVX3_DL
  return hn::And(block, hn::Set(DotInt(), static_cast<int32_t>(0x03030303u << (2 * kField))));
#else
  return Field<kField>(block);
#endif
}
inline constexpr int SumShift(int field) { return HWY_TARGET == HWY_AVX3_DL ? 2 * field : 0; }

HWY_INLINE DotVec LoadBytes(const void* p) {
  return hn::BitCast(DotInt(),
                     hn::LoadU(hn::Repartition<uint8_t, DotInt>(), static_cast<const uint8_t*>(p)));
}

// acc + the products of four neighbouring bytes (or two of two, in 16 bits).
HWY_INLINE DotVec AddProducts(DotVec acc, DotVec weights, DotVec codes) {
#if TERN_DOT_STEP
  return DotStep(acc, weights, codes);
#else
  return AddPairs(acc, PairProducts(weights, codes));
#endif
}

HWY_INLINE DotVec InInt32(DotVec sums) {
#if TERN_DOT_STEP
  return sums;
#else
  return Widen(sums);
#endif
}

// One block of codes, in the order of a block's weights: [field][vector].
struct BlockCodes {
  explicit BlockCodes(const int8_t* codes) {
#pragma GCC unroll 16
    for (size_t i = 0; i < 4 * kVectorsPerBlock; ++i)
      x[i / kVectorsPerBlock][i % kVectorsPerBlock] = LoadBytes(codes + i * kVectorBytes);
  }
  DotVec x[4][kVectorsPerBlock];
};

// sum + the products of a block, in int32. Bounds: 16-bit sums take 4 * 4 pairs of 508; a lane's
// sum is at most 2 * 127 * K for any K.
HWY_INLINE DotVec AddBlock(DotVec sum, const uint8_t* block, const BlockCodes& codes) {
  DotVec products = TERN_DOT_STEP ? sum : hn::Zero(DotInt());
#pragma GCC unroll 8
  for (size_t v = 0; v < kVectorsPerBlock; ++v) {
    const DotVec weights = LoadBytes(block + v * kVectorBytes);
    products = AddProducts(products, Field<0>(weights), codes.x[0][v]);
    products = AddProducts(products, Field<1>(weights), codes.x[1][v]);
    products = AddProducts(products, Field<2>(weights), codes.x[2][v]);
    products = AddProducts(products, Field<3>(weights), codes.x[3][v]);
  }
  return TERN_DOT_STEP ? products : hn::Add(sum, InInt32(products));
}

// dots of a batch; block b of the codes is at codes(b).
template <class CodesFn>
HWY_INLINE void RowBatchDots(const LineBatch& batch, const LineBatch& next, size_t blocks,
                             const CodesFn& codes, int32_t (&dots)[kLineBatch]) {
  const DotInt d;
  DotVec sums[kLineBatch];
  for (DotVec& sum : sums) sum = hn::Zero(d);
  for (size_t b = 0; b < blocks; ++b) {
    Prefetch(next, b);
    const BlockCodes x(codes(b));
    for (size_t i = 0; i < kLineBatch; ++i)
      sums[i] = AddBlock(sums[i], batch.lines[i] + b * kLineBlockBytes, x);
  }
  for (size_t i = 0; i < kLineBatch; ++i) dots[i] = hn::GetLane(hn::SumOfLanes(d, sums[i]));
}

// Four columns: a vector of kVectorBytes bytes of each becomes four vectors, in
// which a 32-bit lane holds the four columns' bytes at one place. `half` 0 gives the first two of
// them.
template <bool kHalf>
HWY_INLINE void Interleave(const uint8_t* const* columns, size_t at, DotVec (&lanes)[2]) {
  const hn::Repartition<uint8_t, DotInt> d8;
  const hn::Repartition<uint16_t, DotInt> d16;
  const auto a = hn::LoadU(d8, columns[0] + at), b = hn::LoadU(d8, columns[1] + at);
  const auto c = hn::LoadU(d8, columns[2] + at), d = hn::LoadU(d8, columns[3] + at);
  const auto ab =
      hn::BitCast(d16, kHalf ? hn::InterleaveUpper(d8, a, b) : hn::InterleaveLower(d8, a, b));
  const auto cd =
      hn::BitCast(d16, kHalf ? hn::InterleaveUpper(d8, c, d) : hn::InterleaveLower(d8, c, d));
  lanes[0] = hn::BitCast(DotInt(), hn::InterleaveLower(d16, ab, cd));
  lanes[1] = hn::BitCast(DotInt(), hn::InterleaveUpper(d16, ab, cd));
}

// Sums of vector `vector` of a line: 8 of them, [half][lanes][field], are kVectorBytes * 4 outputs.
// Bound: with VNNI 64 * 2 * 127 a column, and 16,256 * 132,104 < 2^31; else a quarter and less. A
// batch adds at most 4 pairs of 508 to a 16-bit sum.
template <bool kHalf>
HWY_INLINE void AddHalf(const LineBatch& batch, const int8_t* codes, size_t vector, int32_t* sums) {
  const DotInt d;
  int32_t* const at = sums + (vector * 2 + kHalf) * 8 * kStripRows;
  DotVec acc[2][4];
#pragma GCC unroll 8
  for (size_t i = 0; i < 8; ++i) {
    acc[i / 4][i % 4] = TERN_DOT_STEP ? hn::Load(d, at + i * kStripRows) : hn::Zero(d);
  }
#pragma GCC unroll 1
  for (size_t q = 0; q < kLineBatch / 4; ++q) {
    const DotVec four = BroadcastCodes(codes + 4 * q);
    DotVec lanes[2];
    Interleave<kHalf>(batch.lines + 4 * q, vector * kVectorBytes, lanes);
#pragma GCC unroll 8
    for (size_t i = 0; i < 2; ++i) {
      acc[i][0] = AddProducts(acc[i][0], LineField<0>(lanes[i]), four);
      acc[i][1] = AddProducts(acc[i][1], LineField<1>(lanes[i]), four);
      acc[i][2] = AddProducts(acc[i][2], LineField<2>(lanes[i]), four);
      acc[i][3] = AddProducts(acc[i][3], LineField<3>(lanes[i]), four);
    }
  }
#pragma GCC unroll 8
  for (size_t i = 0; i < 8; ++i) {
    int32_t* const to = at + i * kStripRows;
    const DotVec sum = acc[i / 4][i % 4];
    hn::Store(TERN_DOT_STEP ? sum : hn::Add(hn::Load(d, to), InInt32(sum)), d, to);
  }
}

// Adds columns to sums [blocks * kLineBlock]; codes: one a column, 0 beyond the last listed one.
HWY_INLINE void AddColumnBatch(const LineBatch& batch, const LineBatch& next, size_t blocks,
                               const int8_t (&codes)[kLineBatch], int32_t* sums) {
  for (size_t b = 0; b < blocks; ++b) {
    Prefetch(next, b);
    for (size_t v = b * kVectorsPerBlock; v < (b + 1) * kVectorsPerBlock; ++v) {
      AddHalf<false>(batch, codes, v, sums);
      AddHalf<true>(batch, codes, v, sums);
    }
  }
}

// y of one block from the sums of all parts: [parts] of them, `stride` apart.
HWY_INLINE void StoreBlock(const int32_t* sums, size_t parts, size_t stride, size_t block,
                           int32_t code_sum, float scale, float* y, size_t length) {
  const DotInt d;
  HWY_ALIGN float values[kStripRows];
  for (size_t v = 0; v < kVectorsPerBlock; ++v) {
    for (size_t i = 0; i < 16; ++i) {  // [half][lanes][field]
      const size_t field = i % 4;
      const int32_t* from = sums + ((block * kVectorsPerBlock + v) * 16 + i) * kStripRows;
      DotVec sum = hn::Load(d, from);
      for (size_t p = 1; p < parts; ++p) sum = hn::Add(sum, hn::Load(d, from + p * stride));
      sum = hn::ShiftRightSame(sum, SumShift(static_cast<int>(field)));
      StoreStrip(sum, code_sum, hn::Set(hn::RebindToFloat<DotInt>(), scale), values, kStripRows);
      // Interleaving works within 16 bytes: four lanes are four neighbouring outputs.
      for (size_t lane = 0; lane < kStripRows; lane += 4) {
        const size_t byte = v * kVectorBytes + lane * 4 + i / 4 * 4;
        const size_t output = block * kLineBlock + field * kLineBlockBytes + byte;
        if (output >= length) continue;
        std::memcpy(y + output, values + lane, sizeof(float) * HWY_MIN(4, length - output));
      }
    }
  }
}

#else  // portable

// Weight i of a block, plus 1.
HWY_INLINE int32_t CodeAt(const uint8_t* block, size_t i) {
  return (block[i % kLineBlockBytes] >> (2 * (i / kLineBlockBytes))) & 3;
}

template <class CodesFn>
HWY_INLINE void RowBatchDots(const LineBatch& batch, const LineBatch&, size_t blocks,
                             const CodesFn& codes, int32_t (&dots)[kLineBatch]) {
  std::memset(dots, 0, sizeof(dots));
  for (size_t b = 0; b < blocks; ++b) {
    for (size_t i = 0; i < kLineBatch; ++i) {
      const uint8_t* block = batch.lines[i] + b * kLineBlockBytes;
      for (size_t k = 0; k < kLineBlock; ++k) dots[i] += CodeAt(block, k) * codes(b)[k];
    }
  }
}

// At most 2 * 127 a column.
HWY_INLINE void AddColumnBatch(const LineBatch& batch, const LineBatch&, size_t blocks,
                               const int8_t (&codes)[kLineBatch], int32_t* sums) {
  for (size_t c = 0; c < kLineBatch; ++c) {
    for (size_t i = 0; i < blocks * kLineBlock; ++i) {
      const uint8_t* block = batch.lines[c] + i / kLineBlock * kLineBlockBytes;
      sums[i] += CodeAt(block, i % kLineBlock) * codes[c];
    }
  }
}

HWY_INLINE void StoreBlock(const int32_t* sums, size_t parts, size_t stride, size_t block,
                           int32_t code_sum, float scale, float* y, size_t length) {
  for (size_t i = block * kLineBlock; i < HWY_MIN(length, (block + 1) * kLineBlock); ++i) {
    int32_t sum = 0;
    for (size_t p = 0; p < parts; ++p) sum += sums[p * stride + i];
    y[i] = static_cast<float>(sum - code_sum) * scale;
  }
}

#endif

}  // namespace HWY_NAMESPACE
}  // namespace tern
TERN_AFTER_INT_DOT();

#endif
