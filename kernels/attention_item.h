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

// Rows over one block table, and one KV head with some of the query heads of its group. Query n is
// head n % heads of row n / heads.
struct AttentionItem {
  const KvLayerView* kv;
  size_t kv_head;
  std::span<const AttentionRow> rows;
  MatView<const float> q;  // row i belongs to rows[i]; begins with the first of the heads
  MatView<float> out;      // as q
  size_t heads;
  float* scores;  // [kMaxQueries, score_stride]
  size_t score_stride;
  float* sums;  // [kMaxQueries, SumFloats(head_dim)]
  size_t end;   // the slots of the rows' positions are below it

  size_t queries() const { return rows.size() * heads; }
  const AttentionRow& RowOf(size_t query) const { return rows[query / heads]; }
  size_t Offset(size_t query) const { return query % heads * kv->head_dim; }
  const float* Q(size_t query) const { return q.Row(query / heads) + Offset(query); }
  float* Out(size_t query) const { return out.Row(query / heads) + Offset(query); }
  float* Scores(size_t query) const { return scores + query * score_stride; }
  // Where the block of `slot` begins, in K and in V, in bytes.
  size_t BlockOffset(size_t slot) const {
    const auto block = static_cast<size_t>(rows[0].block_table[slot / kKvBlock]);
    return (block * kv->kv_heads + kv_head) * KvBlockBytes(kv->type, kv->head_dim);
  }
  // That of the block after it, to be asked for early; the same one where there is none.
  size_t NextBlockOffset(size_t slot) const {
    return BlockOffset(slot / kKvBlock * kKvBlock + kKvBlock < end ? slot + kKvBlock : slot);
  }
};

// Floats that hold the sums over V of a query: whole pairs of the widest vectors.
inline size_t SumFloats(size_t head_dim) { return (head_dim + 31) / 32 * 32; }

// Slots that a row's positions lie in are all below this.
inline size_t SlotsEnd(const AttentionRow& row) {
  return static_cast<size_t>(row.tail_slots[row.tail - 1]) + 1;
}

}  // namespace tern

#endif  // TERN_KERNELS_ATTENTION_ITEM_H_
