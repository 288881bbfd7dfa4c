#include "kernels/attention.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/attention.cc"
#include <hwy/foreach_target.h>
// After foreach_target.
#include <algorithm>
#include <atomic>

#include "kernels/attention-inl.h"
#include "kernels/kv_bfloat16-inl.h"
#include "kernels/kv_int8-inl.h"
#include "kernels/parallel.h"

HWY_BEFORE_NAMESPACE();
namespace tern {
namespace HWY_NAMESPACE {

void AttendItem(const AttentionItem& item) {
  switch (item.kv->type) {
    case KvType::kBFloat16:
      return Attend<BFloat16Kv>(item);
    case KvType::kInt8:
      return Attend<Int8Kv>(item);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace tern
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tern {
HWY_EXPORT(AttendItem);

namespace {

size_t ScoreStride(size_t slots) { return (slots + kKvBlock - 1) / kKvBlock * kKvBlock; }

// Item i of n, taken from alternating ends: with causal rows, whose cost rises, every contiguous
// range of items then costs about the same.
size_t BalancedItem(size_t i, size_t n) { return i % 2 == 0 ? i / 2 : n - 1 - i / 2; }

void CheckRow(const AttentionRow& row) {
  bool tail_ascends = row.prefix >= 0 && row.tail >= 1 && row.tail_slots[0] >= row.prefix;
  for (int32_t i = 1; tail_ascends && i < row.tail; ++i) {
    tail_ascends = row.tail_slots[i] > row.tail_slots[i - 1];
  }
  TERN_CHECK(tail_ascends) << "attention: prefix " << row.prefix << ", tail " << row.tail;
}

}  // namespace

size_t AttentionScratchFloats(size_t threads, size_t head_dim, size_t max_slots) {
  return threads * kMaxQueries * (ScoreStride(max_slots) + SumFloats(head_dim));
}

void Attention(MatView<const float> q, const KvLayerView& kv, std::span<const AttentionRow> rows,
               size_t heads, std::span<float> scratch, MatView<float> out) {
  TERN_CHECK(kv.kv_heads > 0 && heads % kv.kv_heads == 0 && q.cols == heads * kv.head_dim &&
             out.cols == q.cols && q.rows == rows.size() && out.rows == rows.size() &&
             kv.head_dim % 2 == 0)
      << "attention: q [" << q.rows << ", " << q.cols << "], out [" << out.rows << ", " << out.cols
      << "], " << rows.size() << " rows, " << heads << " heads, " << kv.kv_heads << " KV heads of "
      << kv.head_dim;
  if (rows.empty()) return;
  size_t max_slots = 0, total_length = 0;
  for (const AttentionRow& row : rows) {
    CheckRow(row);
    max_slots = std::max(max_slots, SlotsEnd(row));
    total_length += static_cast<size_t>(row.length());
  }
  const auto threads = static_cast<size_t>(ThreadCount());
  const size_t group = heads / kv.kv_heads, stride = ScoreStride(max_slots);
  const size_t scratch_floats = kMaxQueries * (stride + SumFloats(kv.head_dim));
  TERN_CHECK(scratch.size() >= threads * scratch_floats)
      << "attention: scratch of " << scratch.size() << " floats for " << threads
      << " threads, slots below " << max_slots;

  const auto attend = HWY_DYNAMIC_DISPATCH(AttendItem);
  // A unit of work is a query head of some rows. Those of a KV head and its rows follow each other
  // and share an item, unless they fall to two threads.
  const size_t shared = std::max<size_t>(1, kMaxQueries / group);
  const size_t chunks = (rows.size() + shared - 1) / shared;
  const size_t unit_products = 2 * total_length / chunks * kv.head_dim;
  std::atomic<size_t> ranges_started{0};  // gives each range a scratch of its own
  ParallelFor(
      kv.kv_heads * chunks * group, ProductGrain(unit_products), [&](size_t begin, size_t end) {
        float* const scores = scratch.data() + ranges_started.fetch_add(1) * scratch_floats;
        for (size_t unit = begin; unit < end;) {
          const size_t head = unit % group, item = unit / group, g = item / chunks;
          const size_t count = std::min({group - head, end - unit, kMaxQueries});
          const size_t column = (g * group + head) * kv.head_dim, width = count * kv.head_dim;
          size_t row = BalancedItem(item % chunks, chunks) * shared;
          const size_t rows_end = std::min(rows.size(), row + shared);
          while (row < rows_end) {
            size_t same = row + 1;  // rows from `row` on that share a block table
            size_t slots_end = SlotsEnd(rows[row]);
            while (same < rows_end && rows[same].block_table == rows[row].block_table)
              slots_end = std::max(slots_end, SlotsEnd(rows[same++]));
            const size_t n = same - row;
            attend({&kv,
                    g,
                    rows.subspan(row, n),
                    {q.Row(row) + column, n, width, q.stride},
                    {out.Row(row) + column, n, width, out.stride},
                    count,
                    scores,
                    stride,
                    scores + kMaxQueries * stride,
                    slots_end});
            row = same;
          }
          unit += count;
        }
      });
}

}  // namespace tern
#endif  // HWY_ONCE
