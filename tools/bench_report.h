// What `tern bench` writes on stdout: text, or one JSON object (keys: README.md).
#ifndef TERN_TOOLS_BENCH_REPORT_H_
#define TERN_TOOLS_BENCH_REPORT_H_

#include <string>

#include "tools/bench_passes.h"
#include "tools/bench_replay.h"

namespace tern {

void PrintPasses(const PassBenchReport& report, double load_seconds, bool as_json);
// `acceptance` as the user gave it. The report is of a run with `options`.
void PrintReplay(const ReplayReport& report, const ReplayBenchOptions& options,
                 const std::string& acceptance, bool as_json);

}  // namespace tern

#endif  // TERN_TOOLS_BENCH_REPORT_H_
