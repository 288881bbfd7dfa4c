// `tern eval` as a page and as JSON.
#ifndef TERN_TOOLS_EVAL_PAGE_H_
#define TERN_TOOLS_EVAL_PAGE_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "trainer/acceptance.h"

namespace tern {

// What was run, where and how.
struct EvalRun {
  std::string model, cpu, date;  // date: UTC, as text
  int32_t heads = 0;
  int threads = 0;
  int64_t skipped = 0;  // prompts that did not fit
  GenerationOptions generation;
};

// One self-contained page: style and drawings inline, no scripts, no request to anywhere; every tag
// is closed, also for an XML parser. Text from models and files is escaped.
std::string EvalPage(const EvalRun& run, const AcceptanceReport& report);

// The same figures.
nlohmann::ordered_json EvalJson(const EvalRun& run, const AcceptanceReport& report);

}  // namespace tern

#endif  // TERN_TOOLS_EVAL_PAGE_H_
