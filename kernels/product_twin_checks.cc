// The part of twin_checks.h that multiplies: matrix products and attention.
#include <algorithm>
#include <cmath>

#include "kernels/attention.h"
#include "kernels/difference.h"
#include "kernels/int8_matmul.h"
#include "kernels/int8_pack.h"
#include "kernels/parallel.h"
#include "kernels/quantized_data.h"
#include "kernels/reference.h"
#include "kernels/ternary_matmul.h"
#include "kernels/ternary_sparse.h"
#include "kernels/twin_checks.h"
#include "kernels/vocab_projection.h"
#include "kernels/weight_only_matmul.h"

namespace tern {

std::string CheckTernaryMatmul(size_t n, size_t rows, size_t k) {
  constexpr float kScale = 0.37f;
  RandomData random(static_cast<uint32_t>(n * 1000 + rows * 10 + k));
  const AlignedBuffer<int8_t> weights = random.Ternaries(rows * k);
  QuantizedData x = RandomQuantized(n, k, random);
  const TernaryMatrix packed = PackTernary(weights.View(rows, k), kScale);
  AlignedBuffer<float> expected(n * rows), got(n * rows);
  reference::TernaryMatmul(weights.View(rows, k), kScale, x.Rows(), expected.View(n, rows));
  TernaryMatmul(packed.View(), x.Rows(), got.View(n, rows));
  return BitDifference(expected.View(n, rows), got.View(n, rows));  // the integer part is exact
}

namespace {

// Both sparse products of one matrix, for codes of which those in `share` are not zero, against the
// twin of the whole product.
std::string CheckSparseShare(MatView<const int8_t> weights, RandomData& random, float share) {
  constexpr float kScale = 0.37f;
  const size_t rows = weights.rows, k = weights.cols;
  const TernaryMatrix packed = PackTernary(weights, kScale);
  SparseScratch scratch(std::max(rows, k), rows, static_cast<size_t>(ThreadCount()));
  const auto listed = [&] { return random.Uniform(0.0f, 1.0f) < share; };
  QuantizedData x(1, k);
  x.SetRow(0, 0.01f, [&](size_t) { return listed() ? random.Code() : 0; });
  AlignedBuffer<float> expected(rows), got(rows), gate(rows);
  reference::TernaryMatmul(weights, kScale, x.Rows(), expected.View(1, rows));
  TernaryColumnsMatvec(PackLinesOfColumns(packed.View()), x.Rows(),
                       ListNonZero(x.codes.span().first(k), scratch), scratch, got.span());
  const std::string columns = BitDifference(expected.View(1, rows), got.View(1, rows));
  if (!columns.empty()) return "columns: " + columns;

  for (float& g : gate.span()) g = listed() ? random.Uniform(1e-30f, 1.0f) : -1.0f;
  for (size_t r = 0; r < rows; ++r) expected[r] = gate[r] > 0.0f ? expected[r] : 0.0f;
  TernaryRowsMatvec(PackLines(packed.View()), x.Rows(), ListPositive(gate.span(), scratch),
                    got.span());
  const std::string by_rows = BitDifference(expected.View(1, rows), got.View(1, rows));
  return by_rows.empty() ? "" : "rows: " + by_rows;
}

}  // namespace

std::string CheckTernarySparse(size_t n, size_t rows, size_t k) {
  RandomData random(static_cast<uint32_t>(n * 1000 + rows * 10 + k));
  const AlignedBuffer<int8_t> weights = random.Ternaries(rows * k);
  for (const float share : {1.0f / static_cast<float>(n), 0.0f, 1.0f}) {
    const std::string problem = CheckSparseShare(weights.View(rows, k), random, share);
    if (!problem.empty()) return problem + " (share " + std::to_string(share) + ")";
  }
  return "";
}

WeightOnlyInput::WeightOnlyInput(size_t rows, size_t k, size_t group_cols, RandomData& random)
    : codes(random.Ternaries(rows * k)), groups((k + group_cols - 1) / group_cols) {
  scales = AlignedBuffer<float>(rows * groups);
  for (float& s : scales.span()) s = random.Uniform(0.01f, 1.0f);
  packed = PackTernaryGroups(codes.View(rows, k), scales.View(rows, groups), group_cols);
}

std::string CheckWeightOnlyMatmul(size_t n, size_t rows, size_t k, size_t group_cols) {
  RandomData random(static_cast<uint32_t>(n * 1000 + rows * 10 + k + group_cols));
  const WeightOnlyInput w(rows, k, group_cols, random);
  const AlignedBuffer<float> x = random.Floats(n * k, -3.0f, 3.0f);
  AlignedBuffer<float> expected(n * rows), got(n * rows);
  reference::WeightOnlyMatmul(w.packed.View(), x.View(n, k), expected.View(n, rows));
  WeightOnlyMatmul(w.packed.View(), x.View(n, k), got.View(n, rows));
  // The twin adds in the contract's order, so that the bits agree on every target.
  return BitDifference(expected.View(n, rows), got.View(n, rows));
}

std::string CheckInt8Matmul(size_t n, size_t rows, size_t k) {
  RandomData random(static_cast<uint32_t>(n * 1000 + rows * 10 + k));
  const Int8Matrix packed = PackInt8(random.BFloat16s(rows * k).View(rows, k));
  AlignedBuffer<int8_t> codes(rows * k);
  for (size_t i = 0; i < codes.size(); ++i) {
    codes[i] = static_cast<int8_t>(reference::UnpackInt8(packed, i / k, i % k));
  }
  QuantizedData x = RandomQuantized(n, k, random);
  AlignedBuffer<float> expected(n * rows), got(n * rows);
  reference::Int8Matmul(codes.View(rows, k), packed.scales.span(), x.Rows(),
                        expected.View(n, rows));
  Int8Matmul(packed, x.Rows(), got.View(n, rows));
  return BitDifference(expected.View(n, rows), got.View(n, rows));  // the integer part is exact
}

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

}  // namespace

std::string CheckVocabProjection(size_t n, size_t vocab, size_t d) {
  RandomData random(static_cast<uint32_t>(n * 1000 + vocab * 10 + d));
  const AlignedBuffer<float> hidden = random.Floats(n * d);
  const AlignedBuffer<BFloat16> embedding = random.BFloat16s(vocab * d);
  AlignedBuffer<double> expected(n * vocab);
  AlignedBuffer<float> got(n * vocab);
  reference::VocabProjection(hidden.View(n, d), embedding.View(vocab, d), expected.View(n, vocab));
  VocabProjection(hidden.View(n, d), embedding.View(vocab, d), got.View(n, vocab));
  const AlignedBuffer<double> scale = Magnitudes(hidden.View(n, d), embedding.View(vocab, d));
  // Per term: one rounding of the product where it is not fused, at most d / 4 + 1 of the chain (4
  // lanes at least) and 4 of the lane reduction, each 2^-24.
  return Difference(
      expected.View(n, vocab), got.View(n, vocab),
      {.relative = (static_cast<double>(d) / 4 + 6) * 0x1p-24, .scale = scale.View(n, vocab)});
}

}  // namespace tern
