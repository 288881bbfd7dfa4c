// The packed form of a ternary matrix of which single rows or single columns are read: a copy
// beside ternary_pack.h's, in which 32 rows share every line of memory.
//
// A line is one row (PackLines) or one column (PackLinesOfColumns), `length` weights in blocks of
// 256. A block is 64 bytes; byte i holds four codes (weight + 1, so 0, 1 or 2):
//
//     bits 0-1  element i        bits 2-3  element i + 64
//     bits 4-5  element i + 128  bits 6-7  element i + 192
//
// so that (block >> 2f) & 3 is, for f = 0..3, the weights of 64 consecutive elements. A line is one
// piece of memory (640 bytes for 2,560 weights), since shorter ones cost nearly what the skipped
// bytes between them would. Padding, to 256 elements, holds code 1, weight 0.
#ifndef TERN_KERNELS_TERNARY_LINES_H_
#define TERN_KERNELS_TERNARY_LINES_H_

#include <cstddef>
#include <cstdint>

#include "kernels/aligned_buffer.h"
#include "kernels/ternary_pack.h"

namespace tern {

inline constexpr size_t kLineBlockBytes = 64, kLineBlock = 4 * kLineBlockBytes;

struct TernaryLines {
  AlignedBuffer<uint8_t> data;  // [count, blocks(), kLineBlockBytes]
  size_t count = 0, length = 0;
  float scale = 1.0f;

  size_t blocks() const { return (length + kLineBlock - 1) / kLineBlock; }
  size_t line_bytes() const { return blocks() * kLineBlockBytes; }
  const uint8_t* Line(size_t i) const { return data.data() + i * line_bytes(); }
};

// Bytes of the copy of a matrix with `count` lines.
size_t TernaryLinesBytes(size_t count, size_t length);

// The rows of w, in order. REQUIRES one scale. Takes a byte a weight of memory meanwhile.
TernaryLines PackLines(const TernaryView& w);
// Its columns.
TernaryLines PackLinesOfColumns(const TernaryView& w);

}  // namespace tern

#endif  // TERN_KERNELS_TERNARY_LINES_H_
