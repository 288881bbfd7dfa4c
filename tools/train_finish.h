// What `tern train` adds to heads when they are trained.
#ifndef TERN_TOOLS_TRAIN_FINISH_H_
#define TERN_TOOLS_TRAIN_FINISH_H_

#include <nlohmann/json.hpp>
#include <string>

#include "engine/model.h"
#include "tools/commands.h"
#include "tools/train_options.h"
#include "trainer/hidden_cache.h"

namespace tern {

struct TrainedOn {
  const std::string& model_dir;
  const Model& model;
  const HiddenCache& cache;
};

// To the heads in options.out: the sample that they are checked by when they load, the calibration,
// both of held-out texts, and options.gguf. Says on stderr what was done and returns it. The files
// depend on heads, model and data alone.
nlohmann::ordered_json FinishHeads(const TrainedOn& trained_on, const TrainOptions& options,
                                   const CommonOptions& common);

}  // namespace tern

#endif  // TERN_TOOLS_TRAIN_FINISH_H_
