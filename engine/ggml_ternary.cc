#include "engine/ggml_ternary.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "engine/error.h"
#include "engine/half.h"
#include "kernels/check.h"

namespace tern {
namespace {

constexpr size_t kTqBlock = 256;
constexpr char kDamaged[] = "the file is damaged: fetch or convert it again";

float LoadHalf(const uint8_t* from) {
  return HalfToFloat(static_cast<uint16_t>(from[0] | from[1] << 8));
}

float LoadFloat(const uint8_t* from) {
  float value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

int8_t Code(unsigned bits) { return static_cast<int8_t>(static_cast<int>(bits & 3u) - 1); }

// Sets a bit where one of the four codes in `byte` is 3.
uint8_t Invalid(uint8_t byte) { return static_cast<uint8_t>(byte & (byte >> 1) & 0x55u); }

// Trit `power` of a byte that holds five of them as ceil(256 N / 243): 3^power shifts it to the
// front of the fraction N / 243, where the product with 3 reads it.
int8_t Trit(uint8_t byte, unsigned multiplier) {
  const unsigned fraction = byte * multiplier & 255u;
  return static_cast<int8_t>(static_cast<int>(fraction * 3 >> 8) - 1);
}
constexpr unsigned kPowersOf3[] = {1, 3, 9, 27, 81};

// Four codes a byte in blocks of 4 * kLane values: byte p holds values p, p + lane, p + 2 lane,
// p + 3 lane at bits 6, 4, 2, 0. Blocks follow each other across rows. Returns false for code 3.
template <size_t kLane>
bool ReadI2sBlocks(const uint8_t* data, size_t first, std::span<int8_t> codes) {
  constexpr size_t kBlock = 4 * kLane;
  uint8_t invalid = 0;
  size_t i = 0;
  for (; first % kBlock == 0 && i + kBlock <= codes.size(); i += kBlock) {
    const uint8_t* block = data + (first + i) / 4;
    int8_t* out = codes.data() + i;
    for (size_t p = 0; p < kLane; ++p) {
      const uint8_t byte = block[p];
      invalid |= Invalid(byte);
      out[p] = Code(byte >> 6);
      out[p + kLane] = Code(byte >> 4);
      out[p + 2 * kLane] = Code(byte >> 2);
      out[p + 3 * kLane] = Code(byte);
    }
  }
  for (; i < codes.size(); ++i) {  // rows that begin or end within a block
    const size_t at = first + i, part = at % kBlock / kLane;
    const uint8_t byte = data[at / kBlock * kLane + at % kLane];
    const unsigned code = byte >> (6 - 2 * part) & 3u;
    invalid |= static_cast<uint8_t>(code == 3);
    codes[i] = Code(code);
  }
  return invalid == 0;
}

// Blocks of 256: codes[64], half scale. Byte 32 h + m (h = 0, 1; m = 0..31) holds values
// 128 h + m + 32 n at bits 2n, n = 0..3.
bool ReadTq2_0(const uint8_t* row, std::span<int8_t> codes, std::span<float> scales) {
  uint8_t invalid = 0;
  for (size_t block = 0; block < scales.size(); ++block, row += 66) {
    scales[block] = LoadHalf(row + 64);
    for (size_t half = 0; half < 2; ++half) {
      const uint8_t* from = row + 32 * half;
      int8_t* out = codes.data() + kTqBlock * block + 128 * half;
      for (size_t m = 0; m < 32; ++m) {
        invalid |= Invalid(from[m]);
        for (size_t n = 0; n < 4; ++n) out[m + 32 * n] = Code(from[m] >> (2 * n));
      }
    }
  }
  return invalid == 0;
}

// Blocks of 256: 48 bytes of five trits, 4 bytes of four, half scale; the first trit is the most
// significant. Bytes m = 0..31 hold values m + 32 n, bytes 32 + m (m = 0..15) values
// 160 + m + 16 n, bytes 48 + m (m = 0..3) values 240 + m + 4 n.
void ReadTq1_0(const uint8_t* row, std::span<int8_t> codes, std::span<float> scales) {
  for (size_t block = 0; block < scales.size(); ++block, row += 54) {
    scales[block] = LoadHalf(row + 52);
    int8_t* out = codes.data() + kTqBlock * block;
    for (size_t n = 0; n < 5; ++n) {
      for (size_t m = 0; m < 32; ++m) out[m + 32 * n] = Trit(row[m], kPowersOf3[n]);
      for (size_t m = 0; m < 16; ++m) out[160 + m + 16 * n] = Trit(row[32 + m], kPowersOf3[n]);
    }
    for (size_t n = 0; n < 4; ++n) {
      for (size_t m = 0; m < 4; ++m) out[240 + m + 4 * n] = Trit(row[48 + m], kPowersOf3[n]);
    }
  }
}

// float scale, then blocks of 64: byte j (0..15) holds values j, j + 16, j + 32, j + 48 at bits 0,
// 2, 4, 6.
bool ReadIq2Bn(const uint8_t* row, std::span<int8_t> codes, std::span<float> scales) {
  scales[0] = LoadFloat(row);
  uint8_t invalid = 0;
  row += 4;
  for (size_t i = 0; i < codes.size(); i += 64, row += 16) {
    for (size_t j = 0; j < 16; ++j) {
      invalid |= Invalid(row[j]);
      for (size_t n = 0; n < 4; ++n) codes[i + j + 16 * n] = Code(row[j] >> (2 * n));
    }
  }
  return invalid == 0;
}

// half scale, then blocks of 64 in 13 bytes: byte 3 g + b (g = 0..3, b = 0..2) holds values
// 16 g + 5 b + j, j = 0..4, byte 12 the values 16 g + 15; here the first trit is the least
// significant.
void ReadIq1Bn(const uint8_t* row, std::span<int8_t> codes, std::span<float> scales) {
  scales[0] = LoadHalf(row);
  row += 2;
  for (size_t i = 0; i < codes.size(); i += 64, row += 13) {
    for (size_t g = 0; g < 4; ++g) {
      for (size_t b = 0; b < 3; ++b) {
        for (size_t j = 0; j < 5; ++j) {
          codes[i + 16 * g + 5 * b + j] = Trit(row[3 * g + b], kPowersOf3[4 - j]);
        }
      }
      codes[i + 16 * g + 15] = Trit(row[12], kPowersOf3[4 - g]);
    }
  }
}

bool ReadI2s(const GgufTensor& tensor, size_t row, I2sOrder order, std::span<int8_t> codes,
             std::span<float> scales) {
  const size_t values = tensor.rows() * tensor.cols();
  const size_t block = order == I2sOrder::k128x32 ? 128 : 64;
  if (values % block != 0) {
    throw Unsupported(tensor.path + ": tensor " + Printable(tensor.name) +
                      ": I2_S: expected a multiple of " + std::to_string(block) + " values, got " +
                      std::to_string(values) + "; convert the model to TQ2_0");
  }
  const auto* data = reinterpret_cast<const uint8_t*>(tensor.data.data());
  // The tail has eight copies of the scale or one and no promise about the rest.
  scales[0] = LoadFloat(data + values / 4);
  const size_t first = row * tensor.cols();
  return order == I2sOrder::k128x32 ? ReadI2sBlocks<32>(data, first, codes)
                                    : ReadI2sBlocks<16>(data, first, codes);
}

}  // namespace

bool IsGgmlTernary(GgmlType type) {
  switch (type) {
    case GgmlType::kI2_S:
    case GgmlType::kTQ1_0:
    case GgmlType::kTQ2_0:
    case GgmlType::kIQ1_BN:
    case GgmlType::kIQ2_BN:
      return true;
    default:
      return false;
  }
}

size_t GgmlScaleGroup(GgmlType type, size_t cols) {
  return type == GgmlType::kTQ1_0 || type == GgmlType::kTQ2_0 ? kTqBlock : cols;
}

void ReadTernaryRow(const GgufTensor& tensor, size_t row, I2sOrder order, std::span<int8_t> codes,
                    std::span<float> scales) {
  const size_t group = GgmlScaleGroup(tensor.type, tensor.cols());
  TERN_CHECK(IsGgmlTernary(tensor.type) && row < tensor.rows() && codes.size() == tensor.cols() &&
             scales.size() == codes.size() / group)
      << GgmlTypeName(tensor.type) << " " << row << " " << codes.size() << " " << scales.size();
  const auto* from = reinterpret_cast<const uint8_t*>(tensor.data.data());
  from += row * (tensor.data.size() / tensor.rows());  // not for I2_S, which has a tail
  bool valid = true;
  if (tensor.type == GgmlType::kI2_S) valid = ReadI2s(tensor, row, order, codes, scales);
  if (tensor.type == GgmlType::kTQ1_0) ReadTq1_0(from, codes, scales);
  if (tensor.type == GgmlType::kTQ2_0) valid = ReadTq2_0(from, codes, scales);
  if (tensor.type == GgmlType::kIQ1_BN) ReadIq1Bn(from, codes, scales);
  if (tensor.type == GgmlType::kIQ2_BN) valid = ReadIq2Bn(from, codes, scales);
  const auto where = [&] {
    return "tensor " + Printable(tensor.name) + ", row " + std::to_string(row);
  };
  if (!valid) {
    throw BadFile({tensor.path, where(), "codes 0, 1 and 2", "code 3", kDamaged});
  }
  for (size_t i = 0; i < scales.size(); ++i) {
    if (!std::isfinite(scales[i]) || scales[i] < 0) {
      throw BadFile({tensor.path, where() + ", scale " + std::to_string(i), "0 or more, finite",
                     std::to_string(scales[i]), kDamaged});
    }
    if (scales[i] == 0) std::fill_n(codes.begin() + static_cast<ptrdiff_t>(i * group), group, 0);
  }
}

}  // namespace tern
