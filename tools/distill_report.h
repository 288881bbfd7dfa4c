// What `tern distill` tells of disk, progress and result.
#ifndef TERN_TOOLS_DISTILL_REPORT_H_
#define TERN_TOOLS_DISTILL_REPORT_H_

#include <cstdint>
#include <span>
#include <string>

#include "engine/config.h"
#include "tools/report.h"
#include "trainer/distill.h"

namespace tern {

// Bytes of disk that `tokens` take in a cache as `info` describes it; names and headers are small
// beside them.
uint64_t HiddenCacheBytes(const HiddenCacheInfo& info, uint64_t tokens);

// The most tokens that the texts of `prompts` can have.
uint64_t MostTokens(std::span<const DistillPrompt> prompts, int32_t max_tokens,
                    const ModelConfig& config);

// Throws kInternal with figures and what helps where fewer bytes are free for `dir`
// than `tokens` take.
void RequireDistillDisk(const std::string& dir, const HiddenCacheInfo& info, uint64_t tokens);

// "1.5 GB", with the unit that fits.
std::string BytesText(uint64_t bytes);

// Prompts done, tokens per second, disk used and expected, time left.
class DistillProgress {
 public:
  DistillProgress(const HiddenCacheWriter& writer, uint64_t prompts);
  void Update(const DistillCounts& now);

 private:
  HiddenCacheInfo info_;  // as the run began
  uint64_t prompts_;
  Progress progress_;
};

struct DistillResult {
  std::string out;
  const HiddenCacheInfo& info;
  const DistillCounts& counts;
  uint64_t resumed_at = 0;
};
void PrintDistillResult(const DistillResult& result, bool as_json);

}  // namespace tern

#endif  // TERN_TOOLS_DISTILL_REPORT_H_
