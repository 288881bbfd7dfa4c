#include "tools/heads.h"

#include <cstdio>

namespace tern {

std::shared_ptr<const MedusaHeads> HeadsFor(const CommonOptions& common,
                                            const std::string& model_dir, const Model& model) {
  std::shared_ptr<const MedusaHeads> heads = ResolveHeads(common.heads, model_dir, model);
  if (heads != nullptr && !heads->warning.empty())
    std::fprintf(stderr, "tern: warning: %s\n", heads->warning.c_str());
  return heads;
}

}  // namespace tern
