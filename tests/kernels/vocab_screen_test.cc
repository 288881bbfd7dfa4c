// Bounds of logits from an int8 screen hold, and the largest logit found by them is
// VocabProjection's, on every target.
#include "kernels/vocab_screen.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "kernels/random_data.h"
#include "kernels/top_k.h"
#include "kernels/vocab_projection.h"
#include "tests/kernels/every_target.h"

namespace tern::test {
namespace {

// Bounds hold, picked logits are VocabProjection's, and so is the largest.
void ExpectSame(MatView<const float> hidden, MatView<const BFloat16> embedding) {
  const VocabScreen screen = MakeVocabScreen(embedding);
  const size_t vocab = embedding.rows;
  ScreenedLogits screened(hidden.rows, vocab, embedding.cols);
  AlignedBuffer<float> buffer(hidden.rows * vocab), lows(vocab), highs(vocab);
  const MatView<float> logits = buffer.View(hidden.rows, vocab);
  VocabProjection(hidden, embedding, logits);
  screened.Screen(hidden, embedding, screen);
  for (size_t i = 0; i < hidden.rows; ++i) {
    EXPECT_EQ(screened.ArgMax(i), ArgMax(logits.RowSpan(i))) << i;
    screened.Bounds(i, lows.span(), highs.span());
    for (size_t v = 0; v < vocab; ++v) {
      ASSERT_FALSE(logits.Row(i)[v] < lows[v] || logits.Row(i)[v] > highs[v])
          << i << ", " << v << ": " << lows[v] << " " << logits.Row(i)[v] << " " << highs[v];
    }
    std::vector<int32_t> picked = {static_cast<int32_t>(vocab - 1), 0};
    std::vector<float> exact(2);
    screened.Exact(i, picked, exact);
    EXPECT_EQ(exact[0], logits.Row(i)[vocab - 1]);
    EXPECT_EQ(exact[1], logits.Row(i)[0]);
  }
}

TEST(ScreenedLogits, IsThatOfAllLogits) {
  OnEveryTarget([] {
    for (const size_t vocab : {1u, 15u, 64u, 511u, 513u, 1200u}) {
      for (const size_t width : {1u, 16u, 77u, 256u}) {
        for (const size_t n : {1u, 2u, 5u, 9u}) {
          SCOPED_TRACE(::testing::Message() << vocab << " x " << width << ", " << n << " rows");
          RandomData random(static_cast<uint32_t>(vocab * 100 + width + n));
          const AlignedBuffer<BFloat16> embedding = random.BFloat16s(vocab * width);
          const AlignedBuffer<float> hidden = random.Floats(n * width);
          ExpectSame(hidden.View(n, width), embedding.View(vocab, width));
        }
      }
    }
  });
}

// Rows that differ from the best one by less than int8 can tell, in both directions, and equal
// ones: the screen must leave all of them to bf16, where the lowest of equal ones wins.
TEST(ScreenedLogits, TellsRowsApartThatTheScreenCannot) {
  OnEveryTarget([] {
    constexpr size_t kVocab = 1500, kWidth = 128;
    for (uint32_t seed = 0; seed < 20; ++seed) {
      RandomData random(seed);
      const AlignedBuffer<float> hidden = random.Floats(kWidth);
      AlignedBuffer<BFloat16> embedding = random.BFloat16s(kVocab * kWidth);
      // Along the hidden row, so that these have the largest logits.
      for (const size_t row : {size_t{1400}, size_t{700}, size_t{701}, size_t{30}}) {
        for (size_t j = 0; j < kWidth; ++j)
          embedding[row * kWidth + j] = BFloat16::FromFloat(hidden[j]);
      }
      const size_t changed = seed % kWidth;
      BFloat16& little = embedding[1400 * kWidth + changed];
      little = BFloat16::FromFloat(little.ToFloat() * (seed % 2 == 0 ? 1.01f : 0.99f));
      ExpectSame(hidden.View(1, kWidth), embedding.View(kVocab, kWidth));
    }
  });
}

// Values that make the bounds as bad as they get: rows of one outlier, whose other elements round
// to 0; zero rows; huge and tiny ones; hidden rows of one element, of zeros, of large and small
// ones.
TEST(ScreenedLogits, HoldsForExtremeRows) {
  OnEveryTarget([] {
    constexpr size_t kVocab = 600, kWidth = 64;
    RandomData random(9);
    AlignedBuffer<BFloat16> embedding = random.BFloat16s(kVocab * kWidth);
    for (size_t row = 0; row < kVocab; ++row) {
      BFloat16* w = embedding.data() + row * kWidth;
      const float factor = row % 7 == 0   ? 1e30f
                           : row % 7 == 1 ? 1e-30f
                           : row % 7 == 2 ? 0.0f
                                          : 1.0f;
      for (size_t j = 0; j < kWidth; ++j) w[j] = BFloat16::FromFloat(w[j].ToFloat() * factor);
      if (row % 7 >= 5) w[row % kWidth] = BFloat16::FromFloat(row % 2 == 0 ? 1000.0f : -1000.0f);
    }
    AlignedBuffer<float> hidden = random.Floats(6 * kWidth);
    std::fill_n(hidden.data(), 2 * kWidth, 0.0f);
    hidden[kWidth + 5] = 3.0f;
    for (size_t j = 0; j < kWidth; ++j) {
      hidden[2 * kWidth + j] *= 1e6f;
      hidden[3 * kWidth + j] *= 1e-20f;
      hidden[4 * kWidth + j] *= j == 3 ? 1000.0f : 1.0f;
    }
    ExpectSame(hidden.View(6, kWidth), embedding.View(kVocab, kWidth));
    ExpectSame(hidden.View(6, kWidth), embedding.View(1, kWidth));
  });
}

TEST(ScreenedLogits, MultipliesFewRows) {
  constexpr size_t kVocab = 8192, kWidth = 256;
  RandomData random(4);
  const AlignedBuffer<BFloat16> embedding = random.BFloat16s(kVocab * kWidth);
  const AlignedBuffer<float> hidden = random.Floats(kWidth);
  const VocabScreen screen = MakeVocabScreen(embedding.View(kVocab, kWidth));
  ScreenedLogits screened(1, kVocab, kWidth);
  screened.Screen(hidden.View(1, kWidth), embedding.View(kVocab, kWidth), screen);
  screened.ArgMax(0);
  EXPECT_GE(screened.last_multiplied, 1u);
  EXPECT_LE(screened.last_multiplied, kVocab / 50);
}

// The same bits as the whole projection's.
TEST(VocabProjectionOf, IsThePickedPartOfVocabProjection) {
  OnEveryTarget([] {
    for (const size_t width : {1u, 33u, 256u, 1100u}) {
      constexpr size_t kVocab = 90;
      RandomData random(static_cast<uint32_t>(width));
      const AlignedBuffer<BFloat16> embedding = random.BFloat16s(kVocab * width);
      const AlignedBuffer<float> hidden = random.Floats(width);
      AlignedBuffer<float> all(kVocab);
      VocabProjection(hidden.View(1, width), embedding.View(kVocab, width), all.View(1, kVocab));
      for (const size_t count : {1u, 7u, 16u, 40u}) {
        std::vector<int32_t> picked;
        for (size_t i = 0; i < count; ++i) picked.push_back(static_cast<int32_t>(i * 37 % kVocab));
        std::vector<float> logits(count);
        VocabProjectionOf(hidden.span(), embedding.View(kVocab, width), picked, logits);
        for (size_t i = 0; i < count; ++i)
          EXPECT_EQ(logits[i], all[static_cast<size_t>(picked[i])]) << width << " " << i;
      }
    }
  });
}

}  // namespace
}  // namespace tern::test
