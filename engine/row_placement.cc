#include "engine/row_placement.h"

#include <algorithm>
#include <string>

#include "engine/error.h"
#include "kernels/attention.h"
#include "kernels/check.h"
#include "kernels/parallel.h"

namespace tern {
namespace {

struct Placement {
  const Model& model;
  const Batch& batch;
  KvCache& cache;
  Workspace& ws;

  size_t n() const { return batch.tokens.size(); }
};

std::string RowName(size_t row) { return "forward: row " + std::to_string(row); }

void CheckSizes(const Placement& p) {
  const size_t n = p.n();
  if (n == 0 || n > static_cast<size_t>(p.ws.max_rows())) {
    throw InvalidArgument("forward: expected 1 to " + std::to_string(p.ws.max_rows()) +
                          " rows, got " + std::to_string(n));
  }
  for (const auto& list : {p.batch.logit_rows, p.batch.screened_rows}) {
    if (list.size() <= static_cast<size_t>(p.ws.max_logit_rows())) continue;
    throw InvalidArgument("forward: expected at most " + std::to_string(p.ws.max_logit_rows()) +
                          " rows with logits, got " + std::to_string(list.size()));
  }
  if (!p.batch.screened_rows.empty() && !p.model.has_screen())
    throw InvalidArgument("forward: screened rows, but the model has no screen");
  for (const auto& list : {p.batch.sequences, p.batch.parents}) {
    if (list.empty() || list.size() == n) continue;
    throw InvalidArgument("forward: sequences and parents: expected none or one per row (" +
                          std::to_string(n) + "), got " + std::to_string(list.size()));
  }
  for (const auto& list : {p.batch.logit_rows, p.batch.screened_rows}) {
    for (const int32_t row : list) {
      if (row >= 0 && static_cast<size_t>(row) < n) continue;
      throw InvalidArgument("forward: logit row: expected 0 to " + std::to_string(n - 1) +
                            ", got " + std::to_string(row));
    }
  }
  if (ThreadCount() > p.ws.threads()) {
    throw InvalidArgument(
        "forward: " + std::to_string(ThreadCount()) + " threads, but the workspace was made for " +
        std::to_string(p.ws.threads()) + "; set the thread count before making it");
  }
}

// The latest row before `row` of the same sequence, or -1.
int32_t PreviousRow(const Placement& p, size_t row) {
  const AlignedBuffer<int32_t>& sequences = p.ws.sequences;
  for (size_t i = row; i-- > 0;) {
    if (sequences[i] == sequences[row]) return static_cast<int32_t>(i);
  }
  return -1;
}

void CheckRow(const Placement& p, size_t row, int32_t parent, int32_t position) {
  const TokenId token = p.batch.tokens[row];
  const int32_t limit = std::min(p.model.config.max_position_embeddings, p.ws.max_context());
  if (token < 0 || token >= p.model.config.vocab_size) {
    throw InvalidArgument(RowName(row) + ": token id: expected 0 to " +
                          std::to_string(p.model.config.vocab_size - 1) + ", got " +
                          std::to_string(token));
  }
  const bool before = parent >= -1 && parent < static_cast<int32_t>(row);
  if (!before ||
      (parent >= 0 && p.ws.sequences[static_cast<size_t>(parent)] != p.ws.sequences[row])) {
    throw InvalidArgument(RowName(row) +
                          ": parent: expected -1 or an earlier row of its sequence, got " +
                          std::to_string(parent));
  }
  if (position >= limit) {
    throw InvalidArgument(RowName(row) + ": the context holds " + std::to_string(limit) +
                          " tokens and this would be token " + std::to_string(position + 1));
  }
}

// Fills sequences, parents, positions and slots of the workspace, or throws.
void PlaceInWorkspace(const Placement& p) {
  Workspace& ws = p.ws;
  int32_t new_blocks = 0;
  for (size_t row = 0; row < p.n(); ++row) {
    const int32_t sequence = p.batch.sequences.empty() ? 0 : p.batch.sequences[row];
    if (!p.cache.IsActive(sequence)) {
      throw InvalidArgument(RowName(row) + ": no sequence " + std::to_string(sequence) +
                            " in the cache");
    }
    ws.sequences[row] = sequence;
    const int32_t previous = PreviousRow(p, row);
    const int32_t parent = p.batch.parents.empty() ? previous : p.batch.parents[row];
    const int32_t length = p.cache.Length(sequence);
    const bool is_root =
        parent < 0 || parent >= static_cast<int32_t>(row);  // the latter is refused below
    const int32_t position = is_root ? length : ws.positions[static_cast<size_t>(parent)] + 1;
    CheckRow(p, row, parent, position);
    ws.parents[row] = parent;
    ws.positions[row] = position;
    const int32_t first_slot = length + p.cache.Pending(sequence);
    ws.slots[row] = previous < 0 ? first_slot : ws.slots[static_cast<size_t>(previous)] + 1;
    const int32_t added = ws.slots[row] - first_slot;  // rows of the sequence before this one
    new_blocks += p.cache.NewBlocksFor(sequence, added + 1) - p.cache.NewBlocksFor(sequence, added);
    if (!p.cache.FitsContext(sequence, added + 1) || new_blocks > p.cache.FreeBlocks()) {
      throw InvalidArgument(RowName(row) + ": sequence " + std::to_string(sequence) + " of " +
                            std::to_string(first_slot) + " rows has no room in the cache (" +
                            std::to_string(p.cache.max_context()) + " rows a sequence, " +
                            std::to_string(p.cache.FreeBlocks()) + " free blocks)");
    }
  }
}

// What each row may see. As long as a path lies in the slots equal to its positions (a chain does),
// it counts as prefix; from the first row that does not, its slots are listed.
void ListVisibleSlots(const Placement& p) {
  Workspace& ws = p.ws;
  int32_t* const lists = ws.tail_slots.data();
  size_t used = 0;
  for (size_t row = 0; row < p.n(); ++row) {
    const int32_t sequence = ws.sequences[row], parent = ws.parents[row];
    const int32_t slot = p.cache.AppendPending(sequence);
    TERN_CHECK(slot == ws.slots[row]) << "slot " << slot << ", planned " << ws.slots[row];
    AttentionRow& visible = ws.rows[row];
    visible.block_table = p.cache.BlockTable(sequence);
    const AttentionRow* above = parent < 0 ? nullptr : &ws.rows[static_cast<size_t>(parent)];
    const bool above_in_place =
        above == nullptr || (above->tail == 1 && above->tail_slots[0] == above->prefix);
    visible.prefix = above_in_place ? ws.positions[row] : above->prefix;
    const size_t inherited = above_in_place ? 0 : static_cast<size_t>(above->tail);
    const int32_t* const inherited_slots = above_in_place ? nullptr : above->tail_slots;
    // A parent's list that ends where the free space begins is simply continued: chains cost one
    // entry.
    const bool continues = inherited > 0 && inherited_slots + inherited == lists + used;
    visible.tail_slots = continues ? inherited_slots : lists + used;
    if (!continues) {
      std::copy_n(inherited_slots, inherited, lists + used);
      used += inherited;
    }
    lists[used++] = slot;
    visible.tail = static_cast<int32_t>(inherited) + 1;
  }
}

}  // namespace

void PlaceRows(const Model& model, const Batch& batch, KvCache& cache, Workspace& workspace) {
  const Placement p{model, batch, cache, workspace};
  CheckSizes(p);
  PlaceInWorkspace(p);
  ListVisibleSlots(p);
}

}  // namespace tern
