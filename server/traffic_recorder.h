// Keeps what was served, for training on later: a ring of JSONL files.
#ifndef TERN_SERVER_TRAFFIC_RECORDER_H_
#define TERN_SERVER_TRAFFIC_RECORDER_H_

#include <cstdint>
#include <deque>
#include <mutex>
#include <span>
#include <string>
#include <utility>

#include "engine/batch.h"

namespace tern {

// Lines are those of engine/traffic_record.h, which `tern train --from-served` reads, and `tern
// distill --prompts` as a prompt. Nothing else is kept: not who asked, when, or how. Thread-safe.
class TrafficRecorder {
 public:
  // Writes DIR/traffic-NUMBER.jsonl, going on behind the files that are there; all of them together
  // take at most `max_bytes`, the oldest being removed. The folder is made where it is missing, for
  // its owner alone, as the files are. A line that a crash left in parts is removed. Throws Error
  // where the folder cannot be written.
  TrafficRecorder(std::string dir, uint64_t max_bytes);
  ~TrafficRecorder();
  TrafficRecorder(const TrafficRecorder&) = delete;
  TrafficRecorder& operator=(const TrafficRecorder&) = delete;

  // Fingerprint of the model that answers from now on. Not beside Add.
  void SetBackbone(std::string fingerprint) { backbone_ = std::move(fingerprint); }

  // Never throws: where the line cannot be written, or is longer than a file may be, it is left
  // out, which stderr is told once.
  void Add(const std::string& prompt, std::span<const TokenId> prompt_ids,
           const std::string& answer, std::span<const TokenId> answer_ids) noexcept;

 private:
  struct File {
    uint64_t number = 0, bytes = 0;
  };
  void FindFiles();
  void BeginFile();
  void Write(const std::string& line);
  void Close();

  const std::string dir_;
  const uint64_t max_bytes_, file_bytes_;
  std::string backbone_;
  std::mutex mutex_;
  std::deque<File> files_;  // oldest first; the last is open where fd_ is
  int fd_ = -1;
  bool complained_ = false;
};

}  // namespace tern

#endif  // TERN_SERVER_TRAFFIC_RECORDER_H_
