#include "engine/ggml_types.h"

namespace tern {
namespace {

struct TypeInfo {
  int32_t number;
  const char* name;
  size_t block;         // values of a block
  size_t block_bytes;   // its bytes
  size_t row_bytes;     // before the blocks of a row
  size_t tensor_bytes;  // behind the last row
};

// Types that tern reads, and others whose size is known, so that their files can be listed.
constexpr TypeInfo kTypes[] = {
    {0, "F32", 1, 4, 0, 0},
    {1, "F16", 1, 2, 0, 0},
    {2, "Q4_0", 32, 18, 0, 0},
    {3, "Q4_1", 32, 20, 0, 0},
    {6, "Q5_0", 32, 22, 0, 0},
    {7, "Q5_1", 32, 24, 0, 0},
    {8, "Q8_0", 32, 34, 0, 0},
    {9, "Q8_1", 32, 40, 0, 0},
    {10, "Q2_K", 256, 84, 0, 0},
    {11, "Q3_K", 256, 110, 0, 0},
    {12, "Q4_K", 256, 144, 0, 0},
    {13, "Q5_K", 256, 176, 0, 0},
    {14, "Q6_K", 256, 210, 0, 0},
    {15, "Q8_K", 256, 292, 0, 0},
    {16, "IQ2_XXS", 256, 66, 0, 0},
    {17, "IQ2_XS", 256, 74, 0, 0},
    {18, "IQ3_XXS", 256, 98, 0, 0},
    {19, "IQ1_S", 256, 50, 0, 0},
    {20, "IQ4_NL", 32, 18, 0, 0},
    {21, "IQ3_S", 256, 110, 0, 0},
    {22, "IQ2_S", 256, 82, 0, 0},
    {23, "IQ4_XS", 256, 136, 0, 0},
    {24, "I8", 1, 1, 0, 0},
    {25, "I16", 1, 2, 0, 0},
    {26, "I32", 1, 4, 0, 0},
    {27, "I64", 1, 8, 0, 0},
    {28, "F64", 1, 8, 0, 0},
    {29, "IQ1_M", 256, 56, 0, 0},
    {30, "BF16", 1, 2, 0, 0},
    {34, "TQ1_0", 256, 54, 0, 0},
    {35, "TQ2_0", 256, 66, 0, 0},
    // One stream of 4 codes a byte for the whole tensor; the scale lies in a 32-byte tail.
    {36, "I2_S", 4, 1, 0, 32},
    {134, "IQ1_BN", 64, 13, 2, 0},
    {135, "IQ2_BN", 64, 16, 4, 0},
};

const TypeInfo* Find(GgmlType type) {
  for (const TypeInfo& info : kTypes) {
    if (info.number == static_cast<int32_t>(type)) return &info;
  }
  return nullptr;
}

}  // namespace

std::string GgmlTypeName(GgmlType type) {
  const TypeInfo* info = Find(type);
  return info != nullptr ? info->name : "type " + std::to_string(static_cast<int32_t>(type));
}

std::optional<size_t> GgmlBytes(GgmlType type, size_t rows, size_t cols) {
  const TypeInfo* info = Find(type);
  size_t bytes = 0;
  if (info == nullptr || cols % info->block != 0 ||
      __builtin_mul_overflow(cols / info->block, info->block_bytes, &bytes) ||
      __builtin_add_overflow(bytes, info->row_bytes, &bytes) ||
      __builtin_mul_overflow(bytes, rows, &bytes) ||
      __builtin_add_overflow(bytes, info->tensor_bytes, &bytes)) {
    return std::nullopt;
  }
  return bytes;
}

size_t GgmlBlockSize(GgmlType type) {
  const TypeInfo* info = Find(type);
  return info != nullptr ? info->block : 0;
}

}  // namespace tern
