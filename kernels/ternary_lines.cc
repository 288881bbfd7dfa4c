#include "kernels/ternary_lines.h"

#include <algorithm>

#include "kernels/check.h"
#include "kernels/parallel.h"

namespace tern {
namespace {

TernaryLines MakeLines(size_t count, size_t length, float scale) {
  TernaryLines lines;
  lines.count = count;
  lines.length = length;
  lines.scale = scale;
  lines.data = AlignedBuffer<uint8_t>(TernaryLinesBytes(count, length));
  return lines;
}

// weights [padded to whole blocks].
void PackLine(const int8_t* weights, size_t blocks, uint8_t* line) {
  for (size_t b = 0; b < blocks; ++b, weights += kLineBlock, line += kLineBlockBytes) {
    for (size_t i = 0; i < kLineBlockBytes; ++i) {
      const auto code = [&](size_t field) {
        return static_cast<unsigned>(weights[field * kLineBlockBytes + i] + 1) << (2 * field);
      };
      line[i] = static_cast<uint8_t>(code(0) | code(1) | code(2) | code(3));
    }
  }
}

AlignedBuffer<int8_t> Unpacked(const TernaryView& w) {
  TERN_CHECK(w.has_one_scale()) << "ternary lines: the matrix has several scales";
  AlignedBuffer<int8_t> weights(w.rows * w.cols);
  UnpackTernary(w, weights.View(w.rows, w.cols));
  return weights;
}

}  // namespace

size_t TernaryLinesBytes(size_t count, size_t length) {
  return count * ((length + kLineBlock - 1) / kLineBlock) * kLineBlockBytes;
}

TernaryLines PackLines(const TernaryView& w) {
  const AlignedBuffer<int8_t> weights = Unpacked(w);
  TernaryLines lines = MakeLines(w.rows, w.cols, w.scale);
  const size_t blocks = lines.blocks();
  ParallelFor(w.rows, RowGrain(w.cols), [&](size_t begin, size_t end) {
    auto padded = AlignedBuffer<int8_t>::Zeroed(blocks * kLineBlock);
    for (size_t r = begin; r < end; ++r) {
      std::copy_n(weights.data() + r * w.cols, w.cols, padded.data());
      PackLine(padded.data(), blocks, lines.data.data() + r * lines.line_bytes());
    }
  });
  return lines;
}

TernaryLines PackLinesOfColumns(const TernaryView& w) {
  constexpr size_t kColumns = 64;  // turned at a time: a cache line of every row
  const AlignedBuffer<int8_t> weights = Unpacked(w);
  TernaryLines lines = MakeLines(w.cols, w.rows, w.scale);
  const size_t padded_rows = lines.blocks() * kLineBlock;
  ParallelFor((w.cols + kColumns - 1) / kColumns, 1, [&](size_t begin, size_t end) {
    auto columns = AlignedBuffer<int8_t>::Zeroed(kColumns * padded_rows);
    for (size_t first = begin * kColumns; first < std::min(end * kColumns, w.cols);
         first += kColumns) {
      const size_t count = std::min(kColumns, w.cols - first);
      for (size_t r = 0; r < w.rows; ++r) {
        const int8_t* row = weights.data() + r * w.cols + first;
        for (size_t c = 0; c < count; ++c) columns[c * padded_rows + r] = row[c];
      }
      for (size_t c = 0; c < count; ++c) {
        PackLine(columns.data() + c * padded_rows, lines.blocks(),
                 lines.data.data() + (first + c) * lines.line_bytes());
      }
    }
  });
  return lines;
}

}  // namespace tern
