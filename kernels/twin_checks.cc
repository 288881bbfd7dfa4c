#include "kernels/twin_checks.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/activation.h"
#include "kernels/findings.h"
#include "kernels/norm.h"
#include "kernels/quantize.h"
#include "kernels/quantized_data.h"
#include "kernels/reference.h"
#include "kernels/rope.h"
#include "kernels/sum_exp.h"
#include "kernels/top_k.h"
#include "kernels/vector_math.h"

namespace tern {
namespace {

template <class T>
MatView<const T> AsRow(const AlignedBuffer<T>& buffer) {
  return buffer.View(1, buffer.size());
}

std::string SameQuantized(const QuantizedData& expected, const QuantizedData& got) {
  Findings findings;
  findings.Same("codes", AsRow(expected.codes), AsRow(got.codes));
  findings.Same("scales", AsRow(expected.scales), AsRow(got.scales));
  findings.Same("sums", AsRow(expected.sums), AsRow(got.sums));
  return findings.text();
}

}  // namespace

std::string CheckQuantizeRows(size_t k) {
  constexpr size_t kRows = 5;
  RandomData random(static_cast<uint32_t>(k));
  AlignedBuffer<float> x = random.Floats(kRows * k, -3.0f, 3.0f);
  for (size_t c = 0; c < k; ++c) x[k + c] = 0.0f;        // a row of zeros
  for (size_t c = 0; c < k; ++c) x[2 * k + c] *= 1e-7f;  // a row below the floor of absmax
  for (size_t c = 0; c < k; ++c) x[3 * k + c] = (c % 2 != 0) ? 2.5f : -2.5f;  // all saturated
  QuantizedData expected(kRows, k), got(kRows, k);
  got.codes = AlignedBuffer<int8_t>(kRows * PadK(k));
  for (int8_t& code : got.codes.span()) code = 99;  // the padding must be written
  reference::QuantizeRows(x.View(kRows, k), expected.Rows());
  QuantizeRows(x.View(kRows, k), got.Rows());
  return SameQuantized(expected, got);
}

std::string CheckRmsNorm(size_t d) {
  constexpr size_t kRows = 3;
  RandomData random(static_cast<uint32_t>(d));
  const AlignedBuffer<float> x = random.Floats(kRows * d, -4.0f, 4.0f), gain = random.Floats(d);
  AlignedBuffer<float> got(kRows * d);
  AlignedBuffer<double> expected(kRows * d);
  RmsNorm(x.View(kRows, d), gain.span(), 1e-5f, got.View(kRows, d));
  reference::RmsNorm(x.View(kRows, d), gain.span(), 1e-5f, expected.View(kRows, d));
  // The sum of squares adds at most d / 16 + 8 positive terms per chain (16 lanes at least): its
  // relative error is that many half ulps (2^-24), halved by the root; then six more roundings.
  const double relative = (static_cast<double>(d) / 32 + 4 + 6) * 0x1p-24;
  return Difference(expected.View(kRows, d), got.View(kRows, d), {.relative = relative});
}

std::string CheckRmsNormQuantize(size_t d) {
  constexpr size_t kRows = 4;
  RandomData random(static_cast<uint32_t>(d));
  const AlignedBuffer<float> x = random.Floats(kRows * d, -4.0f, 4.0f), gain = random.Floats(d);
  AlignedBuffer<float> y(kRows * d);
  QuantizedData expected(kRows, d), got(kRows, d);
  RmsNorm(x.View(kRows, d), gain.span(), 1e-5f, y.View(kRows, d));
  QuantizeRows(y.View(kRows, d), expected.Rows());
  RmsNormQuantize(x.View(kRows, d), gain.span(), 1e-5f, got.Rows());
  return SameQuantized(expected, got);
}

std::string CheckApplyRope(size_t head_dim) {
  const std::vector<int32_t> positions = {0, 1, 17, 499};
  const RopeTable table(500, head_dim, 10000.0);
  RandomData random(7);
  const size_t width = 3 * head_dim, rows = positions.size();
  AlignedBuffer<float> x = random.Floats(rows * width);
  AlignedBuffer<double> expected(rows * width);
  reference::ApplyRope(10000.0, head_dim, positions, x.View(rows, width),
                       expected.View(rows, width));
  ApplyRope(table, positions, x.View(rows, width));
  // |x|, |cos|, |sin| <= 1: two table entries, two products and a sum rounded, each half an ulp of
  // at most 2.
  return Difference(expected.View(rows, width), x.View(rows, width), {.absolute = 5 * 0x1p-24});
}

std::string CheckReluSquaredGate(size_t f) {
  RandomData random(static_cast<uint32_t>(f));
  const AlignedBuffer<float> gate = random.Floats(3 * f), up = random.Floats(3 * f);
  AlignedBuffer<float> got(3 * f);
  AlignedBuffer<double> expected(3 * f);
  ReluSquaredGate(gate.View(3, f), up.View(3, f), got.View(3, f));
  reference::ReluSquaredGate(gate.View(3, f), up.View(3, f), expected.View(3, f));
  // Two roundings of half an ulp; products down to 2^-72 are still normal.
  return Difference(expected.View(3, f), got.View(3, f), {.relative = 3 * 0x1p-24});
}

std::string CheckSiluGate(size_t f) {
  RandomData random(static_cast<uint32_t>(f));
  AlignedBuffer<float> gate = random.Floats(3 * f, -30.0f, 30.0f);
  const AlignedBuffer<float> up = random.Floats(3 * f);
  gate[0] = 500.0f;
  gate[f] = -500.0f;
  AlignedBuffer<double> expected(3 * f);
  reference::SiluGate(gate.View(3, f), up.View(3, f), expected.View(3, f));
  SiluGate(gate.View(3, f), up.View(3, f), gate.View(3, f));
  // 2^-21 from exp, and four roundings; silu(-500) is 0 to the last normal number.
  return Difference(expected.View(3, f), gate.View(3, f),
                    {.absolute = 0x1p-100, .relative = 0x1p-20});
}

std::string CheckResidualSilu(size_t d) {
  RandomData random(static_cast<uint32_t>(d));
  const AlignedBuffer<float> x = random.Floats(d), bias = random.Floats(3 * d);
  AlignedBuffer<float> z = random.Floats(3 * d, -30.0f, 30.0f);
  z[0] = 500.0f;
  z[3 * d - 1] = -500.0f;
  AlignedBuffer<double> expected(3 * d);
  reference::ResidualSilu(x.span(), bias.View(3, d), z.View(3, d), expected.View(3, d));
  ResidualSilu(x.span(), bias.View(3, d), z.View(3, d));
  // z + bias is off by half an ulp, below 2^-20 where |z| < 32, times silu's slope of at most 1.1;
  // the sum with x by 2^-21. Relative to silu: 2^-21 from exp, four roundings.
  return Difference(expected.View(3, d), z.View(3, d),
                    {.absolute = 1.1 * 0x1p-20 + 0x1p-22, .relative = 0x1p-19});
}

std::string CheckAddInPlace(size_t d) {
  RandomData random(static_cast<uint32_t>(d));
  AlignedBuffer<float> x = random.Floats(2 * d), expected(2 * d);
  const AlignedBuffer<float> y = random.Floats(2 * d);
  for (size_t i = 0; i < 2 * d; ++i) expected[i] = x[i] + y[i];
  AddInPlace(x.View(2, d), y.View(2, d));
  return BitDifference(expected.View(2, d), x.View(2, d));
}

std::string CheckSumExp(size_t n) {
  Findings findings;
  RandomData random(static_cast<uint32_t>(n));
  const AlignedBuffer<float> x = random.Floats(n, -20.0f, 5.0f);
  const double sum = reference::SumExpMinus(x.span(), 5.0f);
  // exp: 2^-21, its argument half an ulp of 25 (2^-20); 258 additions a lane, 4 lanes and more.
  findings.Close("SumExpMinus", sum, static_cast<double>(SumExpMinus(x.span(), 5.0f)),
                 sum * (0x1p-21 + 0x1p-20 + 1100 * 0x1p-24));
  const AlignedBuffer<float> y = random.Floats(n, -30.0f, 30.0f);
  const double log_sum = reference::LogSumExp(y.span());
  findings.Close("LogSumExp", log_sum, static_cast<double>(LogSumExp(y.span())),
                 0x1p-23 * std::fabs(log_sum) + 0x1p-24);
  return findings.text();
}

std::string CheckTopK(uint32_t seed) {
  RandomData random(seed);
  std::vector<float> values(1 + random.Below(2000));
  for (float& value : values) value = random.Uniform();
  const auto any = [&]() -> float& {
    return values[random.Below(static_cast<uint32_t>(values.size()))];
  };
  for (uint32_t i = random.Below(5); i > 0; --i) {
    any() = std::numeric_limits<float>::quiet_NaN();
    any() = 0.999f;
  }
  std::vector<ScoredIndex> expected(std::min(values.size(), size_t{8})), got(expected.size());
  reference::TopK(values, expected);
  TopK(values, got);
  Findings findings;
  for (size_t i = 0; i < got.size(); ++i) {
    findings.That(got[i].index == expected[i].index,
                  "rank " + std::to_string(i) + ": expected index " +
                      std::to_string(expected[i].index) + ", got " + std::to_string(got[i].index));
  }
  findings.That(ArgMax(values) == expected[0].index, "ArgMax differs from the first of TopK");
  return findings.text();
}

}  // namespace tern
