// The draft heads of a command.
#ifndef TERN_TOOLS_HEADS_H_
#define TERN_TOOLS_HEADS_H_

#include <memory>
#include <string>

#include "engine/draft_heads.h"
#include "tools/commands.h"

namespace tern {

// ResolveHeads for --heads; prints the heads' warning on stderr.
std::shared_ptr<const MedusaHeads> HeadsFor(const CommonOptions& common,
                                            const std::string& model_dir, const Model& model);

}  // namespace tern

#endif  // TERN_TOOLS_HEADS_H_
