#include "kernels/ternary_sparse.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/ternary_sparse.cc"
#include "kernels/foreach_int_target-inl.h"
// After foreach_target.
#include <algorithm>
#include <cstring>

#include "kernels/check.h"
#include "kernels/parallel.h"
#include "kernels/simd-inl.h"
#include "kernels/ternary_sparse-inl.h"

TERN_BEFORE_INT_DOT();
namespace tern {
namespace HWY_NAMESPACE {

// Appends the indices of the lanes in `mask`, which begin at element `first`. May write a whole
// vector.
template <class Mask>
HWY_INLINE size_t Append(Mask mask, size_t first, int32_t* list, size_t count) {
  const IntTag d;
  hn::StoreU(hn::Compress(hn::Iota(d, static_cast<int32_t>(first)), mask), d, list + count);
  return count + hn::CountTrue(d, mask);
}

size_t ListPositiveIn(std::span<const float> x, int32_t* list) {
  const FloatTag df;
  const IntTag d;
  const size_t lanes = hn::Lanes(df);
  const auto listed = [&](FloatVec v) HWY_ATTR {
    return hn::Not(hn::MaskFromVec(hn::VecFromMask(df, hn::Le(v, hn::Zero(df)))));
  };
  size_t count = 0, i = 0;
  for (; i + lanes <= x.size(); i += lanes) {
    const auto mask = hn::RebindMask(d, listed(hn::LoadU(df, x.data() + i)));
    count = Append(mask, i, list, count);
  }
  if (i < x.size()) {  // padded with zeros, which are not listed
    const auto mask = hn::RebindMask(d, listed(LoadPart(df, x.data() + i, x.size() - i)));
    count = Append(mask, i, list, count);
  }
  return count;
}

size_t ListNonZeroIn(std::span<const int8_t> codes, int32_t* list) {
  const IntTag d;
  const hn::Rebind<int8_t, IntTag> d8;
  const size_t lanes = hn::Lanes(d);
  size_t count = 0, i = 0;
  for (; i + lanes <= codes.size(); i += lanes) {
    const auto v = hn::PromoteTo(d, hn::LoadU(d8, codes.data() + i));
    count = Append(hn::Ne(v, hn::Zero(d)), i, list, count);
  }
  for (; i < codes.size(); ++i) {
    list[count] = static_cast<int32_t>(i);
    count += codes[i] != 0;
  }
  return count;
}

// What every line is multiplied with: whole blocks where they lie, the last one padded with zeros.
struct PaddedCodes {
  PaddedCodes(const int8_t* codes, size_t length)
      : whole(codes), whole_blocks(length / kLineBlock) {
    const size_t used = length % kLineBlock;
    std::memcpy(rest, codes + whole_blocks * kLineBlock, used);
    std::memset(rest + used, 0, kLineBlock - used);
  }
  const int8_t* whole;
  size_t whole_blocks;
  HWY_ALIGN int8_t rest[kLineBlock];
};

// The lines listed[begin ..], at most a batch of those before `end`, which is not 0.
LineBatch BatchAt(const TernaryLines& w, std::span<const int32_t> listed, size_t begin,
                  size_t end) {
  LineBatch batch;
  for (size_t i = 0; i < kLineBatch; ++i)
    batch.lines[i] = w.Line(static_cast<size_t>(listed[std::min(begin + i, end - 1)]));
  return batch;
}

// listed[begin .. end] of the outputs.
void RowsRange(const TernaryLines& w, const QuantizedRows& x, std::span<const int32_t> listed,
               float* y, size_t begin, size_t end) {
  const PaddedCodes codes(x.codes.Row(0), w.length);
  const auto codes_at = [&](size_t b) HWY_ATTR {
    return b < codes.whole_blocks ? codes.whole + b * kLineBlock : codes.rest;
  };
  const float scale = x.scales[0] * w.scale;
  LineBatch batch = BatchAt(w, listed, begin, end);
  for (; begin < end; begin += kLineBatch) {
    const LineBatch next = BatchAt(w, listed, begin + kLineBatch, end);
    int32_t dots[kLineBatch];
    RowBatchDots(batch, next, w.blocks(), codes_at, dots);
    for (size_t i = 0; i < std::min(kLineBatch, end - begin); ++i)
      y[listed[begin + i]] = static_cast<float>(dots[i] - x.sums[0]) * scale;
    batch = next;
  }
}

// sums [blocks * kLineBlock] of listed[begin .. end].
void ColumnsRange(const TernaryLines& w, const int8_t* codes, std::span<const int32_t> listed,
                  int32_t* sums, size_t begin, size_t end) {
  std::memset(sums, 0, w.blocks() * kLineBlock * sizeof(int32_t));
  if (begin == end) return;
  LineBatch batch = BatchAt(w, listed, begin, end);
  for (; begin < end; begin += kLineBatch) {
    const LineBatch next = BatchAt(w, listed, begin + kLineBatch, end);
    int8_t batch_codes[kLineBatch] = {};
    for (size_t i = 0; i < std::min(kLineBatch, end - begin); ++i)
      batch_codes[i] = codes[listed[begin + i]];
    AddColumnBatch(batch, next, w.blocks(), batch_codes, sums);
    batch = next;
  }
}

void StoreBlocks(const int32_t* sums, size_t parts, size_t stride, int32_t code_sum, float scale,
                 std::span<float> y, size_t begin, size_t end) {
  for (size_t b = begin; b < end; ++b)
    StoreBlock(sums, parts, stride, b, code_sum, scale, y.data(), y.size());
}

}  // namespace HWY_NAMESPACE
}  // namespace tern
TERN_AFTER_INT_DOT();

#if HWY_ONCE
namespace tern {
HWY_EXPORT(ListPositiveIn);
HWY_EXPORT(ListNonZeroIn);
HWY_EXPORT(RowsRange);
HWY_EXPORT(ColumnsRange);
HWY_EXPORT(StoreBlocks);

namespace {

constexpr size_t kMaxExactK = (size_t{1} << 24) / 127;  // of TernaryMatmul
constexpr size_t kListPadding = 16;                     // lanes of the widest vector

// Lines that are worth a thread: 5 to 10 microseconds of products.
size_t LineGrain(const TernaryLines& w) {
  return (size_t{1} << 19) / (w.blocks() * kLineBlock + 1) + 1;
}

size_t PaddedLength(size_t length) { return (length + kLineBlock - 1) / kLineBlock * kLineBlock; }

void CheckOperands(const TernaryLines& w, size_t k, const QuantizedRows& x, size_t outputs,
                   std::span<const float> y) {
  TERN_CHECK(x.n() == 1 && x.codes.cols == PadK(k) && x.scales.size() == 1 && x.sums.size() == 1 &&
             y.size() == outputs)
      << "sparse ternary product: w of " << w.count << " lines of " << w.length << ", codes ["
      << x.n() << ", " << x.codes.cols << "], y [" << y.size() << "]";
  TERN_CHECK(k <= kMaxExactK) << "sparse ternary product: K = " << k << ", exact up to "
                              << kMaxExactK;
}

}  // namespace

SparseScratch::SparseScratch(size_t most_lines, size_t longest, size_t threads)
    : list(most_lines + kListPadding), sums(threads * PaddedLength(longest)) {}

size_t SparseScratch::Bytes(size_t most_lines, size_t longest, size_t threads) {
  return sizeof(int32_t) * (most_lines + kListPadding + threads * PaddedLength(longest));
}

std::span<const int32_t> ListPositive(std::span<const float> x, SparseScratch& scratch) {
  TERN_CHECK(x.size() + kListPadding <= scratch.list.size()) << x.size() << " values";
  return {scratch.list.data(), TERN_INT_DISPATCH(ListPositiveIn)(x, scratch.list.data())};
}

std::span<const int32_t> ListNonZero(std::span<const int8_t> codes, SparseScratch& scratch) {
  TERN_CHECK(codes.size() + kListPadding <= scratch.list.size()) << codes.size() << " codes";
  return {scratch.list.data(), TERN_INT_DISPATCH(ListNonZeroIn)(codes, scratch.list.data())};
}

void TernaryRowsMatvec(const TernaryLines& w, const QuantizedRows& x,
                       std::span<const int32_t> listed, std::span<float> y) {
  CheckOperands(w, w.length, x, w.count, y);
  std::fill(y.begin(), y.end(), 0.0f);
  const auto range = TERN_INT_DISPATCH(RowsRange);
  ParallelFor(listed.size(), LineGrain(w),
              [&](size_t begin, size_t end) { range(w, x, listed, y.data(), begin, end); });
}

void TernaryColumnsMatvec(const TernaryLines& w, const QuantizedRows& x,
                          std::span<const int32_t> listed, SparseScratch& scratch,
                          std::span<float> y) {
  CheckOperands(w, w.count, x, w.length, y);
  const size_t stride = PaddedLength(w.length);
  const auto threads = static_cast<size_t>(ThreadCount());
  TERN_CHECK(threads * stride <= scratch.sums.size())
      << "sparse ternary product: " << threads << " threads, scratch of " << scratch.sums.size();
  // The columns in as many parts as there are threads with enough of them, each with its own sums:
  // parts of the outputs would be parts of lines.
  const size_t parts = std::clamp<size_t>(listed.size() / LineGrain(w), 1, threads);
  const auto columns = TERN_INT_DISPATCH(ColumnsRange);
  int32_t* const sums = scratch.sums.data();
  ParallelFor(parts, 1, [&](size_t begin, size_t end) {
    for (size_t p = begin; p < end; ++p) {
      columns(w, x.codes.Row(0), listed, sums + p * stride, listed.size() * p / parts,
              listed.size() * (p + 1) / parts);
    }
  });
  const auto store = TERN_INT_DISPATCH(StoreBlocks);
  ParallelFor(w.blocks(), RowGrain(parts * kLineBlock), [&](size_t begin, size_t end) {
    store(sums, parts, stride, x.sums[0], x.scales[0] * w.scale, y, begin, end);
  });
}

}  // namespace tern
#endif  // HWY_ONCE
