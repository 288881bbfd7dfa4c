#include "kernels/vocab_projection.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/vocab_projection.cc"
#include <hwy/foreach_target.h>
// After foreach_target.
#include "kernels/bfloat16-inl.h"
#include "kernels/parallel.h"

HWY_BEFORE_NAMESPACE();
namespace tern {
namespace HWY_NAMESPACE {

// kRows hidden rows x kVocab embedding rows, each pair with one accumulator over ascending j and
// then one lane reduction: so a logit has the same bits in every shape of tile.
template <size_t kRows, size_t kVocab>
HWY_NOINLINE void Tile(const MatView<const float>& hidden, const MatView<const BFloat16>& embedding,
                       size_t row, size_t vocab, const MatView<float>& logits) {
  const FloatTag d;
  const size_t lanes = hn::Lanes(d), k = hidden.cols;
  const float* h = hidden.data + row * hidden.stride;
  const BFloat16* e = embedding.data + vocab * embedding.stride;
  FloatVec sums[kRows][kVocab];
#pragma GCC unroll 8
  for (size_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (size_t v = 0; v < kVocab; ++v) sums[r][v] = hn::Zero(d);
  }
  size_t j = 0;
  for (; j + lanes <= k; j += lanes) {
    FloatVec x[kRows];
#pragma GCC unroll 8
    for (size_t r = 0; r < kRows; ++r) x[r] = hn::LoadU(d, h + r * hidden.stride + j);
#pragma GCC unroll 8
    for (size_t v = 0; v < kVocab; ++v) {
      const FloatVec weight = LoadBFloat16(d, e + v * embedding.stride + j);
#pragma GCC unroll 8
      for (size_t r = 0; r < kRows; ++r) sums[r][v] = hn::MulAdd(x[r], weight, sums[r][v]);
    }
  }
  if (j < k) {
    for (size_t v = 0; v < kVocab; ++v) {
      const FloatVec weight = LoadBFloat16Part(d, e + v * embedding.stride + j, k - j);
      for (size_t r = 0; r < kRows; ++r) {
        sums[r][v] = hn::MulAdd(LoadPart(d, h + r * hidden.stride + j, k - j), weight, sums[r][v]);
      }
    }
  }
#pragma GCC unroll 8
  for (size_t r = 0; r < kRows; ++r) {
    float* out = logits.data + (row + r) * logits.stride + vocab;
#pragma GCC unroll 8
    for (size_t v = 0; v < kVocab; ++v) out[v] = hn::GetLane(hn::SumOfLanes(d, sums[r][v]));
  }
}

// All rows against kVocab embedding rows: 8 accumulators and more hide the latency of MulAdd, and a
// tile of 4 x 4 fits 32 registers (of 16 registers, 2 x 4).
template <size_t kVocab>
HWY_INLINE void AllRows(const MatView<const float>& hidden,
                        const MatView<const BFloat16>& embedding, size_t vocab,
                        const MatView<float>& logits) {
  constexpr size_t kTileRows = HWY_MAX_BYTES >= 64 ? 4 : 2;
  size_t row = 0;
  if constexpr (kTileRows == 4) {
    for (; row + 4 <= hidden.rows; row += 4) Tile<4, kVocab>(hidden, embedding, row, vocab, logits);
  }
  for (; row + 2 <= hidden.rows; row += 2) Tile<2, kVocab>(hidden, embedding, row, vocab, logits);
  if (row < hidden.rows) Tile<1, kVocab>(hidden, embedding, row, vocab, logits);
}

void ProjectRange(const MatView<const float>& hidden, const MatView<const BFloat16>& embedding,
                  const MatView<float>& logits, size_t begin, size_t end) {
  size_t vocab = begin;
  if (hidden.rows == 1) {
    for (; vocab + 8 <= end; vocab += 8) Tile<1, 8>(hidden, embedding, 0, vocab, logits);
  }
  for (; vocab + 4 <= end; vocab += 4) AllRows<4>(hidden, embedding, vocab, logits);
  for (; vocab < end; ++vocab) AllRows<1>(hidden, embedding, vocab, logits);
}

}  // namespace HWY_NAMESPACE
}  // namespace tern
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tern {
HWY_EXPORT(ProjectRange);

void VocabProjection(MatView<const float> hidden, MatView<const BFloat16> embedding,
                     MatView<float> logits) {
  TERN_CHECK(hidden.cols == embedding.cols && logits.rows == hidden.rows &&
             logits.cols == embedding.rows)
      << "vocabulary projection: hidden [" << hidden.rows << ", " << hidden.cols << "], embedding ["
      << embedding.rows << ", " << embedding.cols << "], logits [" << logits.rows << ", "
      << logits.cols << "]";
  if (hidden.rows == 0) return;
  const size_t grain = (ProductGrain(hidden.cols * hidden.rows) + 7) / 8 * 8;
  const auto range = HWY_DYNAMIC_DISPATCH(ProjectRange);
  ParallelFor(embedding.rows, grain,
              [&](size_t begin, size_t end) { range(hidden, embedding, logits, begin, end); });
}

}  // namespace tern
#endif  // HWY_ONCE
