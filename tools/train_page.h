// The metrics of a training run as a page with curves.
#ifndef TERN_TOOLS_TRAIN_PAGE_H_
#define TERN_TOOLS_TRAIN_PAGE_H_

#include <string>

namespace tern {

// Of the metrics.jsonl in the run's folder `run`, of whatever was trained: curves for which it has
// no records say so or are left out. Lines that are no JSON are skipped.
std::string TrainPage(const std::string& title, const std::string& run);

}  // namespace tern

#endif  // TERN_TOOLS_TRAIN_PAGE_H_
