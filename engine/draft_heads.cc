#include "engine/draft_heads.h"

#include <utility>

#include "engine/draft_logits.h"
#include "engine/medusa_drafter.h"
#include "kernels/check.h"

namespace tern {

std::shared_ptr<const MedusaHeads> ResolveHeads(const std::string& heads,
                                                const std::string& model_dir, const Model& model) {
  if (heads == "none") return nullptr;
  const std::string path = heads.empty() ? HeadsBeside(model_dir) : heads;
  if (path.empty()) return nullptr;
  return std::make_shared<const MedusaHeads>(LoadMedusaHeads(path, model));
}

std::function<std::vector<std::unique_ptr<Drafter>>()> DrafterMaker(
    const Model& model, std::shared_ptr<const MedusaHeads> heads, int32_t max_rows) {
  std::shared_ptr<DraftLogits> logits;
  if (heads != nullptr && max_rows > 1) {
    TERN_CHECK(heads->hidden_size == model.config.hidden_size)
        << "heads of " << heads->hidden_size << ", model of " << model.config.hidden_size;
    logits = std::make_shared<DraftLogits>(model, *heads);
  }
  return [logits, max_rows] {
    std::vector<std::unique_ptr<Drafter>> drafters;
    // More than fit: a planner may want other nodes than the likeliest.
    if (logits) drafters.push_back(std::make_unique<MedusaDrafter>(logits, 2 * max_rows));
    return drafters;
  };
}

std::vector<std::unique_ptr<Drafter>> MakeDrafters(const Model& model,
                                                   std::shared_ptr<const MedusaHeads> heads,
                                                   int32_t max_rows) {
  return DrafterMaker(model, std::move(heads), max_rows)();
}

}  // namespace tern
