#include "kernels/vocab_projection.h"

#include <gtest/gtest.h>

#include "kernels/parallel.h"
#include "kernels/random_data.h"
#include "kernels/twin_checks.h"
#include "tests/kernels/every_target.h"
#include "tests/support/comparator.h"

namespace tern::test {
namespace {

TEST(VocabProjection, EqualsTheTwinForAllRemainders) {
  OnEveryTarget([] {
    for (const size_t n : {1u, 2u, 3u, 4u, 5u, 7u, 9u}) {
      for (const size_t vocab : {1u, 3u, 8u, 21u}) {
        for (const size_t d : {1u, 7u, 16u, 33u, 200u}) {
          EXPECT_EQ(CheckVocabProjection(n, vocab, d), "") << n << " x " << d << " x " << vocab;
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
