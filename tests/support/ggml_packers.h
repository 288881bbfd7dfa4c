// Codes in the ternary types of GGUF that tern reads and does not write.
#ifndef TERN_TESTS_SUPPORT_GGML_PACKERS_H_
#define TERN_TESTS_SUPPORT_GGML_PACKERS_H_

#include <cstdint>
#include <cstring>
#include <vector>

#include "engine/half.h"
#include "kernels/mat_view.h"

namespace tern::test {

// Five (or four) trits a byte, ceil(256 N / 243); trit 0 is the most significant of N.
inline uint8_t PackTrits(const std::vector<int8_t>& codes) {
  unsigned number = 0;
  for (size_t i = 0; i < 5; ++i)
    number = 3 * number + (i < codes.size() ? static_cast<unsigned>(codes[i] + 1) : 0);
  return static_cast<uint8_t>((256 * number + 242) / 243);
}

inline void AppendHalf(float value, std::vector<uint8_t>* bytes) {
  const uint16_t half = FloatToHalf(value);
  bytes->push_back(static_cast<uint8_t>(half));
  bytes->push_back(static_cast<uint8_t>(half >> 8));
}

inline std::vector<uint8_t> PackTq1_0(MatView<const int8_t> codes, float scale) {
  std::vector<uint8_t> bytes;
  for (size_t row = 0; row < codes.rows; ++row) {
    for (size_t first = 0; first < codes.cols; first += 256) {
      const int8_t* w = codes.Row(row) + first;
      for (size_t m = 0; m < 32; ++m)
        bytes.push_back(PackTrits({w[m], w[m + 32], w[m + 64], w[m + 96], w[m + 128]}));
      for (size_t m = 160; m < 176; ++m)
        bytes.push_back(PackTrits({w[m], w[m + 16], w[m + 32], w[m + 48], w[m + 64]}));
      for (size_t m = 240; m < 244; ++m)
        bytes.push_back(PackTrits({w[m], w[m + 4], w[m + 8], w[m + 12]}));
      AppendHalf(scale, &bytes);
    }
  }
  return bytes;
}

inline std::vector<uint8_t> PackIq1Bn(MatView<const int8_t> codes, float scale) {
  std::vector<uint8_t> bytes;
  for (size_t row = 0; row < codes.rows; ++row) {
    AppendHalf(scale, &bytes);
    for (size_t first = 0; first < codes.cols; first += 64) {
      const int8_t* w = codes.Row(row) + first;
      for (size_t i = 0; i < 64; i += i % 16 == 10 ? 6 : 5)  // the first trit is the least
        bytes.push_back(PackTrits({w[i + 4], w[i + 3], w[i + 2], w[i + 1], w[i]}));
      bytes.push_back(PackTrits({-1, w[63], w[47], w[31], w[15]}));
    }
  }
  return bytes;
}

inline std::vector<uint8_t> PackIq2Bn(MatView<const int8_t> codes, float scale) {
  std::vector<uint8_t> bytes;
  for (size_t row = 0; row < codes.rows; ++row) {
    bytes.resize(bytes.size() + sizeof(float));
    std::memcpy(bytes.data() + bytes.size() - sizeof(float), &scale, sizeof(float));
    for (size_t first = 0; first < codes.cols; first += 64) {
      const int8_t* w = codes.Row(row) + first;
      for (size_t j = 0; j < 16; ++j)
        bytes.push_back(static_cast<uint8_t>((w[j] + 1) | (w[j + 16] + 1) << 2 |
                                             (w[j + 32] + 1) << 4 | (w[j + 48] + 1) << 6));
    }
  }
  return bytes;
}

// The order of bitnet.cpp's ARM builds.
inline std::vector<uint8_t> PackI2s64x16(MatView<const int8_t> codes, float scale) {
  std::vector<uint8_t> bytes;
  for (size_t i = 0; i < codes.rows * codes.cols; i += 64) {
    const int8_t* w = codes.data + i;
    for (size_t p = 0; p < 16; ++p)
      bytes.push_back(static_cast<uint8_t>((w[p] + 1) << 6 | (w[p + 16] + 1) << 4 |
                                           (w[p + 32] + 1) << 2 | (w[p + 48] + 1)));
  }
  bytes.resize(bytes.size() + 32);  // the scale once, then nothing
  std::memcpy(bytes.data() + bytes.size() - 32, &scale, sizeof(float));
  return bytes;
}

}  // namespace tern::test

#endif  // TERN_TESTS_SUPPORT_GGML_PACKERS_H_
