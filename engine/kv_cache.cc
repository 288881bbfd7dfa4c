#include "engine/kv_cache.h"

#include <algorithm>
#include <utility>

#include "kernels/check.h"

namespace tern {
namespace {

constexpr int32_t kBlock = static_cast<int32_t>(kKvBlock);

int32_t BlocksOf(int64_t slots) { return static_cast<int32_t>((slots + kBlock - 1) / kBlock); }

size_t InBlock(int32_t slot) { return static_cast<size_t>(slot % kBlock); }

}  // namespace

KvCache::KvCache(const ModelConfig& config, int32_t max_sequences, int32_t max_context,
                 int32_t max_blocks, KvType type)
    : layers_(config.num_hidden_layers),
      kv_heads_(config.num_key_value_heads),
      head_dim_(config.head_dim),
      max_context_(max_context),
      table_width_(BlocksOf(max_context)),
      type_(type),
      block_bytes_(KvBlockBytes(type, static_cast<size_t>(head_dim_))),
      layer_bytes_(static_cast<size_t>(std::max(max_blocks, 0)) * static_cast<size_t>(kv_heads_) *
                   block_bytes_) {
  TERN_CHECK(max_sequences >= 1 && max_context >= 1 && max_blocks >= 1)
      << max_sequences << " sequences, " << max_context << " slots, " << max_blocks << " blocks";
  k_ = AlignedBuffer<std::byte>(layer_bytes_ * static_cast<size_t>(layers_));
  v_ = AlignedBuffer<std::byte>(layer_bytes_ * static_cast<size_t>(layers_));
  sequences_.resize(static_cast<size_t>(max_sequences));
  tables_.resize(static_cast<size_t>(max_sequences) * static_cast<size_t>(table_width_));
  blocks_.resize(static_cast<size_t>(max_blocks));
  free_blocks_.reserve(static_cast<size_t>(max_blocks));
  for (int32_t block = max_blocks; block-- > 0;) free_blocks_.push_back(block);
}

size_t KvCache::Bytes(const ModelConfig& config, int32_t max_blocks, KvType type) {
  return 2 * static_cast<size_t>(config.num_hidden_layers) * static_cast<size_t>(max_blocks) *
         static_cast<size_t>(config.num_key_value_heads) *
         KvBlockBytes(type, static_cast<size_t>(config.head_dim));
}

int32_t KvCache::AddSequence() {
  for (size_t i = 0; i < sequences_.size(); ++i) {
    if (sequences_[i].active) continue;
    sequences_[i] = {.active = true};
    return static_cast<int32_t>(i);
  }
  return -1;
}

void KvCache::RemoveSequence(int32_t sequence) {
  Sequence& s = At(sequence);
  s.length = s.pending = 0;
  LeaveBlocksBehind(sequence);
  s.active = false;
}

bool KvCache::IsActive(int32_t sequence) const {
  return sequence >= 0 && sequence < max_sequences() &&
         sequences_[static_cast<size_t>(sequence)].active;
}

int32_t KvCache::Length(int32_t sequence) const { return At(sequence).length; }
int32_t KvCache::Pending(int32_t sequence) const { return At(sequence).pending; }

bool KvCache::FitsContext(int32_t sequence, int32_t rows) const {
  const Sequence& s = At(sequence);
  return int64_t{s.length} + s.pending + rows <= max_context_;
}

int32_t KvCache::NewBlocksFor(int32_t sequence, int32_t rows) const {
  const Sequence& s = At(sequence);
  return std::max(0, BlocksOf(int64_t{s.length} + s.pending + rows) - s.blocks);
}

bool KvCache::HasRoom(int32_t sequence, int32_t rows) const {
  return FitsContext(sequence, rows) && NewBlocksFor(sequence, rows) <= FreeBlocks();
}

int32_t KvCache::AppendPending(int32_t sequence) {
  Sequence& s = At(sequence);
  TERN_CHECK(HasRoom(sequence, 1)) << "sequence " << sequence << " of " << s.length
                                   << " tokens and " << s.pending << " pending rows";
  const int32_t slot = s.length + s.pending;
  if (slot / kBlock == s.blocks) {
    const int32_t block = free_blocks_.back();
    free_blocks_.pop_back();
    Use(block);
    Table(sequence)[s.blocks++] = block;
  }
  ++s.pending;
  return slot;
}

void KvCache::Commit(int32_t sequence, std::span<const int32_t> path) {
  Sequence& s = At(sequence);
  int32_t kept = 0;
  for (const int32_t row : path) {
    TERN_CHECK(row >= kept && row < s.pending)
        << "pending row " << row << " of " << s.pending << " after " << kept << " kept";
    if (row != kept) CopySlot(sequence, s.length + row, s.length + kept);
    ++kept;
  }
  s.length += kept;
  s.pending = 0;
  LeaveBlocksBehind(sequence);
}

void KvCache::CommitAll(int32_t sequence) {
  Sequence& s = At(sequence);
  s.length += s.pending;
  s.pending = 0;
}

void KvCache::DropPending(int32_t sequence) { Commit(sequence, {}); }

void KvCache::Truncate(int32_t sequence, int32_t length) {
  Sequence& s = At(sequence);
  TERN_CHECK(s.pending == 0 && length >= 0 && length <= s.length)
      << "to " << length << " of " << s.length << " tokens, " << s.pending << " pending rows";
  s.length = length;
  LeaveBlocksBehind(sequence);
  if (length % kBlock == 0) return;
  const Block& last = blocks_[static_cast<size_t>(Table(sequence)[length / kBlock])];
  TERN_CHECK(last.users == 1 && !last.retained) << "block " << length / kBlock << " is shared";
}

void KvCache::Share(int32_t sequence, std::span<const int32_t> blocks) {
  Sequence& s = At(sequence);
  TERN_CHECK(s.blocks == 0 && blocks.size() * kKvBlock <= static_cast<size_t>(max_context_))
      << s.blocks << " blocks in use, " << blocks.size() << " to share";
  for (const int32_t block : blocks) {
    const Block& b = blocks_[static_cast<size_t>(block)];
    TERN_CHECK(b.users > 0 || b.retained) << "block " << block << " is free";
    Use(block);
    Table(sequence)[s.blocks++] = block;
  }
  s.length = s.blocks * kBlock;
}

void KvCache::Exchange(int32_t sequence, int32_t index, int32_t block) {
  TERN_CHECK(index >= 0 && index < At(sequence).length / kBlock)
      << "block " << index << " of " << At(sequence).length << " tokens";
  TERN_CHECK(blocks_[static_cast<size_t>(block)].retained) << "block " << block;
  Use(block);
  Leave(std::exchange(Table(sequence)[index], block));
}

void KvCache::Retain(int32_t block) {
  Block& b = blocks_[static_cast<size_t>(block)];
  TERN_CHECK(b.users > 0 && !b.retained) << "block " << block << " with " << b.users << " users";
  b.retained = true;
}

void KvCache::Release(int32_t block) {
  Block& b = blocks_[static_cast<size_t>(block)];
  TERN_CHECK(b.retained) << "block " << block << " is not retained";
  b.retained = false;
  if (b.users > 0) return;
  --idle_blocks_;
  free_blocks_.push_back(block);
}

void KvCache::Use(int32_t block) {
  Block& b = blocks_[static_cast<size_t>(block)];
  if (b.users++ == 0 && b.retained) --idle_blocks_;
}

void KvCache::Leave(int32_t block) {
  Block& b = blocks_[static_cast<size_t>(block)];
  if (--b.users > 0) return;
  if (b.retained) {
    ++idle_blocks_;
  } else {
    free_blocks_.push_back(block);
  }
}

const int32_t* KvCache::BlockTable(int32_t sequence) const {
  return const_cast<KvCache*>(this)->Table(sequence);
}

KvLayerView KvCache::Layer(int32_t layer) const {
  const size_t begin = static_cast<size_t>(layer) * layer_bytes_;
  return {k_.data() + begin, v_.data() + begin, static_cast<size_t>(kv_heads_),
          static_cast<size_t>(head_dim_), type_};
}

void KvCache::Store(int32_t layer, int32_t sequence, int32_t slot, int32_t head,
                    std::span<const float> k, std::span<const float> v) {
  const size_t block = BlockOffset(layer, sequence, slot, head), in_block = InBlock(slot);
  StoreKey(type_, k, k_.data() + block, in_block);
  StoreValue(type_, v, v_.data() + block, in_block);
}

void KvCache::Load(int32_t layer, int32_t sequence, int32_t slot, int32_t head, std::span<float> k,
                   std::span<float> v) const {
  const size_t block = BlockOffset(layer, sequence, slot, head), in_block = InBlock(slot);
  LoadKey(type_, k_.data() + block, in_block, k);
  LoadValue(type_, v_.data() + block, in_block, v);
}

KvCache::Sequence& KvCache::At(int32_t sequence) {
  TERN_CHECK(IsActive(sequence)) << "sequence " << sequence;
  return sequences_[static_cast<size_t>(sequence)];
}

const KvCache::Sequence& KvCache::At(int32_t sequence) const {
  return const_cast<KvCache*>(this)->At(sequence);
}

int32_t* KvCache::Table(int32_t sequence) {
  return tables_.data() + static_cast<size_t>(sequence) * static_cast<size_t>(table_width_);
}

size_t KvCache::BlockOffset(int32_t layer, int32_t sequence, int32_t slot, int32_t head) const {
  const size_t block = static_cast<size_t>(BlockTable(sequence)[slot / kBlock]);
  return static_cast<size_t>(layer) * layer_bytes_ +
         (block * static_cast<size_t>(kv_heads_) + static_cast<size_t>(head)) * block_bytes_;
}

void KvCache::CopySlot(int32_t sequence, int32_t from, int32_t to) {
  const auto head_dim = static_cast<size_t>(head_dim_);
  for (int32_t layer = 0; layer < layers_; ++layer) {
    for (int32_t head = 0; head < kv_heads_; ++head) {
      const size_t source = BlockOffset(layer, sequence, from, head);
      const size_t target = BlockOffset(layer, sequence, to, head);
      CopyKey(type_, head_dim, k_.data() + source, InBlock(from), k_.data() + target, InBlock(to));
      CopyValue(type_, head_dim, v_.data() + source, InBlock(from), v_.data() + target,
                InBlock(to));
    }
  }
}

void KvCache::LeaveBlocksBehind(int32_t sequence) {
  Sequence& s = At(sequence);
  const int32_t needed = BlocksOf(int64_t{s.length} + s.pending);
  while (s.blocks > needed) {
    Leave(Table(sequence)[--s.blocks]);
  }
}

}  // namespace tern
