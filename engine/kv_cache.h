// Keys and values of many sequences, in blocks of 64 slots addressed through a table per sequence.
//
// A slot is not a position. A sequence has `Length()` committed tokens, whose slots equal their
// positions, and `Pending()` rows that Forward has appended behind them, one slot each in batch
// order. Commit keeps a root-to-node path of the pending rows, moves it to the front and drops the
// rest.
#ifndef TERN_ENGINE_KV_CACHE_H_
#define TERN_ENGINE_KV_CACHE_H_

#include <cstdint>
#include <span>
#include <vector>

#include "engine/config.h"
#include "kernels/aligned_buffer.h"
#include "kernels/attention.h"
#include "kernels/kv_block.h"

namespace tern {

// Not thread-safe: owned by the compute thread.
class KvCache {
 public:
  // Room for `max_blocks` blocks over all sequences; `max_context` slots (committed + pending) in
  // any one. Allocates everything here. Memory: Bytes(config, max_blocks, type).
  KvCache(const ModelConfig& config, int32_t max_sequences, int32_t max_context, int32_t max_blocks,
          KvType type = KvType::kBFloat16);
  static size_t Bytes(const ModelConfig& config, int32_t max_blocks, KvType type);

  // A new empty sequence, or -1 where all max_sequences are in use. Never allocates memory.
  int32_t AddSequence();
  void RemoveSequence(int32_t sequence);

  // All below REQUIRE IsActive(sequence).
  int32_t Length(int32_t sequence) const;   // committed tokens
  int32_t Pending(int32_t sequence) const;  // rows appended and not yet committed
  int32_t max_context() const { return max_context_; }
  // True where `rows` more pending rows fit both the context and the free blocks.
  bool HasRoom(int32_t sequence, int32_t rows) const;
  // For batches over several sequences, which draw on the same free blocks.
  bool FitsContext(int32_t sequence, int32_t rows) const;
  int32_t NewBlocksFor(int32_t sequence, int32_t rows) const;
  int32_t FreeBlocks() const { return static_cast<int32_t>(free_blocks_.size()); }
  int32_t max_sequences() const { return static_cast<int32_t>(sequences_.size()); }
  // True for an index that AddSequence returned and that is still in use.
  bool IsActive(int32_t sequence) const;

  // Appends one pending row and returns its slot. REQUIRES HasRoom(sequence, 1). Called by Forward.
  int32_t AppendPending(int32_t sequence);
  // Keeps `path`, ascending indices of pending rows (each one's parent is the one before it), and
  // drops all other pending rows. Moves at most path.size() rows per layer; slots on the path
  // ascend, so copying forward in place never overwrites a row still to be read.
  void Commit(int32_t sequence, std::span<const int32_t> path);
  void CommitAll(int32_t sequence);  // the pending rows are a chain: keep them all
  void DropPending(int32_t sequence);
  // Forgets committed tokens from `length` on. REQUIRES no pending rows and length <= Length(), and
  // that the block which then is not full any more is not shared.
  void Truncate(int32_t sequence, int32_t length);

  // The sequence's blocks in order; the first Length() / 64 are full of committed tokens.
  const int32_t* BlockTable(int32_t sequence) const;
  // Full blocks can be shared: an empty sequence begins with the committed tokens in `blocks`,
  // which sequences use or which are retained.
  void Share(int32_t sequence, std::span<const int32_t> blocks);
  // The sequence uses the retained `block` in place of its `index`-th one. REQUIRES both to hold
  // the same committed tokens behind the same others: then they hold the same keys and values.
  void Exchange(int32_t sequence, int32_t index, int32_t block);
  // A retained block is not given to others when its sequences are gone. One owner may retain
  // blocks, each once and while a sequence uses it.
  void Retain(int32_t block);
  void Release(int32_t block);
  // Sequences that use the block.
  int32_t Users(int32_t block) const { return blocks_[static_cast<size_t>(block)].users; }
  // Retained blocks that no sequence uses.
  int32_t IdleBlocks() const { return idle_blocks_; }
  KvLayerView Layer(int32_t layer) const;
  // K and V of KV head `head` of the row in `slot`, [head_dim] each: rounded to the cache's type,
  // and as attention reads them.
  void Store(int32_t layer, int32_t sequence, int32_t slot, int32_t head, std::span<const float> k,
             std::span<const float> v);
  void Load(int32_t layer, int32_t sequence, int32_t slot, int32_t head, std::span<float> k,
            std::span<float> v) const;

 private:
  struct Sequence {
    bool active = false;
    int32_t length = 0;   // committed
    int32_t pending = 0;  // behind them
    int32_t blocks = 0;   // entries of the block table in use
  };
  struct Block {
    int32_t users = 0;  // sequences; above 1 once prefixes are shared
    bool retained = false;
  };

  Sequence& At(int32_t sequence);
  const Sequence& At(int32_t sequence) const;
  int32_t* Table(int32_t sequence);
  // Where the slot's block of the KV head begins, in k_ and v_.
  size_t BlockOffset(int32_t layer, int32_t sequence, int32_t slot, int32_t head) const;
  void CopySlot(int32_t sequence, int32_t from, int32_t to);
  void Use(int32_t block);
  void Leave(int32_t block);
  void LeaveBlocksBehind(int32_t sequence);  // those that no committed or pending row lies in

  int32_t layers_, kv_heads_, head_dim_, max_context_;
  int32_t table_width_;  // blocks that max_context_ slots need
  KvType type_;
  size_t block_bytes_;                // of K (or V) of a KV head
  size_t layer_bytes_;                // of K (or V), over all blocks
  AlignedBuffer<std::byte> k_, v_;    // [L, max_blocks, kv, block_bytes], inside as in kv_block.h
  std::vector<Sequence> sequences_;   // [max_sequences]
  std::vector<int32_t> tables_;       // [max_sequences, table_width]
  std::vector<int32_t> free_blocks_;  // a stack
  std::vector<Block> blocks_;         // [max_blocks]
  int32_t idle_blocks_ = 0;
};

}  // namespace tern

#endif  // TERN_ENGINE_KV_CACHE_H_
