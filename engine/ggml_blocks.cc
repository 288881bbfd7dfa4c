#include "engine/ggml_blocks.h"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>

#include "engine/error.h"
#include "engine/half.h"
#include "kernels/bfloat16.h"
#include "kernels/check.h"

namespace tern {
namespace {

uint16_t Load16(const uint8_t* from) { return static_cast<uint16_t>(from[0] | from[1] << 8); }

void ReadHalf(const uint8_t* from, std::span<float> out) {
  for (size_t i = 0; i < out.size(); ++i) out[i] = HalfToFloat(Load16(from + 2 * i));
}

void ReadBFloat(const uint8_t* from, std::span<float> out) {
  for (size_t i = 0; i < out.size(); ++i) out[i] = BFloat16{Load16(from + 2 * i)}.ToFloat();
}

// Blocks of 32: half d, then 32 int8 codes; value d * code.
void ReadQ8_0(const uint8_t* from, std::span<float> out) {
  for (size_t i = 0; i < out.size(); i += 32, from += 34) {
    const float d = HalfToFloat(Load16(from));
    for (size_t j = 0; j < 32; ++j) {
      out[i + j] = static_cast<float>(static_cast<int8_t>(from[2 + j])) * d;
    }
  }
}

// Blocks of 32: half d, then 16 bytes; byte j holds values j (low four bits) and j + 16; value
// d * (code - 8).
void ReadQ4_0(const uint8_t* from, std::span<float> out) {
  for (size_t i = 0; i < out.size(); i += 32, from += 18) {
    const float d = HalfToFloat(Load16(from));
    for (size_t j = 0; j < 16; ++j) {
      out[i + j] = static_cast<float>((from[2 + j] & 15) - 8) * d;
      out[i + j + 16] = static_cast<float>((from[2 + j] >> 4) - 8) * d;
    }
  }
}

// Blocks of 256: low[128], high[64], int8 scale[16], half d; value (d * scale) * (code - 32) with a
// scale for each 16 values. Each half of a block, of 128 values, has 64 bytes of low and 32 of
// high; value 32 m + l (m = 0..3, l = 0..31) has its low four bits in byte 32 (m % 2) + l of low (m
// < 2: the lower four bits of it) and its high two bits in byte l of high, bits 2m.
void ReadQ6_K(const uint8_t* from, std::span<float> out) {
  for (size_t i = 0; i < out.size(); i += 256, from += 210) {
    const float d = HalfToFloat(Load16(from + 208));
    for (size_t j = 0; j < 256; ++j) {
      const size_t half = j / 128, m = j % 128 / 32, l = j % 32;
      const unsigned low = from[64 * half + 32 * (m % 2) + l] >> (m < 2 ? 0 : 4) & 15u;
      const unsigned high = from[128 + 32 * half + l] >> (2 * m) & 3u;
      const float scale = d * static_cast<float>(static_cast<int8_t>(from[192 + j / 16]));
      out[i + j] = scale * static_cast<float>(static_cast<int>(low | high << 4) - 32);
    }
  }
}

// Blocks of 256: half d, half m, 12 bytes of eight scales and eight minima of six bits, 128 bytes
// of codes; value (d * scale) * code - m * minimum, a scale and a minimum for each 32 values.
// Values 64 g + l and 64 g + 32 + l (l = 0..31) have their codes in byte 32 g + l, low four bits
// first.
void ReadQ4_K(const uint8_t* from, std::span<float> out) {
  for (size_t i = 0; i < out.size(); i += 256, from += 144) {
    const float d = HalfToFloat(Load16(from)), m = HalfToFloat(Load16(from + 2));
    const uint8_t* six = from + 4;
    for (size_t part = 0; part < 8; ++part) {
      unsigned scale = six[part] & 63u, minimum = six[(part + 4) % 12] & 63u;
      if (part >= 4) {  // low four bits in bytes 8..11, high two above those of the first four
        scale = (six[part + 4] & 15u) | (six[part - 4] >> 6 << 4);
        minimum = (six[part + 4] >> 4) | (six[part] >> 6 << 4);
      }
      const float step = d * static_cast<float>(scale), least = m * static_cast<float>(minimum);
      for (size_t l = 0; l < 32; ++l) {
        const unsigned code = from[16 + 32 * (part / 2) + l] >> (4 * (part % 2)) & 15u;
        out[i + 32 * part + l] = step * static_cast<float>(code) - least;
      }
    }
  }
}

}  // namespace

bool IsGgmlFloat(GgmlType type) {
  switch (type) {
    case GgmlType::kF32:
    case GgmlType::kF16:
    case GgmlType::kBF16:
    case GgmlType::kQ8_0:
    case GgmlType::kQ6_K:
    case GgmlType::kQ4_K:
    case GgmlType::kQ4_0:
      return true;
    default:
      return false;
  }
}

void ReadGgmlRow(const GgufTensor& tensor, size_t row, std::span<float> out) {
  if (!IsGgmlFloat(tensor.type)) {
    throw Unsupported(tensor.path + ": tensor " + Printable(tensor.name) +
                      ": expected F32, F16, BF16, Q8_0, Q6_K, Q4_K or Q4_0, got " +
                      GgmlTypeName(tensor.type) + "; convert it to one of these");
  }
  TERN_CHECK(row < tensor.rows() && out.size() == tensor.cols()) << row << " " << out.size();
  const size_t row_bytes = tensor.data.size() / tensor.rows();
  const uint8_t* from = reinterpret_cast<const uint8_t*>(tensor.data.data()) + row * row_bytes;
  if (tensor.type == GgmlType::kF32) std::memcpy(out.data(), from, out.size_bytes());
  if (tensor.type == GgmlType::kF16) ReadHalf(from, out);
  if (tensor.type == GgmlType::kBF16) ReadBFloat(from, out);
  if (tensor.type == GgmlType::kQ8_0) ReadQ8_0(from, out);
  if (tensor.type == GgmlType::kQ4_0) ReadQ4_0(from, out);
  if (tensor.type == GgmlType::kQ4_K) ReadQ4_K(from, out);
  if (tensor.type == GgmlType::kQ6_K) ReadQ6_K(from, out);
  for (size_t i = 0; i < out.size(); ++i) {
    if (std::isfinite(out[i])) continue;
    throw BadFile({tensor.path,
                   "tensor " + Printable(tensor.name) + ", row " + std::to_string(row) +
                       ", column " + std::to_string(i),
                   "a finite value", std::to_string(out[i]),
                   "the file is damaged: fetch or convert it again"});
  }
}

}  // namespace tern
