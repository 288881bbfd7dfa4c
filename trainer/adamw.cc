#include "trainer/adamw.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "kernels/check.h"
#include "kernels/parallel.h"

namespace tern {
namespace {

constexpr size_t kBlock = 16384;  // floats summed in one piece; 64 KiB, half of a core's L2 or less
constexpr size_t kGrain = 4096;   // floats a thread updates at least

double BlockSquares(std::span<const float> values) {
  constexpr size_t kLanes = 8;  // independent sums, so that the loop vectorises in a fixed order
  std::array<double, kLanes> sums{};
  size_t i = 0;
  for (; i + kLanes <= values.size(); i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) {
      const double x = values[i + lane];
      sums[lane] += x * x;
    }
  }
  for (; i < values.size(); ++i) sums[0] += static_cast<double>(values[i]) * values[i];
  double total = 0;
  for (const double sum : sums) total += sum;
  return total;
}

// One step's constants in the form the loop uses.
struct Constants {
  float beta1, beta2, rest1, rest2;  // rest = 1 - beta
  float gradient_scale;
  float rate;          // learning rate / (1 - beta1^t)
  float root_correct;  // 1 / sqrt(1 - beta2^t)
  float epsilon;
  float keep;  // 1 - learning rate * weight decay
};

void UpdateRange(const Constants& c, size_t n, float* __restrict p, float* __restrict g,
                 float* __restrict m, float* __restrict v) {
  for (size_t i = 0; i < n; ++i) {
    const float gradient = g[i] * c.gradient_scale;
    const float first = c.beta1 * m[i] + c.rest1 * gradient;
    const float second = c.beta2 * v[i] + c.rest2 * gradient * gradient;
    m[i] = first;
    v[i] = second;
    p[i] = c.keep * p[i] - c.rate * first / (std::sqrt(second) * c.root_correct + c.epsilon);
    g[i] = 0;
  }
}

}  // namespace

double GlobalNorm(std::span<const float> values) {
  const size_t blocks = (values.size() + kBlock - 1) / kBlock;
  std::vector<double> sums(blocks);
  ParallelFor(blocks, 1, [&](size_t begin, size_t end) {
    for (size_t b = begin; b < end; ++b) {
      sums[b] =
          BlockSquares(values.subspan(b * kBlock, std::min(kBlock, values.size() - b * kBlock)));
    }
  });
  double total = 0;
  for (const double sum : sums) total += sum;
  return std::sqrt(total);
}

double ClipScale(double norm, double limit) {
  return limit > 0 && norm > limit ? limit / norm : 1.0;
}

void ApplyAdamW(const AdamWOptions& options, const AdamWStep& step,
                const std::vector<ParameterSlice>& slices, std::span<float> parameters,
                std::span<float> gradients, AdamWState& state) {
  TERN_CHECK(parameters.size() == gradients.size() && state.m.size() == parameters.size());
  const double t = static_cast<double>(step.update);
  const double rate = step.rates.learning_rate;
  Constants c{};
  c.beta1 = static_cast<float>(options.beta1);
  c.beta2 = static_cast<float>(options.beta2);
  c.rest1 = static_cast<float>(1 - options.beta1);
  c.rest2 = static_cast<float>(1 - options.beta2);
  c.gradient_scale = static_cast<float>(step.gradient_scale);
  c.rate = static_cast<float>(rate / (1 - std::pow(options.beta1, t)));
  c.root_correct = static_cast<float>(1 / std::sqrt(1 - std::pow(options.beta2, t)));
  c.epsilon = static_cast<float>(options.epsilon);
  for (const ParameterSlice& slice : slices) {
    c.keep = slice.decays ? static_cast<float>(1 - rate * step.rates.weight_decay) : 1.0f;
    ParallelFor(slice.size(), kGrain, [&](size_t begin, size_t end) {
      const size_t at = slice.offset + begin;
      UpdateRange(c, end - begin, &parameters[at], &gradients[at], &state.m[at], &state.v[at]);
    });
  }
}

}  // namespace tern
