// Rows of ggml's floating-point and integer-quantised tensors as floats: what embeddings,
// vocabulary projections and gains of GGUF files are stored in. Formulas and layouts: ggml-common.h
// and the dequantize_row functions of upstream ggml; the order of operations is theirs, so the
// floats are the same bits.
#ifndef TERN_ENGINE_GGML_BLOCKS_H_
#define TERN_ENGINE_GGML_BLOCKS_H_

#include <cstddef>
#include <span>

#include "engine/gguf.h"

namespace tern {

// F32, F16, BF16, Q8_0, Q6_K, Q4_K, Q4_0.
bool IsGgmlFloat(GgmlType type);

// Row `row` of a tensor of such a type, exactly: out [tensor.cols()]. REQUIRES row < tensor.rows().
// Throws kUnsupported for another type, kBadFile where a value is not finite.
void ReadGgmlRow(const GgufTensor& tensor, size_t row, std::span<float> out);

}  // namespace tern

#endif  // TERN_ENGINE_GGML_BLOCKS_H_
