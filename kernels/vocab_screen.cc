#include "kernels/vocab_screen.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/vocab_screen.cc"
#include <hwy/foreach_target.h>
// After foreach_target.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "kernels/int8_matmul.h"
#include "kernels/parallel.h"
#include "kernels/simd-inl.h"
#include "kernels/top_k.h"
#include "kernels/vocab_projection.h"

// The bound. With a hidden row h, its codes times their scale h', an embedding row w and its copy
// w',
//   |h.w - h'.w'| <= |h - h'| |w'| + |h| |w - w'|           (Cauchy-Schwarz)
// VocabProjection rounds h.w by at most g |h| |w|, g = (d + 8) 2^-24 (Higham 2002, section 3.1: d
// products with fused additions in any order, and some additions more), and the product of int8
// rows, whose integer is exact, three times by 2^-24 of itself, which is at most |h'| |w'|.
// Bounds are themselves rounded; kSlack covers that many times over. Where a number overflows, the
// bound is infinite or no number, and the row counts as one that can win.

HWY_BEFORE_NAMESPACE();
namespace tern {
namespace HWY_NAMESPACE {

// Both bounds of `count` logits, a multiple of 16.
void BoundLogits(const float* approximate, const float* norms, const float* errors, size_t count,
                 float norm_weight, float error_weight, float* lows, float* highs) {
  const FloatTag d;
  const FloatVec a = hn::Set(d, norm_weight), b = hn::Set(d, error_weight);
  for (size_t v = 0; v < count; v += hn::Lanes(d)) {
    const FloatVec s = hn::LoadU(d, approximate + v);
    const FloatVec margin =
        hn::MulAdd(a, hn::Load(d, norms + v), hn::Mul(b, hn::Load(d, errors + v)));
    hn::StoreU(hn::Sub(s, margin), d, lows + v);
    hn::StoreU(hn::Add(s, margin), d, highs + v);
  }
}

// The largest lower and the largest upper bound of a panel's logits.
// approximate, norms and errors [count], count a multiple of 16.
void BoundPanel(const float* approximate, const float* norms, const float* errors, size_t count,
                float norm_weight, float error_weight, float* largest_low, float* largest_high) {
  const FloatTag d;
  const FloatVec a = hn::Set(d, norm_weight), b = hn::Set(d, error_weight);
  const FloatVec infinity = hn::Set(d, std::numeric_limits<float>::infinity());
  FloatVec low = hn::Neg(infinity), high = hn::Neg(infinity);
  for (size_t v = 0; v < count; v += hn::Lanes(d)) {
    const FloatVec s = hn::LoadU(d, approximate + v);
    const FloatVec margin =
        hn::MulAdd(a, hn::Load(d, norms + v), hn::Mul(b, hn::Load(d, errors + v)));
    const FloatVec lower = hn::Sub(s, margin), upper = hn::Add(s, margin);
    low = hn::IfThenElse(hn::Gt(lower, low), lower, low);
    high = hn::IfThenElse(hn::Lt(upper, infinity), hn::Max(high, upper), infinity);
  }
  *largest_low = hn::GetLane(hn::MaxOfLanes(d, low));
  *largest_high = hn::GetLane(hn::MaxOfLanes(d, high));
}

}  // namespace HWY_NAMESPACE
}  // namespace tern
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tern {
HWY_EXPORT(BoundLogits);
HWY_EXPORT(BoundPanel);

namespace {

constexpr double kSlack = 1.0 + 0x1p-18;
constexpr size_t kPanel = 512;  // embedding rows that are bounded together

size_t Panels(size_t vocab) { return (vocab + kPanel - 1) / kPanel; }
size_t Padded(size_t vocab) { return (vocab + kInt8RowGroup - 1) / kInt8RowGroup * kInt8RowGroup; }

// Upper bounds of norms are what `norms` and `errors` of a row are.
void BoundRow(std::span<const BFloat16> row, const Int8Matrix& codes, size_t r, float* norm,
              float* error) {
  const double scale = codes.scales[r];
  const size_t stride = PadK(codes.cols);
  const uint8_t* const group =
      codes.data.data() + r / kInt8RowGroup * kInt8RowGroup * stride + r % kInt8RowGroup * 4;
  double copy = 0.0, difference = 0.0, exact = 0.0;
  for (size_t c = 0; c < row.size(); ++c) {
    const double code = group[c / 4 * (4 * kInt8RowGroup) + c % 4] - 128;
    const double w = row[c].ToFloat(), w_copy = code * scale;
    copy += w_copy * w_copy;
    difference += (w - w_copy) * (w - w_copy);
    exact += w * w;
  }
  const double rounding = static_cast<double>(row.size() + 8) * 0x1p-24;
  *norm = static_cast<float>(std::sqrt(copy) * kSlack);
  *error = static_cast<float>((std::sqrt(difference) + rounding * std::sqrt(exact)) * kSlack);
}

// |h - h'| and |h|, and what the product of the int8 rows rounds, as weights of norms and errors.
void BoundHidden(std::span<const float> hidden, const int8_t* codes, double scale, float* norms,
                 float* errors) {
  double difference = 0.0, exact = 0.0;
  for (size_t j = 0; j < hidden.size(); ++j) {
    const double h = hidden[j], rest = h - codes[j] * scale;
    difference += rest * rest;
    exact += h * h;
  }
  const double gap = std::sqrt(difference), length = std::sqrt(exact);
  *norms = static_cast<float>((gap + 0x1p-20 * (length + gap)) * kSlack);
  *errors = static_cast<float>(length * kSlack);
}

}  // namespace

VocabScreen MakeVocabScreen(MatView<const BFloat16> embedding) {
  VocabScreen screen;
  screen.codes = PackInt8(embedding);
  screen.norms = AlignedBuffer<float>::Zeroed(Padded(embedding.rows));
  screen.errors = AlignedBuffer<float>::Zeroed(Padded(embedding.rows));
  ParallelFor(embedding.rows, RowGrain(embedding.cols), [&](size_t begin, size_t end) {
    for (size_t r = begin; r < end; ++r) {
      BoundRow(embedding.RowSpan(r), screen.codes, r, &screen.norms[r], &screen.errors[r]);
    }
  });
  return screen;
}

size_t VocabScreenBytes(size_t vocab, size_t width) {
  return Padded(vocab) * (PadK(width) + 3 * sizeof(float));
}

ScreenedLogits::ScreenedLogits(size_t rows, size_t vocab, size_t width)
    : most_(rows),
      vocab_(vocab),
      approximate_(rows * Padded(vocab)),
      codes_(rows * PadK(width)),
      scales_(rows),
      sums_(rows),
      norm_weights_(rows),
      error_weights_(rows),
      highs_(Panels(vocab)),
      bests_(Panels(vocab)),
      counts_(Panels(vocab)) {
  for (size_t row = 0; row < rows; ++row) {
    std::fill(approximate_.data() + row * Padded(vocab) + vocab,
              approximate_.data() + (row + 1) * Padded(vocab),
              -std::numeric_limits<float>::infinity());
  }
}

size_t ScreenedLogits::Bytes(size_t rows, size_t vocab, size_t width) {
  return rows * (sizeof(float) * (Padded(vocab) + 4) + PadK(width)) +
         Panels(vocab) * (2 * sizeof(float) + sizeof(ScoredIndex));
}

void ScreenedLogits::Screen(MatView<const float> hidden, MatView<const BFloat16> embedding,
                            const VocabScreen& screen) {
  const size_t n = hidden.rows, width = embedding.cols;
  TERN_CHECK(hidden.cols == width && screen.codes.rows == embedding.rows &&
             screen.codes.cols == width && embedding.rows == vocab_ && n <= most_)
      << "vocabulary screen: hidden [" << n << ", " << hidden.cols << "], embedding ["
      << embedding.rows << ", " << width << "], room for " << most_ << " rows of " << vocab_;
  hidden_ = hidden;
  embedding_ = embedding;
  screen_ = &screen;
  if (n == 0) return;
  const QuantizedRows x = {codes_.View(n, PadK(width)), scales_.span().first(n),
                           sums_.span().first(n)};
  QuantizeRows(hidden, x);
  for (size_t i = 0; i < n; ++i) {
    BoundHidden(hidden.RowSpan(i), x.codes.Row(i), x.scales[i], &norm_weights_[i],
                &error_weights_[i]);
  }
  Int8Matmul(screen.codes, x, {approximate_.data(), n, vocab_, Padded(vocab_)});
}

void ScreenedLogits::Bounds(size_t row, std::span<float> lows, std::span<float> highs) const {
  const float* const approximate = approximate_.data() + row * Padded(vocab_);
  const auto bound = HWY_DYNAMIC_DISPATCH(BoundLogits);
  ParallelFor(Panels(vocab_), RowGrain(kPanel), [&](size_t begin, size_t end) {
    const size_t first = begin * kPanel, last = std::min(end * kPanel, vocab_);
    const size_t whole = (last - first) / 16 * 16, rest = last - first - whole;
    bound(approximate + first, screen_->norms.data() + first, screen_->errors.data() + first, whole,
          norm_weights_[row], error_weights_[row], lows.data() + first, highs.data() + first);
    if (rest == 0) return;
    const size_t at = first + whole;
    std::array<float, 16> low, high;
    bound(approximate + at, screen_->norms.data() + at, screen_->errors.data() + at, 16,
          norm_weights_[row], error_weights_[row], low.data(), high.data());
    std::copy_n(low.data(), rest, lows.data() + at);
    std::copy_n(high.data(), rest, highs.data() + at);
  });
}

void ScreenedLogits::Exact(size_t row, std::span<const int32_t> tokens,
                           std::span<float> logits) const {
  ParallelFor(tokens.size(), ProductGrain(embedding_.cols), [&](size_t begin, size_t end) {
    VocabProjectionOf(hidden_.RowSpan(row), embedding_, tokens.subspan(begin, end - begin),
                      logits.subspan(begin, end - begin));
  });
}

// The best of a panel's logits that may reach `least`; *multiplied of them took bf16.
ScoredIndex ScreenedLogits::BestOfPanel(size_t row, size_t panel, float least,
                                        int32_t* multiplied) const {
  std::array<int32_t, kPanel> picked;
  std::array<float, kPanel> logits;
  size_t count = 0;
  const float* const approximate = approximate_.data() + row * Padded(vocab_);
  for (size_t v = panel * kPanel; v < std::min(vocab_, (panel + 1) * kPanel); ++v) {
    const float margin =
        norm_weights_[row] * screen_->norms[v] + error_weights_[row] * screen_->errors[v];
    if (!(approximate[v] + margin < least)) picked[count++] = static_cast<int32_t>(v);
  }
  *multiplied = static_cast<int32_t>(count);
  if (count == 0) return {-1, -std::numeric_limits<float>::infinity()};
  const std::span<const float> found = std::span(logits).first(count);
  VocabProjectionOf(hidden_.RowSpan(row), embedding_, std::span(picked).first(count),
                    std::span(logits).first(count));
  const auto best = static_cast<size_t>(tern::ArgMax(found));
  return {picked[best], found[best]};
}

int32_t ScreenedLogits::ArgMax(size_t row) {
  const size_t panels = Panels(vocab_), grain = RowGrain(kPanel);
  const float* const approximate = approximate_.data() + row * Padded(vocab_);
  const auto bound = HWY_DYNAMIC_DISPATCH(BoundPanel);
  ParallelFor(panels, grain, [&](size_t begin, size_t end) {
    for (size_t p = begin; p < end; ++p) {
      const size_t first = p * kPanel, count = std::min(kPanel, Padded(vocab_) - first);
      bound(approximate + first, screen_->norms.data() + first, screen_->errors.data() + first,
            count, norm_weights_[row], error_weights_[row], &bests_[p].value, &highs_[p]);
    }
  });
  float least = bests_[0].value;  // the largest lower bound
  for (size_t p = 1; p < panels; ++p) least = std::max(least, bests_[p].value);
  ParallelFor(panels, grain, [&](size_t begin, size_t end) {
    for (size_t p = begin; p < end; ++p) {
      bests_[p] = {-1, -std::numeric_limits<float>::infinity()};
      counts_[p] = 0;
      if (!(highs_[p] < least)) bests_[p] = BestOfPanel(row, p, least, &counts_[p]);
    }
  });
  last_multiplied = 0;
  ScoredIndex best = {0, -std::numeric_limits<float>::infinity()};
  for (size_t p = 0; p < panels; ++p) {
    last_multiplied += static_cast<size_t>(counts_[p]);
    if (bests_[p].value > best.value) best = bests_[p];
  }
  return best.index;
}

}  // namespace tern
#endif  // HWY_ONCE
