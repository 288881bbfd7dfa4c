// A piece of work of Attention: some rows, one KV head, some of its query heads. For attention.cc.
#ifndef TERN_KERNELS_ATTENTION_ITEM_H_
#define TERN_KERNELS_ATTENTION_ITEM_H_

#include <cstddef>
#include <span>

#include "kernels/attention.h"

namespace tern {

// Queries (a query head of a row) that meet a block of K or V while it is in the nearest cache, at
// most: beside a block, their scores and sums stay in the next one.
inline constexpr size_t kMaxQueries = 24;

// Positions are reduced by segments: scores, their maximum and the sums over V of each on its own,
// then the segments one after the other, ascending, by the rule of FoldPartial. A segment is what
// one thread takes where rows are few; it bounds what must stay in a cache between K and V.
inline constexpr size_t kSegment = 512;
static_assert(kSegment % kKvBlock == 0);
inline size_t Segments(size_t positions) { return (positions + kSegment - 1) / kSegment; }

// Floats that hold the sums over V of a query: whole pairs of the widest vectors.
inline size_t SumFloats(size_t head_dim) { return (head_dim + 31) / 32 * 32; }

// What a segment, or several, gave a query: sum(exp(score - max) * v), then max, then
// sum(exp(score - max)), which is 0 where the query sees no position of them.
inline size_t PartialFloats(size_t head_dim) { return SumFloats(head_dim) + 16; }
inline float& PartialMax(float* partial, size_t head_dim) { return partial[SumFloats(head_dim)]; }
inline float& PartialSum(float* partial, size_t head_dim) {
  return partial[SumFloats(head_dim) + 1];
}

// Rows over one block table, and one KV head with some of the query heads of its group. Query n is
// head n % heads of row n / heads.
struct AttentionItem {
  const KvLayerView* kv;
  size_t kv_head;
  std::span<const AttentionRow> rows;
  MatView<const float> q;  // row i belongs to rows[i]; begins with the first of the heads
  MatView<float> out;      // as q
  size_t heads;

  size_t queries() const { return rows.size() * heads; }
  size_t partials() const { return queries() * PartialFloats(kv->head_dim); }  // floats
  const AttentionRow& RowOf(size_t query) const { return rows[query / heads]; }
  size_t Offset(size_t query) const { return query % heads * kv->head_dim; }
  const float* Q(size_t query) const { return q.Row(query / heads) + Offset(query); }
  float* Out(size_t query) const { return out.Row(query / heads) + Offset(query); }
  // Where the block of `slot` begins, in K and in V, in bytes.
  size_t BlockOffset(size_t slot) const {
    const auto block = static_cast<size_t>(rows[0].block_table[slot / kKvBlock]);
    return (block * kv->kv_heads + kv_head) * KvBlockBytes(kv->type, kv->head_dim);
  }
};

// The part of an item that one segment is, and room for it.
struct AttentionPart {
  const AttentionItem& item;
  size_t begin;   // position, a multiple of kSegment
  float* scores;  // [queries, score_stride], of positions from `begin` on
  size_t score_stride;
  float* partials;  // [queries, PartialFloats], the result

  size_t end() const { return begin + kSegment; }  // positions; rows may end before
  // Positions of the segment that a row sees.
  size_t Seen(const AttentionRow& row) const {
    const auto length = static_cast<size_t>(row.length());
    return length <= begin ? 0 : (length < end() ? length : end()) - begin;
  }
  float* Scores(size_t query) const { return scores + query * score_stride; }
  float* Partial(size_t query) const { return partials + query * PartialFloats(item.kv->head_dim); }
};

// The slot of a position that the row sees.
inline size_t SlotOf(const AttentionRow& row, size_t position) {
  const auto prefix = static_cast<size_t>(row.prefix);
  return position < prefix ? position : static_cast<size_t>(row.tail_slots[position - prefix]);
}
}  // namespace tern

#endif  // TERN_KERNELS_ATTENTION_ITEM_H_
