#include "kernels/vocab_projection.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "kernels/reference.h"
#include "tests/kernels/every_target.h"
#include "tests/support/comparator.h"
#include "tests/support/random_data.h"

namespace tern::test {
namespace {

// sum of |hidden| |embedding|: the scale of a logit's rounding errors.
AlignedBuffer<double> Magnitudes(MatView<const float> hidden, MatView<const BFloat16> embedding) {
  AlignedBuffer<float> h(hidden.rows * hidden.cols);
  AlignedBuffer<BFloat16> e(embedding.rows * embedding.cols);
  for (size_t i = 0; i < h.size(); ++i) h[i] = std::fabs(hidden.data[i]);
  for (size_t i = 0; i < e.size(); ++i) e[i].bits = embedding.data[i].bits & 0x7FFF;
  AlignedBuffer<double> sums(hidden.rows * embedding.rows);
  reference::VocabProjection(h.View(hidden.rows, hidden.cols),
                             e.View(embedding.rows, embedding.cols),
                             sums.View(hidden.rows, embedding.rows));
  return sums;
}

TEST(VocabProjection, EqualsTheTwinForAllRemainders) {
  OnEveryTarget([] {
    for (const size_t n : {1u, 2u, 3u, 4u, 5u, 7u, 9u}) {
      for (const size_t vocab : {1u, 3u, 8u, 21u}) {
        for (const size_t d : {1u, 7u, 16u, 33u, 200u}) {
          SCOPED_TRACE(::testing::Message() << n << " x " << d << " x " << vocab);
          RandomData random(static_cast<uint32_t>(n * 1000 + vocab * 10 + d));
          const AlignedBuffer<float> hidden = random.Floats(n * d);
          const AlignedBuffer<BFloat16> embedding = random.BFloat16s(vocab * d);
          AlignedBuffer<double> expected(n * vocab);
          AlignedBuffer<float> got(n * vocab);
          reference::VocabProjection(hidden.View(n, d), embedding.View(vocab, d),
                                     expected.View(n, vocab));
          VocabProjection(hidden.View(n, d), embedding.View(vocab, d), got.View(n, vocab));
          const AlignedBuffer<double> scale =
              Magnitudes(hidden.View(n, d), embedding.View(vocab, d));
          // Per term: one rounding of the product where it is not fused, at most d / 4 + 1 of the
          // chain (4 lanes at least) and 4 of the lane reduction, each 2^-24.
          const Bound bound = {.relative = (static_cast<double>(d) / 4 + 6) * 0x1p-24,
                               .scale = scale.View(n, vocab)};
          EXPECT_TRUE(AllNear(expected.View(n, vocab), got.View(n, vocab), bound));
        }
      }
    }
  });
}

TEST(VocabProjection, SameBitsForAnyBatchAndThreads) {
  OnEveryTarget([] {
    for (const size_t d : {64u, 77u}) {
      constexpr size_t kRows = 11, kVocab = 1201;  // 845k products or more: three threads
      RandomData random(17);
      const AlignedBuffer<float> hidden = random.Floats(kRows * d);
      const AlignedBuffer<BFloat16> embedding = random.BFloat16s(kVocab * d);
      AlignedBuffer<float> alone(kRows * kVocab), together(kRows * kVocab);
      {
        const WithThreads threads(1);
        for (size_t r = 0; r < kRows; ++r) {
          VocabProjection(hidden.View(kRows, d).Rows(r, 1), embedding.View(kVocab, d),
                          alone.View(kRows, kVocab).Rows(r, 1));
        }
      }
      for (const int count : {1, 2, 3}) {
        const WithThreads threads(count);
        for (size_t n = 1; n <= kRows; ++n) {
          VocabProjection(hidden.View(kRows, d).Rows(0, n), embedding.View(kVocab, d),
                          together.View(kRows, kVocab).Rows(0, n));
          EXPECT_TRUE(SameBits(alone.View(kRows, kVocab).Rows(0, n),
                               together.View(kRows, kVocab).Rows(0, n)))
              << n << " rows, " << count << " threads";
        }
      }
    }
  });
}

}  // namespace
}  // namespace tern::test
