#include "kernels/vocab_argmax.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/vocab_argmax.cc"
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

VocabArgMaxScratch::VocabArgMaxScratch(size_t rows, size_t vocab, size_t width)
    : vocab_(vocab),
      approximate_(rows * Padded(vocab)),
      codes_(rows * PadK(width)),
      scales_(rows),
      sums_(rows),
      weights_(2 * rows),
      lows_(rows * Panels(vocab)),
      highs_(rows * Panels(vocab)),
      bests_(rows * Panels(vocab)),
      tokens_(rows * Panels(vocab)),
      counts_(rows * Panels(vocab)) {
  for (size_t row = 0; row < rows; ++row) {
    std::fill(approximate_.data() + row * Padded(vocab) + vocab,
              approximate_.data() + (row + 1) * Padded(vocab),
              -std::numeric_limits<float>::infinity());
  }
}

size_t VocabArgMaxScratch::Bytes(size_t rows, size_t vocab, size_t width) {
  return rows * (sizeof(float) * (Padded(vocab) + 5 * Panels(vocab) + 4) + PadK(width));
}

namespace {

// What a call works on.
struct Search {
  MatView<const float> hidden;
  MatView<const BFloat16> embedding;
  const VocabScreen& screen;
  MatView<const float> approximate;  // [n, V]
  std::span<const float> norm_weights, error_weights;
};

// The best of the embedding rows begin .. end that may reach `least`, in bf16.
ScoredIndex BestOf(const Search& s, size_t row, size_t begin, size_t end, float least,
                   int32_t* multiplied) {
  std::array<int32_t, kPanel> picked;
  std::array<float, kPanel> logits;
  size_t count = 0;
  const float* const approximate = s.approximate.Row(row);
  for (size_t v = begin; v < end; ++v) {
    const float margin =
        s.norm_weights[row] * s.screen.norms[v] + s.error_weights[row] * s.screen.errors[v];
    if (!(approximate[v] + margin < least)) picked[count++] = static_cast<int32_t>(v);
  }
  *multiplied = static_cast<int32_t>(count);
  if (count == 0) return {-1, -std::numeric_limits<float>::infinity()};
  const std::span<const float> found = std::span(logits).first(count);
  VocabProjectionOf(s.hidden.RowSpan(row), s.embedding, std::span(picked).first(count),
                    std::span(logits).first(count));
  const auto best = static_cast<size_t>(ArgMax(found));
  return {picked[best], found[best]};
}

}  // namespace

void VocabArgMax(MatView<const float> hidden, MatView<const BFloat16> embedding,
                 const VocabScreen& screen, VocabArgMaxScratch& scratch,
                 std::span<int32_t> tokens) {
  const size_t n = hidden.rows, vocab = embedding.rows, width = embedding.cols;
  TERN_CHECK(hidden.cols == width && screen.codes.rows == vocab && screen.codes.cols == width &&
             tokens.size() == n && vocab == scratch.vocab_ && n <= scratch.scales_.size())
      << "vocabulary argmax: hidden [" << n << ", " << hidden.cols << "], embedding [" << vocab
      << ", " << width << "], " << tokens.size() << " tokens";
  if (n == 0) return;
  const QuantizedRows x = {scratch.codes_.View(n, PadK(width)), scratch.scales_.span().first(n),
                           scratch.sums_.span().first(n)};
  QuantizeRows(hidden, x);
  const std::span<float> norm_weights = scratch.weights_.span().first(n);
  const std::span<float> error_weights = scratch.weights_.span().subspan(n, n);
  for (size_t i = 0; i < n; ++i) {
    BoundHidden(hidden.RowSpan(i), x.codes.Row(i), x.scales[i], &norm_weights[i],
                &error_weights[i]);
  }
  const size_t stride = Padded(vocab), panels = Panels(vocab);
  const MatView<float> approximate(scratch.approximate_.data(), n, vocab, stride);
  Int8Matmul(screen.codes, x, approximate);

  const size_t grain = RowGrain(kPanel * n);
  const auto bound = HWY_DYNAMIC_DISPATCH(BoundPanel);
  ParallelFor(panels, grain, [&](size_t begin, size_t end) {
    for (size_t p = begin; p < end; ++p) {
      const size_t first = p * kPanel, count = std::min(kPanel, stride - first);
      for (size_t i = 0; i < n; ++i) {
        bound(approximate.Row(i) + first, screen.norms.data() + first, screen.errors.data() + first,
              count, norm_weights[i], error_weights[i], &scratch.lows_[p * n + i],
              &scratch.highs_[p * n + i]);
      }
    }
  });
  // From here on the first panel's entry holds the row's largest lower bound.
  for (size_t p = 1; p < panels; ++p) {
    for (size_t i = 0; i < n; ++i)
      scratch.lows_[i] = std::max(scratch.lows_[i], scratch.lows_[p * n + i]);
  }
  const Search search = {hidden, embedding, screen, approximate, norm_weights, error_weights};
  ParallelFor(panels, grain, [&](size_t begin, size_t end) {
    for (size_t at = begin * n; at < end * n; ++at) {
      const size_t p = at / n, i = at % n;
      ScoredIndex best = {-1, -std::numeric_limits<float>::infinity()};
      scratch.counts_[at] = 0;
      if (!(scratch.highs_[at] < scratch.lows_[i])) {
        best = BestOf(search, i, p * kPanel, std::min(vocab, (p + 1) * kPanel), scratch.lows_[i],
                      &scratch.counts_[at]);
      }
      scratch.bests_[at] = best.value;
      scratch.tokens_[at] = best.index;
    }
  });
  scratch.last_multiplied = 0;
  for (size_t i = 0; i < n; ++i) {
    ScoredIndex best = {0, -std::numeric_limits<float>::infinity()};
    for (size_t at = i; at < panels * n; at += n) {
      scratch.last_multiplied += static_cast<size_t>(scratch.counts_[at]);
      if (scratch.bests_[at] > best.value) best = {scratch.tokens_[at], scratch.bests_[at]};
    }
    tokens[i] = best.index;
  }
}

}  // namespace tern
#endif  // HWY_ONCE
