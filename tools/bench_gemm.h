// One matrix product of any shape: the ternary kernel beside oneDNN's.
#ifndef TERN_TOOLS_BENCH_GEMM_H_
#define TERN_TOOLS_BENCH_GEMM_H_

#include <cstddef>
#include <cstdint>

namespace tern {

// [m, k] activations with [n, k] weights.
struct GemmShape {
  size_t m = 0, k = 0, n = 0;
};

struct GemmReport {
  double ternary_seconds = 0.0;  // int8 x ternary, activations quantised before; medians
  double dense_seconds = 0.0;    // oneDNN, the same products
  bool dense_is_bf16 = false;    // fp32 where the CPU has no bf16
  double int8_products = 0.0;    // per second, measured between the rounds
};

// Random operands; both products once per round. Throws kInvalidArgument for a shape of no products
// or one that is too long for exact sums.
GemmReport BenchGemm(const GemmShape& shape, int32_t rounds);

}  // namespace tern

#endif  // TERN_TOOLS_BENCH_GEMM_H_
