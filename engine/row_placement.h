// The forest of a pass: where its rows go, and what each of them sees.
#ifndef TERN_ENGINE_ROW_PLACEMENT_H_
#define TERN_ENGINE_ROW_PLACEMENT_H_

#include "engine/batch.h"
#include "engine/kv_cache.h"
#include "engine/model.h"
#include "engine/workspace.h"

namespace tern {

// Fills sequences, parents, positions, slots, rows and tail_slots of `workspace` for the rows of
// `batch`, and appends them to `cache` as pending rows. All is checked before the cache changes:
// throws Error(kInvalidArgument) as Forward does (engine/transformer.h).
void PlaceRows(const Model& model, const Batch& batch, KvCache& cache, Workspace& workspace);

}  // namespace tern

#endif  // TERN_ENGINE_ROW_PLACEMENT_H_
