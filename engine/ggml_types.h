// The tensor types of GGUF files: their numbers, names and sizes. Numbers are those of upstream
// ggml and, where marked, of forks: a file does not say which program's numbers it uses, so a
// number that two programs use differently is left unknown.
#ifndef TERN_ENGINE_GGML_TYPES_H_
#define TERN_ENGINE_GGML_TYPES_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

namespace tern {

// Any other number may occur in a file.
enum class GgmlType : int32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ8_0 = 8,
  kQ4_K = 12,
  kQ6_K = 14,
  kBF16 = 30,
  kTQ1_0 = 34,
  kTQ2_0 = 35,
  kI2_S = 36,     // bitnet.cpp
  kIQ1_BN = 134,  // ik_llama.cpp
  kIQ2_BN = 135,  // ik_llama.cpp
};

// The order of codes in I2_S tensors, which a file does not tell. Every converter and the x86
// builds of bitnet.cpp write k128x32; its ARM builds from November 2025 on write k64x16.
enum class I2sOrder { k128x32, k64x16 };

std::string GgmlTypeName(GgmlType type);  // "TQ2_0"; "type 77" where unknown

// Bytes of a tensor of `rows` rows of `cols` values; none where the type is unknown, `cols` does
// not divide into its blocks or the size overflows.
std::optional<size_t> GgmlBytes(GgmlType type, size_t rows, size_t cols);
// Values that a row must be a multiple of; 0 where the type is unknown.
size_t GgmlBlockSize(GgmlType type);

}  // namespace tern

#endif  // TERN_ENGINE_GGML_TYPES_H_
