#include "kernels/attention.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/attention.cc"
#include <hwy/foreach_target.h>
// After foreach_target.
#include <algorithm>
#include <array>
#include <atomic>

#include "kernels/attention-inl.h"
#include "kernels/kv_bfloat16-inl.h"
#include "kernels/kv_int8-inl.h"
#include "kernels/parallel.h"

HWY_BEFORE_NAMESPACE();
namespace tern {
namespace HWY_NAMESPACE {

void AttendPart(const AttentionPart& part) {
  switch (part.item.kv->type) {
    case KvType::kBFloat16:
      return Attend<BFloat16Kv>(part);
    case KvType::kInt8:
      return Attend<Int8Kv>(part);
  }
}

// `next` [item.partials()] of the segment behind those of `totals`.
void FoldPartials(const AttentionItem& item, float* next, float* totals) {
  const size_t head_dim = item.kv->head_dim;
  for (size_t at = 0; at < item.partials(); at += PartialFloats(head_dim))
    FoldPartial(head_dim, next + at, totals + at);
}

void FinishItem(const AttentionItem& item, float* totals) {
  switch (item.kv->type) {
    case KvType::kBFloat16:
      return WriteOut<BFloat16Kv>(item, totals);
    case KvType::kInt8:
      return WriteOut<Int8Kv>(item, totals);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace tern
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tern {
HWY_EXPORT(AttendPart);
HWY_EXPORT(FoldPartials);
HWY_EXPORT(FinishItem);

namespace {

// Up to so many queries, segments of an item may fall to several threads.
constexpr size_t kSplitQueries = 256;

size_t WholeBlocks(size_t slots) { return (slots + kKvBlock - 1) / kKvBlock * kKvBlock; }
// Rows of scores begin in different sets of the nearest cache.
size_t ScoreStride(size_t slots) { return WholeBlocks(slots) + 16; }

size_t SlotsEnd(const AttentionRow& row) {
  return static_cast<size_t>(row.tail_slots[row.tail - 1]) + 1;
}

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

// One call of Attention: how it falls into items and segments.
class Work {
 public:
  Work(MatView<const float> q, const KvLayerView& kv, std::span<const AttentionRow> rows,
       size_t heads, std::span<float> scratch, MatView<float> out)
      : q_(q), kv_(kv), rows_(rows), scratch_(scratch), out_(out), group_(heads / kv.kv_heads) {
    size_t gap = 0, slots = 0;  // most slots that a position lies behind its own number
    for (const AttentionRow& row : rows) {
      CheckRow(row);
      const auto length = static_cast<size_t>(row.length());
      longest_ = std::max(longest_, length);
      total_length_ += length;
      gap = std::max(gap, SlotsEnd(row) - length);
      slots = std::max(slots, SlotsEnd(row));
    }
    stride_ = ScoreStride(std::min(kSegment + gap, slots));
    parts_ = (group_ + kMaxQueries - 1) / kMaxQueries;
    part_heads_ = (group_ + parts_ - 1) / parts_;
    chunk_rows_ = std::max<size_t>(1, kMaxQueries / part_heads_);
    chunks_ = (rows.size() + chunk_rows_ - 1) / chunk_rows_;
    items_ = kv.kv_heads * parts_ * chunks_;
    thread_floats_ = kMaxQueries * (stride_ + 2 * PartialFloats(kv.head_dim));
  }

  void Run() {
    const auto threads = static_cast<size_t>(ThreadCount());
    const size_t segments = Segments(longest_), queries = rows_.size() * group_ * kv_.kv_heads;
    const bool split = segments > 1 && queries <= kSplitQueries && items_ < 4 * threads;
    const size_t partials = split ? segments * queries * PartialFloats(kv_.head_dim) : 0;
    TERN_CHECK(scratch_.size() >= threads * thread_floats_ + partials)
        << "attention: scratch of " << scratch_.size() << " floats for " << threads
        << " threads, lengths up to " << longest_;
    split ? RunSegments(segments) : RunItems();
  }

 private:
  // Scratch of the range that calls it, not of one that runs beside it.
  float* TakeScratch() { return scratch_.data() + ranges_started_.fetch_add(1) * thread_floats_; }
  size_t Grain(size_t units) const {
    return ProductGrain(2 * total_length_ * group_ * kv_.kv_heads * kv_.head_dim / units);
  }

  // Calls fn for the rows of item `index`, by those that share a block table.
  template <class Fn>
  void ForItems(size_t index, const Fn& fn) const {
    const size_t head_part = index / chunks_, g = head_part / parts_;
    const size_t head = head_part % parts_ * part_heads_;
    const size_t heads = std::min(part_heads_, group_ - head);
    const size_t column = (g * group_ + head) * kv_.head_dim, width = heads * kv_.head_dim;
    size_t row = BalancedItem(index % chunks_, chunks_) * chunk_rows_;
    const size_t rows_end = std::min(rows_.size(), row + chunk_rows_);
    while (row < rows_end) {
      size_t n = 1;
      while (row + n < rows_end && rows_[row + n].block_table == rows_[row].block_table) ++n;
      const AttentionItem item = {&kv_,
                                  g,
                                  rows_.subspan(row, n),
                                  {q_.Row(row) + column, n, width, q_.stride},
                                  {out_.Row(row) + column, n, width, out_.stride},
                                  heads};
      fn(item, row, column);
      row += n;
    }
  }

  // A thread takes whole items.
  void RunItems() {
    const auto attend = HWY_DYNAMIC_DISPATCH(AttendPart);
    const auto fold = HWY_DYNAMIC_DISPATCH(FoldPartials);
    const auto finish = HWY_DYNAMIC_DISPATCH(FinishItem);
    ParallelFor(items_, Grain(items_), [&](size_t begin, size_t end) {
      float* const totals = TakeScratch();
      float* const next = totals + kMaxQueries * PartialFloats(kv_.head_dim);
      float* const scores = next + kMaxQueries * PartialFloats(kv_.head_dim);
      for (size_t index = begin; index < end; ++index) {
        ForItems(index, [&](const AttentionItem& item, size_t, size_t) {
          const size_t longest = LongestOf(item);
          attend({item, 0, scores, stride_, totals});
          for (size_t at = kSegment; at < longest; at += kSegment) {
            attend({item, at, scores, stride_, next});
            fold(item, next, totals);
          }
          finish(item, totals);
        });
      }
    });
  }

  // A thread takes segments; whoever ends an item's last one folds them.
  void RunSegments(size_t segments) {
    const auto attend = HWY_DYNAMIC_DISPATCH(AttendPart);
    std::array<std::atomic<uint32_t>, kSplitQueries> done{};  // [items]
    float* const all = scratch_.data() + static_cast<size_t>(ThreadCount()) * thread_floats_;
    const size_t units = items_ * segments;
    ParallelFor(units, Grain(units), [&](size_t begin, size_t end) {
      float* const scores = TakeScratch();
      for (size_t unit = begin; unit < end; ++unit) {
        const size_t index = unit / segments, segment = unit % segments;
        ForItems(index, [&](const AttentionItem& item, size_t row, size_t column) {
          float* const first = PartialsOf(all, segments, row, column, item);
          if (segment * kSegment < LongestOf(item))
            attend({item, segment * kSegment, scores, stride_, first + segment * item.partials()});
        });
        if (done[index].fetch_add(1, std::memory_order_acq_rel) + 1 == segments)
          FoldItem(index, segments, all);
      }
    });
  }

  void FoldItem(size_t index, size_t segments, float* all) const {
    const auto fold = HWY_DYNAMIC_DISPATCH(FoldPartials);
    const auto finish = HWY_DYNAMIC_DISPATCH(FinishItem);
    ForItems(index, [&](const AttentionItem& item, size_t row, size_t column) {
      float* const totals = PartialsOf(all, segments, row, column, item);
      const size_t seen = Segments(LongestOf(item));
      for (size_t segment = 1; segment < seen; ++segment)
        fold(item, totals + segment * item.partials(), totals);
      finish(item, totals);
    });
  }

  // Of the item's first segment; the others follow. Items lie one behind the other: those before it
  // are all rows of the query heads before its own, and its heads of the rows before.
  float* PartialsOf(float* all, size_t segments, size_t row, size_t column,
                    const AttentionItem& item) const {
    const size_t queries = column / kv_.head_dim * rows_.size() + row * item.heads;
    return all + queries * segments * PartialFloats(kv_.head_dim);
  }

  static size_t LongestOf(const AttentionItem& item) {
    size_t longest = 0;
    for (const AttentionRow& row : item.rows)
      longest = std::max(longest, static_cast<size_t>(row.length()));
    return longest;
  }

  const MatView<const float> q_;
  const KvLayerView& kv_;
  const std::span<const AttentionRow> rows_;
  const std::span<float> scratch_;
  const MatView<float> out_;
  const size_t group_;  // query heads of a KV head
  size_t longest_ = 0, total_length_ = 0;
  size_t stride_;               // of scores
  size_t parts_, part_heads_;   // of a group, and query heads of each
  size_t chunk_rows_, chunks_;  // rows that share an item
  size_t items_, thread_floats_;
  std::atomic<size_t> ranges_started_{0};
};

}  // namespace

size_t AttentionScratchFloats(size_t threads, size_t head_dim, size_t max_slots) {
  const size_t partial = PartialFloats(head_dim);
  return threads * kMaxQueries * (ScoreStride(max_slots) + 2 * partial) +
         Segments(max_slots) * kSplitQueries * partial;
}

void Attention(MatView<const float> q, const KvLayerView& kv, std::span<const AttentionRow> rows,
               size_t heads, std::span<float> scratch, MatView<float> out) {
  TERN_CHECK(kv.kv_heads > 0 && heads % kv.kv_heads == 0 && q.cols == heads * kv.head_dim &&
             out.cols == q.cols && q.rows == rows.size() && out.rows == rows.size() &&
             kv.head_dim % 2 == 0)
      << "attention: q [" << q.rows << ", " << q.cols << "], out [" << out.rows << ", " << out.cols
      << "], " << rows.size() << " rows, " << heads << " heads, " << kv.kv_heads << " KV heads of "
      << kv.head_dim;
  if (!rows.empty()) Work(q, kv, rows, heads, scratch, out).Run();
}

}  // namespace tern
#endif  // HWY_ONCE
