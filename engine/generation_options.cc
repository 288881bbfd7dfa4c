#include "engine/generation_options.h"

#include "engine/error.h"

namespace tern {
namespace {

struct DraftModeName {
  DraftMode mode;
  std::string_view name;
};
constexpr DraftModeName kDraftModes[] = {{DraftMode::kAuto, "auto"},
                                         {DraftMode::kTree, "tree"},
                                         {DraftMode::kChain, "chain"},
                                         {DraftMode::kNgram, "ngram"},
                                         {DraftMode::kOff, "off"}};
constexpr size_t kMaxStops = 64;

void CheckRange(const char* field, int32_t value, int32_t low, int32_t high) {
  if (value >= low && value <= high) return;
  throw InvalidArgument(std::string(field) + " is " + std::to_string(value) + ", expected " +
                        std::to_string(low) + " to " + std::to_string(high));
}

}  // namespace

std::string_view ToString(DraftMode mode) {
  for (const DraftModeName& entry : kDraftModes) {
    if (entry.mode == mode) return entry.name;
  }
  return "unknown";
}

DraftMode ParseDraftMode(std::string_view name) {
  std::string names;
  for (const DraftModeName& entry : kDraftModes) {
    if (entry.name == name) return entry.mode;
    names += (names.empty() ? "" : ", ") + std::string(entry.name);
  }
  throw InvalidArgument("draft is \"" + std::string(name) + "\", expected one of " + names);
}

void GenerationOptions::Validate() const {
  sampling.Validate();
  if (max_tokens < 1)
    throw InvalidArgument("max_tokens is " + std::to_string(max_tokens) + ", expected 1 or more");
  if (stops.size() > kMaxStops) {
    throw InvalidArgument("stop has " + std::to_string(stops.size()) +
                          " strings, expected at most " + std::to_string(kMaxStops));
  }
  for (const std::string& stop : stops) {
    if (stop.empty()) throw InvalidArgument("stop has an empty string, expected at least one byte");
  }
  if (ignore_eos && grammar != nullptr)
    throw InvalidArgument("ignore_eos is true, expected false where the text follows a grammar");
  CheckRange("logprobs", logprobs, -1, kMaxLogprobs);
  CheckRange("max_rows", max_rows, 1, kMaxRows);
  CheckRange("prefill_chunk", prefill_chunk, 1, kMaxPrefillChunk);
  typical.Validate();
  if (typical.on() && sampling.temperature == 0.0f) {
    throw InvalidArgument(
        "typical acceptance goes with temperature 0, expected more: greedy decoding has only one "
        "token to accept; set a temperature or leave it out");
  }
}

}  // namespace tern
