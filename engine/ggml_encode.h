// Tensors in ggml's types, for writing GGUF files. Each function returns the bytes of a whole
// tensor.
#ifndef TERN_ENGINE_GGML_ENCODE_H_
#define TERN_ENGINE_GGML_ENCODE_H_

#include <cstdint>
#include <span>
#include <vector>

#include "engine/ggml_types.h"
#include "kernels/mat_view.h"

namespace tern {

// Codes [rows, cols], each -1, 0 or 1 (REQUIRED), with one scale, in the 128x32 order; the tail has
// eight copies of the scale. REQUIRES rows * cols a multiple of 128.
std::vector<uint8_t> EncodeI2s(MatView<const int8_t> codes, float scale);

// The same codes with scales [rows, cols / 256], rounded to half. Blocks without a weight get scale
// 0, as a quantiser that sees only values would give them. REQUIRES cols a multiple of 256.
std::vector<uint8_t> EncodeTq2_0(MatView<const int8_t> codes, MatView<const float> scales);

// F32 (exact), F16 or BF16 (rounded to nearest even). REQUIRES one of these types.
std::vector<uint8_t> EncodeFloats(GgmlType type, std::span<const float> values);

}  // namespace tern

#endif  // TERN_ENGINE_GGML_ENCODE_H_
