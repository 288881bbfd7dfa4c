#include "kernels/ternary_pack.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <optional>
#include <span>
#include <vector>

#include "kernels/parallel.h"
#include "kernels/quantize.h"

namespace tern {
namespace {

constexpr size_t kLineBytes = 4 * kTernaryRowGroup;
constexpr uint8_t kZeroWord = 0x55;  // four codes of weight 0

size_t Groups(size_t rows) { return (rows + kTernaryRowGroup - 1) / kTernaryRowGroup; }
size_t Blocks(size_t cols) { return PadK(cols) / kTernaryKAlign; }

TernaryMatrix MakePacked(size_t rows, size_t cols, float scale) {
  TernaryMatrix packed;
  packed.data = AlignedBuffer<uint8_t>(PackedTernaryBytes(rows, cols));
  packed.rows = rows;
  packed.cols = cols;
  packed.scale = scale;
  return packed;
}

// The one value of the positive scales, 0 where all are 0, nothing where they differ.
std::optional<float> OneScale(std::span<const float> scales) {
  float one = 0;
  for (const float scale : scales) {
    if (scale == 0) continue;
    if (one == 0) one = scale;
    if (scale != one) return std::nullopt;
  }
  return one;
}

// The one scale of each row, or nothing where a row has several.
std::optional<std::vector<float>> RowScales(MatView<const float> scales) {
  std::vector<float> rows(scales.rows);
  for (size_t r = 0; r < scales.rows; ++r) {
    const std::optional<float> one = OneScale(scales.RowSpan(r));
    if (!one) return std::nullopt;
    rows[r] = *one;
  }
  return rows;
}

// From [rows, groups] to [groups, PadRows(rows)].
void SetGroupScales(MatView<const float> scales, size_t group_cols, TernaryMatrix* packed) {
  const size_t stride = PadRows(packed->rows);
  packed->group_cols = group_cols;
  packed->group_scales = AlignedBuffer<float>::Zeroed(scales.cols * stride);
  for (size_t r = 0; r < scales.rows; ++r) {
    for (size_t g = 0; g < scales.cols; ++g)
      packed->group_scales[g * stride + r] = scales.Row(r)[g];
  }
}

// Packs 16 weights into the four bytes of their row in a line. Four columns travel in one 32-bit
// word, a byte each; no step carries from one byte into the next: (w & 3) + 1 <= 4, and a code is
// at most 2.
void PackBlock(const int8_t* weights, uint8_t* bytes) {
  uint32_t packed = 0;
  for (size_t f = 0; f < 4; ++f) {
    uint32_t word;
    std::memcpy(&word, weights + 4 * f, sizeof(word));
    packed |= (((word & 0x03030303u) + 0x01010101u) & 0x03030303u) << (2 * f);
  }
  std::memcpy(bytes, &packed, sizeof(packed));
}

// Packs row `in_group` of the group whose first line is `lines`.
void PackRow(const int8_t* weights, size_t cols, size_t in_group, uint8_t* lines) {
  uint8_t* bytes = lines + 4 * in_group;
  size_t c = 0;
  for (; c + kTernaryKAlign <= cols; c += kTernaryKAlign, bytes += kLineBytes)
    PackBlock(weights + c, bytes);
  if (c == cols) return;
  int8_t padded[kTernaryKAlign] = {};
  std::copy(weights + c, weights + cols, padded);
  PackBlock(padded, bytes);
}

// Rows beyond the matrix, in its last group.
void PackZeroRow(size_t cols, size_t in_group, uint8_t* lines) {
  for (size_t b = 0; b < Blocks(cols); ++b)
    std::memset(lines + b * kLineBytes + 4 * in_group, kZeroWord, 4);
}

// Packs a matrix whose row r `row(r)` returns; runs on all threads.
template <class RowFn>
void PackGroups(size_t rows, size_t cols, uint8_t* data, const RowFn& row) {
  const size_t group_bytes = Blocks(cols) * kLineBytes;
  ParallelFor(Groups(rows), RowGrain(group_bytes), [&](size_t begin, size_t end) {
    std::vector<int8_t> scratch(cols);
    for (size_t r = begin * kTernaryRowGroup; r < end * kTernaryRowGroup; ++r) {
      uint8_t* lines = data + r / kTernaryRowGroup * group_bytes;
      const size_t in_group = r % kTernaryRowGroup;
      if (r < rows) {
        PackRow(row(r, scratch.data()), cols, in_group, lines);
      } else {
        PackZeroRow(cols, in_group, lines);
      }
    }
  });
}

// Sum of magnitudes in eight interleaved partial sums: a fixed order that the compiler may
// vectorise.
double SumOfMagnitudes(std::span<const float> row) {
  std::array<double, 8> sums = {};
  size_t i = 0;
  for (; i + sums.size() <= row.size(); i += sums.size()) {
    for (size_t j = 0; j < sums.size(); ++j) sums[j] += std::fabs(static_cast<double>(row[i + j]));
  }
  for (size_t j = 0; i < row.size(); ++i, ++j) sums[j] += std::fabs(static_cast<double>(row[i]));
  return ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7]));
}

}  // namespace

size_t PackedTernaryBytes(size_t rows, size_t cols) {
  return Groups(rows) * Blocks(cols) * kLineBytes;
}

TernaryMatrix PackTernary(MatView<const int8_t> weights, float scale) {
  TernaryMatrix packed = MakePacked(weights.rows, weights.cols, scale);
  PackGroups(weights.rows, weights.cols, packed.data.data(),
             [&](size_t r, int8_t*) { return static_cast<const int8_t*>(weights.Row(r)); });
  return packed;
}

TernaryMatrix PackTernaryGroups(MatView<const int8_t> weights, MatView<const float> scales,
                                size_t group_cols) {
  TERN_CHECK(ValidGroup(group_cols, weights.cols) && scales.rows == weights.rows &&
             scales.cols == (weights.cols + group_cols - 1) / group_cols)
      << "pack: weights [" << weights.rows << ", " << weights.cols << "], scales [" << scales.rows
      << ", " << scales.cols << "] of groups of " << group_cols;
  TernaryMatrix packed = PackTernary(weights, 1.0f);
  const std::optional<std::vector<float>> rows = RowScales(scales);
  if (!rows) {
    SetGroupScales(scales, group_cols, &packed);
  } else if (const std::optional<float> one = OneScale(*rows)) {
    packed.scale = *one > 0 ? *one : 1.0f;  // all weights 0: any scale
  } else {
    SetGroupScales({rows->data(), rows->size(), 1}, weights.cols, &packed);
  }
  return packed;
}

void UnpackTernary(const TernaryView& packed, MatView<int8_t> out) {
  TERN_CHECK(out.rows == packed.rows && out.cols == packed.cols)
      << "unpack: packed [" << packed.rows << ", " << packed.cols << "], out [" << out.rows << ", "
      << out.cols << "]";
  const size_t group_bytes = Blocks(packed.cols) * kLineBytes;
  ParallelFor(out.rows, RowGrain(out.cols), [&](size_t begin, size_t end) {
    for (size_t r = begin; r < end; ++r) {
      const uint8_t* bytes =
          packed.data + r / kTernaryRowGroup * group_bytes + 4 * (r % kTernaryRowGroup);
      int8_t* row = out.Row(r);
      for (size_t c = 0; c < out.cols; ++c) {
        const size_t in_block = c % kTernaryKAlign;
        const uint8_t byte = bytes[c / kTernaryKAlign * kLineBytes + in_block % 4];
        row[c] = static_cast<int8_t>(((byte >> (2 * (in_block / 4))) & 3) - 1);
      }
    }
  });
}

AlignedBuffer<uint8_t> CanonicalTernary(const TernaryView& packed) {
  constexpr size_t kTileRows = 16, kTileBytes = 4 * kTileRows;
  constexpr size_t kTilesPerLine = kTernaryRowGroup / kTileRows;
  const size_t blocks = Blocks(packed.cols), tile_rows = (packed.rows + kTileRows - 1) / kTileRows;
  AlignedBuffer<uint8_t> tiles(tile_rows * blocks * kTileBytes);
  for (size_t t = 0; t < tile_rows; ++t) {
    const uint8_t* line = packed.data + t / kTilesPerLine * blocks * kLineBytes;
    for (size_t b = 0; b < blocks; ++b, line += kLineBytes) {
      std::memcpy(tiles.data() + (t * blocks + b) * kTileBytes,
                  line + t % kTilesPerLine * kTileBytes, kTileBytes);
    }
  }
  return tiles;
}

bool PackFromHuggingFace(const uint8_t* src, size_t rows, size_t cols, float scale,
                         TernaryMatrix* out, size_t* bad_index) {
  TERN_CHECK(rows % 4 == 0) << "hugging face packing needs rows in fours, got " << rows;
  const size_t quarter = rows / 4;
  const auto has_code_three = [](uint8_t byte) { return (byte & (byte >> 1) & 0x55) != 0; };
  if (const uint8_t* bad = std::find_if(src, src + quarter * cols, has_code_three);
      bad != src + quarter * cols) {
    *bad_index = static_cast<size_t>(bad - src);
    return false;
  }
  *out = MakePacked(rows, cols, scale);
  PackGroups(rows, cols, out->data.data(), [&](size_t r, int8_t* scratch) {
    const uint8_t* bytes = src + r % quarter * cols;
    const size_t shift = 2 * (r / quarter);
    for (size_t c = 0; c < cols; ++c)
      scratch[c] = static_cast<int8_t>(((bytes[c] >> shift) & 3) - 1);
    return static_cast<const int8_t*>(scratch);
  });
  return true;
}

void PackToHuggingFace(MatView<const int8_t> weights, uint8_t* dst) {
  TERN_CHECK(weights.rows % 4 == 0)
      << "hugging face packing needs rows in fours, got " << weights.rows;
  const size_t quarter = weights.rows / 4, cols = weights.cols;
  for (size_t r = 0; r < quarter; ++r) {
    for (size_t c = 0; c < cols; ++c) {
      unsigned byte = 0;
      for (size_t part = 0; part < 4; ++part) {
        byte |= static_cast<unsigned>(weights.Row(r + part * quarter)[c] + 1) << (2 * part);
      }
      dst[r * cols + c] = static_cast<uint8_t>(byte);
    }
  }
}

float TernarizeAbsMean(MatView<const float> weights, MatView<int8_t> out) {
  TERN_CHECK(out.rows == weights.rows && out.cols == weights.cols && weights.rows > 0 &&
             weights.cols > 0)
      << "ternarize: weights [" << weights.rows << ", " << weights.cols << "], out [" << out.rows
      << ", " << out.cols << "]";
  std::vector<double> row_sums(weights.rows);
  ParallelFor(weights.rows, RowGrain(weights.cols), [&](size_t begin, size_t end) {
    for (size_t r = begin; r < end; ++r) row_sums[r] = SumOfMagnitudes(weights.RowSpan(r));
  });
  double total = 0;
  for (const double sum : row_sums) total += sum;
  const double count = static_cast<double>(weights.rows) * static_cast<double>(weights.cols);
  const float mean = std::max(static_cast<float>(total / count), 1e-5f);
  ParallelFor(weights.rows, RowGrain(weights.cols), [&](size_t begin, size_t end) {
    for (size_t r = begin; r < end; ++r) {
      const float* w = weights.Row(r);
      int8_t* t = out.Row(r);
      for (size_t c = 0; c < weights.cols; ++c) {
        // round_half_even then clamp: exactly one half rounds to 0, anything above it to 1.
        const float ratio = w[c] / mean;
        t[c] = static_cast<int8_t>((ratio > 0.5f) - (ratio < -0.5f));
      }
    }
  });
  return mean;
}

}  // namespace tern
