// Rows of GGUF's ternary tensors as codes and scales: value = scale * code. Layouts: the pictures
// beside each reader in the source.
#ifndef TERN_ENGINE_GGML_TERNARY_H_
#define TERN_ENGINE_GGML_TERNARY_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/gguf.h"

namespace tern {

// I2_S, TQ1_0, TQ2_0, IQ1_BN, IQ2_BN.
bool IsGgmlTernary(GgmlType type);

// Values in sequence that share a scale: 256 for TQ1_0 and TQ2_0; for I2_S (one scale a tensor) and
// IQ1_BN, IQ2_BN (one a row) the row, `cols`. REQUIRES IsGgmlTernary(type).
size_t GgmlScaleGroup(GgmlType type, size_t cols);

// Row `row` of a ternary tensor: codes [cols], each -1, 0 or 1; scales [cols / GgmlScaleGroup],
// each finite and not negative, and 0 only where the file says so (then so are the codes). REQUIRES
// IsGgmlTernary and row < tensor.rows(). Throws kBadFile where a code or scale is none,
// kUnsupported where an I2_S tensor does not consist of whole blocks.
void ReadTernaryRow(const GgufTensor& tensor, size_t row, I2sOrder order, std::span<int8_t> codes,
                    std::span<float> scales);

}  // namespace tern

#endif  // TERN_ENGINE_GGML_TERNARY_H_
