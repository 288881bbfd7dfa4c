// `tern train --benchmark`: what training would take here.
#ifndef TERN_TOOLS_TRAIN_BENCHMARK_H_
#define TERN_TOOLS_TRAIN_BENCHMARK_H_

#include "tools/train_options.h"

namespace tern {

// Of the run that `options` ask for, on the model and data given, or on a shape without either.
// Prints a text, or JSON.
void BenchmarkTraining(const TrainOptions& options, const CommonOptions& common);

}  // namespace tern

#endif  // TERN_TOOLS_TRAIN_BENCHMARK_H_
