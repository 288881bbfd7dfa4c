// Served traffic (engine/traffic_record.h) as data to train heads on.
#ifndef TERN_TRAINER_SERVED_TRAFFIC_H_
#define TERN_TRAINER_SERVED_TRAFFIC_H_

#include <cstdint>
#include <string>

#include "engine/config.h"
#include "engine/tokenizer.h"

namespace tern {

// The model that is to be trained for.
struct TrafficModel {
  const ModelConfig& config;
  const std::string& backbone_fingerprint;
  const Tokenizer& tokenizer;
};

struct ServedTraffic {
  uint64_t files = 0, texts = 0, tokens = 0;
  uint64_t cut_lines = 0;  // without an end: a server crashed, or writes them now
  uint64_t unused = 0;     // answers of fewer than two tokens, which teach nothing
};

// Makes a hidden cache without hidden states in `data` of what is recorded in `dir`, the oldest
// text first, replacing what is there. Throws kBadFile naming file and line where one is no record,
// or was recorded with another model or tokenizer, and where nothing is left to train on; then
// `data` is untouched.
ServedTraffic ImportServedTraffic(const std::string& dir, const TrafficModel& model,
                                  const std::string& data);

}  // namespace tern

#endif  // TERN_TRAINER_SERVED_TRAFFIC_H_
