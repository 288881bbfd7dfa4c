// A token drawn from bounds of the logits is the one drawn from all of them, for every filter.
#include "engine/screened_sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "engine/token_counts.h"
#include "kernels/random_data.h"
#include "kernels/vocab_projection.h"
#include "tests/kernels/every_target.h"

namespace tern::test {
namespace {

// Embedding rows whose logits spread like a trained model's: a few far above the rest.
struct Rows {
  Rows(size_t vocab_size, size_t d, size_t rows, float spread, uint32_t seed)
      : random(seed),
        embedding(random.BFloat16s(vocab_size * d)),
        hidden(random.Floats(rows * d)),
        logits(rows * vocab_size),
        width(d),
        vocab(vocab_size),
        n(rows) {
    for (size_t i = 0; i < hidden.size(); ++i)
      hidden[i] *= spread / std::sqrt(static_cast<float>(width));
    for (size_t row = 0; row < vocab; row += 97) {
      for (size_t j = 0; j < width; ++j) {
        BFloat16& w = embedding[row * width + j];
        w = BFloat16::FromFloat(w.ToFloat() * 3.0f);
      }
    }
    VocabProjection(Hidden(), Embedding(), logits.View(n, vocab));
  }
  MatView<const float> Hidden() const { return hidden.View(n, width); }
  MatView<const BFloat16> Embedding() const { return embedding.View(vocab, width); }

  RandomData random;
  AlignedBuffer<BFloat16> embedding;
  AlignedBuffer<float> hidden, logits;
  size_t width, vocab, n;
};

std::vector<SamplingOptions> EveryFilter() {
  std::vector<SamplingOptions> all = {{}};
  for (const float temperature : {0.3f, 1.0f, 2.0f}) {
    all.push_back({.temperature = temperature});
    for (const float top_p : {0.1f, 0.5f, 0.9f, 0.99f})
      all.push_back({.temperature = temperature, .top_p = top_p});
    for (const int32_t top_k : {1, 5, 40})
      all.push_back({.temperature = temperature, .top_k = top_k});
    all.push_back({.temperature = temperature, .top_k = 40, .top_p = 0.8f, .min_p = 0.1f});
    all.push_back({.temperature = temperature, .min_p = 0.05f});
    all.push_back({.temperature = temperature, .top_p = 0.9f, .min_p = 0.02f});
  }
  return all;
}

// How many of the draws the bounds decided.
int Compare(const Rows& rows, const std::vector<SamplingOptions>& all, int draws) {
  const VocabScreen screen = MakeVocabScreen(rows.Embedding());
  ScreenedLogits screened(rows.n, rows.vocab, rows.width);
  screened.Screen(rows.Hidden(), rows.Embedding(), screen);
  SamplerScratch scratch(static_cast<int32_t>(rows.vocab)), other(static_cast<int32_t>(rows.vocab));
  int decided = 0;
  for (SamplingOptions options : all) {
    for (int draw = 0; draw < draws; ++draw) {
      options.seed = static_cast<uint64_t>(draw) * 77;
      const size_t row = static_cast<size_t>(draw) % rows.n;
      const auto token = SampleScreened(screened, row, options, draw + 1, scratch);
      if (!token) continue;
      ++decided;
      EXPECT_EQ(*token, SampleToken(rows.logits.View(rows.n, rows.vocab).RowSpan(row), options,
                                    draw + 1, TokenCounts(), other))
          << "temperature " << options.temperature << " top_k " << options.top_k << " top_p "
          << options.top_p << " min_p " << options.min_p << " draw " << draw;
    }
  }
  return decided;
}

TEST(ScreenedSampler, DrawsWhatAllLogitsDraw) {
  OnEveryTarget([] {
    for (const float spread : {0.5f, 3.0f, 10.0f, 60.0f}) {
      for (const size_t vocab : {5u, 64u, 700u, 3000u}) {
        SCOPED_TRACE(::testing::Message() << "spread " << spread << ", vocabulary " << vocab);
        const Rows rows(vocab, 48, 3, spread, static_cast<uint32_t>(vocab));
        Compare(rows, EveryFilter(), 6);
      }
    }
  });
}

// It would be no use if it gave up often. Logits that spread as a trained model's do.
TEST(ScreenedSampler, DecidesNearlyAlways) {
  const Rows rows(8000, 256, 4, 24.0f, 3);
  for (const SamplingOptions& options : EveryFilter()) {
    constexpr int kDraws = 60;
    EXPECT_GE(Compare(rows, {options}, kDraws), options.top_p < 1.0f ? kDraws * 8 / 10 : kDraws)
        << "temperature " << options.temperature << " top_k " << options.top_k << " top_p "
        << options.top_p << " min_p " << options.min_p;
  }
}

// Equal and nearly equal rows, zero rows, and bounds that overflow.
TEST(ScreenedSampler, DrawsTheSameFromExtremeRows) {
  OnEveryTarget([] {
    for (const float factor : {0.0f, 1e-20f, 1e18f, 3e37f}) {
      Rows rows(300, 32, 2, 4.0f, 8);
      for (size_t j = 0; j < rows.width; ++j) {
        for (const size_t row : {size_t{30}, size_t{31}, size_t{250}})
          rows.embedding[row * rows.width + j] = rows.embedding[j];
        BFloat16& w = rows.embedding[77 * rows.width + j];
        w = BFloat16::FromFloat(w.ToFloat() * factor);
      }
      VocabProjection(rows.Hidden(), rows.Embedding(), rows.logits.View(rows.n, rows.vocab));
      Compare(rows, EveryFilter(), 4);
    }
  });
}

TEST(ScreenedSampler, LeavesPenaltiesAndBiasToAllLogits) {
  EXPECT_TRUE(CanScreen({.temperature = 1.0f, .top_p = 0.9f}));
  EXPECT_FALSE(CanScreen({.repetition_penalty = 1.1f}));
  EXPECT_FALSE(CanScreen({.presence_penalty = 0.1f}));
  EXPECT_FALSE(CanScreen({.logit_bias = {{3, 1.0f}}}));
}

}  // namespace
}  // namespace tern::test
