#include "tools/bench_gemm.h"

#include <chrono>
#include <random>
#include <string>
#include <vector>

#include "engine/config.h"
#include "engine/error.h"
#include "kernels/aligned_buffer.h"
#include "kernels/bfloat16.h"
#include "kernels/dense_matmul.h"
#include "kernels/quantize.h"
#include "kernels/ternary_matmul.h"
#include "tools/bench_machine.h"

namespace tern {
namespace {

constexpr size_t kMostElements = size_t{1} << 31;

template <class Fn>
double Seconds(const Fn& call) {
  const auto start = std::chrono::steady_clock::now();
  call();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void CheckShape(const GemmShape& s) {
  const auto fits = [](size_t a, size_t b) { return a > 0 && b > 0 && a <= kMostElements / b; };
  if (fits(s.m, s.k) && fits(s.n, s.k) && fits(s.m, s.n) && s.k <= size_t{kMaxWidth}) return;
  throw InvalidArgument("bench: --m, --k and --n: expected 1 or more, --k up to " +
                        std::to_string(kMaxWidth) + ", matrices of up to 2^31 elements, got " +
                        std::to_string(s.m) + ", " + std::to_string(s.k) + ", " +
                        std::to_string(s.n));
}

template <class T>
AlignedBuffer<T> Converted(const AlignedBuffer<float>& values) {
  AlignedBuffer<T> out(values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    if constexpr (std::is_same_v<T, float>) {
      out[i] = values[i];
    } else {
      out[i] = T::FromFloat(values[i]);
    }
  }
  return out;
}

// Times the dense product of operands in T.
template <class T>
std::vector<double> DenseTimes(const GemmShape& s, const AlignedBuffer<float>& x,
                               const AlignedBuffer<float>& w, int32_t rounds, const auto& between) {
  const AlignedBuffer<T> a = Converted<T>(x), b = Converted<T>(w);
  AlignedBuffer<float> c(s.m * s.n);
  std::vector<double> seconds;
  for (int32_t round = 0; round <= rounds; ++round) {
    const double time = Seconds([&] {
      DenseMatmul(a.View(s.m, s.k), Transpose::kNo, b.View(s.n, s.k), Transpose::kYes, 0.0f,
                  c.View(s.m, s.n));
    });
    between(round > 0);
    if (round > 0) seconds.push_back(time);  // the first makes the primitive
  }
  return seconds;
}

}  // namespace

GemmReport BenchGemm(const GemmShape& s, int32_t rounds) {
  CheckShape(s);
  std::mt19937 random(1);
  AlignedBuffer<float> x(s.m * s.k), w(s.n * s.k);
  AlignedBuffer<int8_t> weights(s.n * s.k);
  for (float& value : x.span()) value = static_cast<float>(random() % 2001) / 1000.0f - 1.0f;
  for (size_t i = 0; i < w.size(); ++i) {
    weights[i] = static_cast<int8_t>(static_cast<int>(random() % 3) - 1);
    w[i] = weights[i];
  }
  const TernaryMatrix packed = PackTernary(weights.View(s.n, s.k), 1.0f);
  AlignedBuffer<int8_t> codes(s.m * PadK(s.k));
  AlignedBuffer<float> scales(s.m), y(s.m * s.n);
  AlignedBuffer<int32_t> sums(s.m);
  const QuantizedRows rows = {codes.View(s.m, PadK(s.k)), scales.span(), sums.span()};
  QuantizeRows(x.View(s.m, s.k), rows);
  MachineCeilings machine;
  std::vector<double> ternary;
  const auto measure = [&](bool counts) {
    const double time = Seconds([&] { TernaryMatmul(packed.View(), rows, y.View(s.m, s.n)); });
    machine.Measure();
    if (counts) ternary.push_back(time);
  };
  GemmReport report;
  report.dense_is_bf16 = HasBFloat16Matmul();
  report.dense_seconds =
      Median(report.dense_is_bf16 ? DenseTimes<BFloat16>(s, x, w, rounds, measure)
                                  : DenseTimes<float>(s, x, w, rounds, measure));
  report.ternary_seconds = Median(ternary);
  report.int8_products = machine.int8_products();
  return report;
}

}  // namespace tern
