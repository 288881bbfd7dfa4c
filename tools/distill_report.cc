#include "tools/distill_report.h"

#include <algorithm>
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>

#include "engine/disk_space.h"
#include "engine/error.h"
#include "kernels/bfloat16.h"

namespace tern {

uint64_t HiddenCacheBytes(const HiddenCacheInfo& info, uint64_t tokens) {
  uint64_t token = sizeof(TokenId) + sizeof(uint8_t);
  if (info.hidden_stored) token += static_cast<uint64_t>(info.hidden_size) * sizeof(BFloat16);
  token += static_cast<uint64_t>(info.teacher_top_k) * (sizeof(TokenId) + sizeof(float));
  return tokens * token;
}

uint64_t MostTokens(std::span<const DistillPrompt> prompts, int32_t max_tokens,
                    const ModelConfig& config) {
  uint64_t tokens = 0;
  for (const DistillPrompt& prompt : prompts)
    tokens += static_cast<uint64_t>(LongestText({&prompt, 1}, max_tokens, config));
  return tokens;
}

std::string BytesText(uint64_t bytes) {
  const char* unit = "MB";
  double value = static_cast<double>(bytes) / 1e6;
  if (value >= 1e3) {
    value /= 1e3;
    unit = "GB";
  }
  char text[48];
  std::snprintf(text, sizeof(text), value < 10 ? "%.2f %s" : "%.0f %s", value, unit);
  return text;
}

void RequireDistillDisk(const std::string& dir, const HiddenCacheInfo& info, uint64_t tokens) {
  const uint64_t needed = HiddenCacheBytes(info, tokens);
  const std::optional<uint64_t> free = FreeDiskBytes(dir);
  if (!free || needed <= *free) return;
  HiddenCacheInfo small = info;
  small.hidden_stored = false;
  const std::string less =
      info.hidden_stored
          ? "--no-hidden (" + BytesText(HiddenCacheBytes(small, tokens)) + "), fewer prompts"
          : std::string("fewer prompts");
  throw Error(Error::Kind::kInternal,
              dir + ": up to " + std::to_string(tokens) + " tokens need " + BytesText(needed) +
                  " of disk, and " + BytesText(*free) + " are free; make room, give " + less +
                  " or a smaller --max-tokens, or --any-disk where texts will be shorter");
}

DistillProgress::DistillProgress(const HiddenCacheWriter& writer, uint64_t prompts)
    : info_(writer.info()),
      prompts_(prompts),
      progress_("distilling", "prompts", static_cast<double>(prompts),
                static_cast<double>(writer.sequences())) {}

void DistillProgress::Update(const DistillCounts& now) {
  const uint64_t tokens = info_.tokens() + now.tokens;
  const double texts = static_cast<double>(std::max<uint64_t>(1, now.prompts));
  const auto expected =
      static_cast<uint64_t>(static_cast<double>(tokens) / texts * static_cast<double>(prompts_));
  char rate[48];
  std::snprintf(rate, sizeof(rate), "%.1f tokens/s, ",
                static_cast<double>(now.generated_tokens) / std::max(1e-9, now.seconds));
  progress_.Update(static_cast<double>(now.prompts),
                   rate + BytesText(HiddenCacheBytes(info_, tokens)) + " of about " +
                       BytesText(HiddenCacheBytes(info_, expected)));
}

void PrintDistillResult(const DistillResult& result, bool as_json) {
  using Json = nlohmann::ordered_json;
  const HiddenCacheInfo& info = result.info;
  const DistillCounts& counts = result.counts;
  const double rate =
      counts.seconds > 0 ? static_cast<double>(counts.generated_tokens) / counts.seconds : 0;
  const uint64_t bytes = HiddenCacheBytes(info, info.tokens());
  if (!as_json) {
    std::fprintf(stderr, "%llu prompts, %llu tokens in %zu shards, %s; this run: %.1f tokens/s\n",
                 static_cast<unsigned long long>(info.sequences()),
                 static_cast<unsigned long long>(info.tokens()), info.shards.size(),
                 BytesText(bytes).c_str(), rate);
    std::printf("%s\n", result.out.c_str());
    return;
  }
  std::cout << Json{{"out", result.out},
                    {"prompts", info.sequences()},
                    {"tokens", info.tokens()},
                    {"shards", info.shards.size()},
                    {"bytes", bytes},
                    {"hidden_size", info.hidden_size},
                    {"resumed_at", result.resumed_at},
                    {"generated_tokens", counts.generated_tokens},
                    {"tokens_per_second", rate},
                    {"seconds", counts.seconds},
                    {"peak_memory_mb", PeakMemoryMb()}}
                   .dump(2)
            << "\n";
}

}  // namespace tern
