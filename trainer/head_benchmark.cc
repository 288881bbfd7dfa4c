#include "trainer/head_benchmark.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include "kernels/check.h"
#include "kernels/parallel.h"
#include "trainer/adamw.h"
#include "trainer/permutation.h"

namespace tern {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int32_t kWarmUp = 2;
constexpr double kLogitDeviation = 0.1;  // loss then exceeds ln V by half its square

double Since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

double Median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

// Even on [-1, 1).
double Draw(uint64_t seed, uint64_t i) {
  return static_cast<double>(Mix64(seed, i) >> 11) * 0x1p-52 - 1;
}

double RootMeanSquare(MatView<const BFloat16> table) {
  double sum = 0;
  const size_t rows = std::min<size_t>(table.rows, 1024);
  for (size_t r = 0; r < rows; ++r) {
    for (size_t i = 0; i < table.cols; ++i) {
      const auto x = static_cast<double>(table.Row(r)[i].ToFloat());
      sum += x * x;
    }
  }
  return std::sqrt(sum / static_cast<double>(rows * table.cols));
}

}  // namespace

StepTimes Summarise(const std::vector<double>& seconds) {
  TERN_CHECK(!seconds.empty());
  const size_t n = seconds.size(), third = std::max<size_t>(1, n / 3), tenth = n / 10;
  std::vector<double> sorted = seconds;
  std::ranges::sort(sorted);
  StepTimes times;
  times.median = sorted[n / 2];
  times.spread = (sorted[n - 1 - tenth] - sorted[tenth]) / times.median;
  const auto begin = seconds.begin(), end = seconds.end();
  times.growth = (Median({end - static_cast<std::ptrdiff_t>(third), end}) -
                  Median({begin, begin + static_cast<std::ptrdiff_t>(third)})) /
                 times.median;
  return times;
}

AlignedBuffer<BFloat16> RandomTable(size_t vocab, size_t d, uint64_t seed) {
  AlignedBuffer<BFloat16> table(vocab * d);
  ParallelFor(vocab, 64, [&](size_t begin, size_t end) {
    for (size_t i = begin * d; i < end * d; ++i)
      table[i] = BFloat16::FromFloat(static_cast<float>(Draw(seed, i)));
  });
  return table;
}

HeadBenchmarkResult BenchmarkHeads(MatView<const BFloat16> table, const HeadTrainerOptions& options,
                                   int32_t timed_steps, uint64_t seed) {
  const size_t d = table.cols, heads = static_cast<size_t>(options.heads);
  const auto batch = static_cast<size_t>(options.batch);
  HeadPassOptions pass_options = PassOptions(options, {});
  const auto pass = MakeHeadPass(table, pass_options);
  HeadParameters shape({heads, pass_options.layers, d, static_cast<size_t>(options.rank),
                        options.ternary, options.sees_root,
                        options.own_projection ? table.rows : 0});
  AlignedBuffer<float> parameters(shape.size());
  auto gradients = AlignedBuffer<float>::Zeroed(shape.size());
  AdamWState moments(shape.size());
  shape.Initialise(seed, table, parameters.span());

  const double width =  // of even values, for that deviation of the logits
      kLogitDeviation * std::sqrt(3.0 / static_cast<double>(d)) / RootMeanSquare(table);
  AlignedBuffer<BFloat16> hidden(batch * d);
  for (size_t i = 0; i < hidden.size(); ++i)
    hidden[i] = BFloat16::FromFloat(static_cast<float>(width * Draw(seed + 1, i)));
  const AlignedBuffer<BFloat16>& roots = hidden;  // drawn as well as any
  std::vector<int32_t> targets(batch * heads);
  for (size_t i = 0; i < targets.size(); ++i)
    targets[i] = static_cast<int32_t>(Mix64(seed + 2, i) % table.rows);
  const std::vector<float> weights(heads, 1.0f / static_cast<float>(heads));
  std::vector<HeadSums> sums(heads);
  HeadBatch input{std::as_const(hidden).View(batch, d), roots.View(batch, d), targets, seed};
  const auto refresh = [&] { SetWeights(shape.Weights(parameters.span()), *pass); };

  HeadBenchmarkResult result;
  result.parameters = static_cast<double>(shape.size());
  refresh();
  result.loss = pass->Run(input, weights, 0, nullptr, sums);
  for (const HeadSums& head : sums) {
    result.places += head.rows;
    result.top1 += static_cast<double>(head.hits);
  }
  result.top1 /= static_cast<double>(result.places);
  result.gemm_macs = pass->GemmMacs();

  std::vector<double> micro, update, both;
  for (int32_t i = -kWarmUp; i < timed_steps; ++i) {
    const Clock::time_point begin = Clock::now();
    input.seed = Mix64(seed, static_cast<uint64_t>(i + kWarmUp));
    HeadGradients into = shape.Gradients(gradients.span());
    pass->Run(input, weights, 1, &into, sums);
    shape.Accumulate(parameters.span(), gradients.span());
    const double half = Since(begin);
    const double norm = GlobalNorm(gradients.span());
    ApplyAdamW({}, {1, {1e-6, 0}, ClipScale(norm, 1)}, shape.slices(), parameters.span(),
               gradients.span(), moments);
    refresh();
    const double whole = Since(begin);
    if (i < 0) continue;
    micro.push_back(half);
    update.push_back(whole - half);
    both.push_back(whole);
  }
  result.times = Summarise(both);
  result.micro_seconds = Median(micro);
  result.update_seconds = Median(update);
  return result;
}

}  // namespace tern
