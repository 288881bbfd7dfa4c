#include "engine/draft_heads.h"

#include <algorithm>
#include <utility>

#include "engine/medusa_drafter.h"

namespace tern {

std::shared_ptr<const MedusaHeads> ResolveHeads(const std::string& heads,
                                                const std::string& model_dir, const Model& model) {
  if (heads == "none") return nullptr;
  const std::string path = heads.empty() ? HeadsBeside(model_dir) : heads;
  if (path.empty()) return nullptr;
  return std::make_shared<const MedusaHeads>(LoadMedusaHeads(path, model));
}

std::vector<std::unique_ptr<Drafter>> MakeDrafters(const Model& model,
                                                   std::shared_ptr<const MedusaHeads> heads,
                                                   int32_t max_rows) {
  std::vector<std::unique_ptr<Drafter>> drafters;
  if (heads != nullptr && max_rows > 1) {
    // More than fit: a planner may want other nodes than the likeliest.
    drafters.push_back(std::make_unique<MedusaDrafter>(model, std::move(heads), 2 * max_rows));
  }
  return drafters;
}

}  // namespace tern
