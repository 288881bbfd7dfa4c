#include "engine/ggml_encode.h"

#include <algorithm>
#include <cstring>

#include "engine/half.h"
#include "kernels/bfloat16.h"
#include "kernels/check.h"

namespace tern {
namespace {

unsigned Bits(int8_t code) { return static_cast<unsigned>(code + 1); }

template <class T>
void Append(T value, std::vector<uint8_t>* bytes) {
  const size_t at = bytes->size();
  bytes->resize(at + sizeof(T));
  std::memcpy(bytes->data() + at, &value, sizeof(T));
}

}  // namespace

// Layouts: ggml_ternary.cc.
std::vector<uint8_t> EncodeI2s(MatView<const int8_t> codes, float scale) {
  const size_t values = codes.rows * codes.cols;
  TERN_CHECK(values % 128 == 0) << values;
  std::vector<uint8_t> bytes(values / 4);
  bytes.reserve(values / 4 + 8 * sizeof(float));
  size_t at = 0;  // of the stream, across rows
  for (size_t row = 0; row < codes.rows; ++row) {
    for (const int8_t code : codes.RowSpan(row)) {
      bytes[at / 128 * 32 + at % 32] |=
          static_cast<uint8_t>(Bits(code) << (6 - 2 * (at % 128 / 32)));
      ++at;
    }
  }
  for (int copy = 0; copy < 8; ++copy) Append(scale, &bytes);
  return bytes;
}

std::vector<uint8_t> EncodeTq2_0(MatView<const int8_t> codes, MatView<const float> scales) {
  TERN_CHECK(codes.cols % 256 == 0 && scales.rows == codes.rows && scales.cols == codes.cols / 256)
      << codes.cols << " " << scales.cols;
  std::vector<uint8_t> bytes;
  bytes.reserve(codes.rows * codes.cols / 256 * 66);
  for (size_t row = 0; row < codes.rows; ++row) {
    for (size_t first = 0; first < codes.cols; first += 256) {
      const std::span<const int8_t> block = codes.RowSpan(row).subspan(first, 256);
      for (size_t byte = 0; byte < 64; ++byte) {
        unsigned packed = 0;
        for (size_t n = 0; n < 4; ++n) {
          packed |= Bits(block[byte / 32 * 128 + byte % 32 + 32 * n]) << (2 * n);
        }
        bytes.push_back(static_cast<uint8_t>(packed));
      }
      const bool empty = std::all_of(block.begin(), block.end(), [](int8_t c) { return c == 0; });
      Append(FloatToHalf(empty ? 0.0f : scales.Row(row)[first / 256]), &bytes);
    }
  }
  return bytes;
}

std::vector<uint8_t> EncodeFloats(GgmlType type, std::span<const float> values) {
  std::vector<uint8_t> bytes;
  bytes.reserve(values.size() * (type == GgmlType::kF32 ? 4 : 2));
  for (const float value : values) {
    if (type == GgmlType::kF32) {
      Append(value, &bytes);
    } else if (type == GgmlType::kF16) {
      Append(FloatToHalf(value), &bytes);
    } else {
      TERN_CHECK(type == GgmlType::kBF16) << GgmlTypeName(type);
      Append(BFloat16::FromFloat(value).bits, &bytes);
    }
  }
  return bytes;
}

}  // namespace tern
