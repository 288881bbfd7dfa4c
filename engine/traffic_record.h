// What was served, as files that a server writes and a trainer reads: a folder of
// traffic-NUMBER.jsonl, a line for each answer:
//
//   {"prompt", "answer", "prompt_ids", "answer_ids", "backbone": fingerprint of the model}
#ifndef TERN_ENGINE_TRAFFIC_RECORD_H_
#define TERN_ENGINE_TRAFFIC_RECORD_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/batch.h"

namespace tern {

struct TrafficRecord {
  std::string prompt, answer;  // the texts of the ids, without special tokens
  std::vector<TokenId> prompt_ids, answer_ids;
  std::string backbone;  // empty: not known
};

// With "\n". Bytes that are not UTF-8 become U+FFFD.
std::string TrafficLine(const TrafficRecord& record);
// Nothing where `line` is none.
std::optional<TrafficRecord> ParseTrafficLine(std::string_view line);

struct TrafficFile {
  uint64_t number = 0;
  std::string path;
};
std::string TrafficPath(const std::string& dir, uint64_t number);
// Those in `dir`, by rising number. Throws kNotFound where there is no such folder.
std::vector<TrafficFile> TrafficFiles(const std::string& dir);

}  // namespace tern

#endif  // TERN_ENGINE_TRAFFIC_RECORD_H_
