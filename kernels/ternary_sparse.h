// One int8 row x a ternary matrix, reading only what counts: the rows of the matrix whose outputs
// are wanted, or its columns whose inputs are not zero. The same bits as TernaryMatmul's, for any
// number of threads.
#ifndef TERN_KERNELS_TERNARY_SPARSE_H_
#define TERN_KERNELS_TERNARY_SPARSE_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/aligned_buffer.h"
#include "kernels/quantize.h"
#include "kernels/ternary_lines.h"

namespace tern {

// What the two products need besides their operands, for matrices up to these sizes.
struct SparseScratch {
  SparseScratch() = default;
  SparseScratch(size_t most_lines, size_t longest, size_t threads);
  static size_t Bytes(size_t most_lines, size_t longest, size_t threads);

  AlignedBuffer<int32_t> list;  // [most_lines + one vector, which listing overwrites]
  AlignedBuffer<int32_t> sums;  // [threads, `longest` in whole blocks]
};

// Indices, ascending, of what is not zero in relu(x): positive values and NaN. The list is in
// scratch until the next one is made there.
std::span<const int32_t> ListPositive(std::span<const float> x, SparseScratch& scratch);
// Indices, ascending, of the codes that are not zero.
std::span<const int32_t> ListNonZero(std::span<const int8_t> codes, SparseScratch& scratch);

// The listed elements of y [w.count] = what TernaryMatmul gives for x [1, w.length]; 0 elsewhere.
// `listed` ascends. The bound of every sum is in the source; w.length <= 132,104 as there.
void TernaryRowsMatvec(const TernaryLines& w_rows, const QuantizedRows& x,
                       std::span<const int32_t> listed, std::span<float> y);

// y [w.length] = what TernaryMatmul gives for x [1, w.count], of which `listed` holds all elements
// that are not zero. w.count <= 132,104.
void TernaryColumnsMatvec(const TernaryLines& w_columns, const QuantizedRows& x,
                          std::span<const int32_t> listed, SparseScratch& scratch,
                          std::span<float> y);

}  // namespace tern

#endif  // TERN_KERNELS_TERNARY_SPARSE_H_
