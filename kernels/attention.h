// Attention of a forest of rows over a block-table KV cache (design: "One forward pass for
// everything"). A row sees its sequence's committed prefix, its ancestors in the batch and itself,
// and reduces over absolute positions, ascending, in blocks aligned to multiples of 64. So its
// result does not depend on where prefix, chunk or batch end, nor on other rows or threads.
#ifndef TERN_KERNELS_ATTENTION_H_
#define TERN_KERNELS_ATTENTION_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/kv_block.h"
#include "kernels/mat_view.h"

namespace tern {

// K and V of one layer: block b of KV head g begins at byte (b * kv_heads + g) *
// KvBlockBytes(type, head_dim) of each, laid out as in kv_block.h.
struct KvLayerView {
  const std::byte* k = nullptr;
  const std::byte* v = nullptr;
  size_t kv_heads = 0;
  size_t head_dim = 0;
  KvType type = KvType::kBFloat16;
};

// What one row may see. Position p < prefix lies in slot p; position prefix + i in slot
// tail_slots[i], i < tail; the last of them is the row itself. Slot s lies in block block_table[s /
// 64], at s % 64. Tail slots ascend, and none is below its position.
struct AttentionRow {
  const int32_t* block_table = nullptr;
  const int32_t* tail_slots = nullptr;
  int32_t prefix = 0;
  int32_t tail = 0;                                 // >= 1
  int32_t length() const { return prefix + tail; }  // positions seen
};

// Floats of scratch that Attention needs, for `threads` threads and rows whose slots are all below
// max_slots.
size_t AttentionScratchFloats(size_t threads, size_t head_dim, size_t max_slots);

// out[i] = concatenated heads of softmax(q_i k^T / sqrt(head_dim)) v. q, out [n, heads * head_dim];
// query head j reads KV head j / (heads / kv_heads). head_dim is even. Scores, softmax and sums in
// fp32, fixed order per row; int8 K and V are widened exactly, and their scales multiply the score
// of the key and the weight of the value.
void Attention(MatView<const float> q, const KvLayerView& kv, std::span<const AttentionRow> rows,
               size_t heads, std::span<float> scratch, MatView<float> out);

}  // namespace tern

#endif  // TERN_KERNELS_ATTENTION_H_
