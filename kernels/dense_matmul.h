// Dense GEMM through oneDNN, for training only. No logit of the backbone passes through here when
// tern serves: oneDNN's blocking, and so its rounding, depends on rows and threads.
#ifndef TERN_KERNELS_DENSE_MATMUL_H_
#define TERN_KERNELS_DENSE_MATMUL_H_

#include <cstddef>
#include <string>

#include "kernels/bfloat16.h"
#include "kernels/mat_view.h"

namespace tern {

// True where the CPU (under the dispatch cap) multiplies bf16 in hardware: training then feeds
// bf16.
bool HasBFloat16Matmul();

enum class Transpose { kNo, kYes };

// c = beta * c + op(a) op(b), accumulated in fp32. op(a) is [m, k], op(b) is [k, n], c is [m, n]; a
// transposed operand is stored as [k, m] or [n, k]. beta is 0 or 1. The primitive for a shape is
// made once per thread and cached. Outside ParallelFor it runs on all threads; inside, on the
// calling thread alone.
void DenseMatmul(MatView<const float> a, Transpose ta, MatView<const float> b, Transpose tb,
                 float beta, MatView<float> c);
void DenseMatmul(MatView<const BFloat16> a, Transpose ta, MatView<const BFloat16> b, Transpose tb,
                 float beta, MatView<float> c);

// The library's version, e.g. "2.6.3": recorded in checkpoints, since bits depend on it.
const char* DenseMatmulLibraryVersion();
// The instruction set that the library uses, by its name for it: "avx512_core_bf16".
std::string DenseMatmulIsa();

}  // namespace tern

#endif  // TERN_KERNELS_DENSE_MATMUL_H_
