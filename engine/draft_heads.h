// From the user's wish for draft heads to the drafters of a generator: for every program that
// generates.
#ifndef TERN_ENGINE_DRAFT_HEADS_H_
#define TERN_ENGINE_DRAFT_HEADS_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/drafter.h"
#include "engine/medusa_heads.h"
#include "engine/model.h"

namespace tern {

// The heads that --heads asks for: a directory or file, "none" (null), or nothing given: those
// beside the model in `model_dir`, null where there are none. Throws as LoadMedusaHeads does. What
// the user should read is in the heads' `warning`.
std::shared_ptr<const MedusaHeads> ResolveHeads(const std::string& heads,
                                                const std::string& model_dir, const Model& model);

// What Generator takes beside its own n-gram look-up, for verifications of at most `max_rows` rows:
// a MedusaDrafter where there are heads. `model` outlives the drafters.
std::vector<std::unique_ptr<Drafter>> MakeDrafters(const Model& model,
                                                   std::shared_ptr<const MedusaHeads> heads,
                                                   int32_t max_rows);
// The same for every place of a scheduler; the places share the heads' packed weights.
std::function<std::vector<std::unique_ptr<Drafter>>()> DrafterMaker(
    const Model& model, std::shared_ptr<const MedusaHeads> heads, int32_t max_rows);

}  // namespace tern

#endif  // TERN_ENGINE_DRAFT_HEADS_H_
