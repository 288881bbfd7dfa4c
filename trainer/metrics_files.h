// The metrics of a run as files: metrics.jsonl, which has everything, and made from it metrics.csv
// and, on request, a TensorBoard event file, both with every number of every record.
#ifndef TERN_TRAINER_METRICS_FILES_H_
#define TERN_TRAINER_METRICS_FILES_H_

#include <cstdint>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "trainer/event_file.h"

namespace tern {

// The numbers of a record by name, but for step and time: those in lists as name/1, name/2, .., in
// objects as name/key; true and false are no numbers.
Scalars FlattenMetrics(const nlohmann::json& record);

class MetricsFiles {
 public:
  // Keeps the records of the first `step` steps and appends from there. CSV and event file are
  // written anew from what is kept, so that all tell the same.
  MetricsFiles(const std::string& dir, uint64_t step, bool tensorboard);
  // `record` has a step; it gets the time, seconds since 1970.
  void Append(nlohmann::json record);
  // Removes them all.
  static void Remove(const std::string& dir);

  static std::string JsonlPath(const std::string& dir) { return dir + "/metrics.jsonl"; }

 private:
  struct CloseFile {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  struct Output {
    std::string path;
    std::unique_ptr<std::FILE, CloseFile> file;
    void Write(const std::string& bytes) const;
  };
  static Output Open(const std::string& path, const std::string& begin);

  Output jsonl_, csv_, events_;  // events_.file is null without TensorBoard
};

}  // namespace tern

#endif  // TERN_TRAINER_METRICS_FILES_H_
