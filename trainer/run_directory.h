// The folder of a training run: its lock, its checkpoints (the newest two, and one made on a stop
// request) and its metrics.
#ifndef TERN_TRAINER_RUN_DIRECTORY_H_
#define TERN_TRAINER_RUN_DIRECTORY_H_

#include <cstdint>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "trainer/checkpoint.h"
#include "trainer/directory_lock.h"

namespace tern {

class RunDirectory {
 public:
  // Creates `dir` where needed, locks it (throws kOverloaded while another process trains in it)
  // and removes leftovers.
  explicit RunDirectory(const std::string& dir);
  // Whether `dir` has a checkpoint, without creating or locking anything.
  static bool HasCheckpoint(const std::string& dir);
  RunDirectory(const RunDirectory&) = delete;
  RunDirectory& operator=(const RunDirectory&) = delete;

  // The checkpoint to resume from: most rollbacks first, then most steps.
  std::optional<std::string> Newest() const;
  // The periodic checkpoint to roll back to: the newest one of at most `step` steps, else the
  // oldest there is.
  std::optional<std::string> RollbackTarget(uint64_t step) const;

  // Writes a periodic checkpoint, then drops all but the newest two and the one of a stop.
  void WritePeriodic(const CheckpointHeader& header, const CheckpointBuffers& buffers);
  // A checkpoint at any step, for a run that stops here. Not a target of rollbacks, so that these
  // do not depend on when somebody stopped the run.
  void WriteStop(const CheckpointHeader& header, const CheckpointBuffers& buffers);
  void DropNewerThan(uint64_t step);
  // Forgets the run: checkpoints and metrics.
  void Clear();

  // Keeps the metrics of the first `step` steps and appends from there.
  void OpenMetrics(uint64_t step);
  void AppendMetric(const nlohmann::json& record);

 private:
  static constexpr char kStopName[] = "/stop.ckpt";
  struct Periodic {
    uint64_t step;
    std::string path;
  };
  static std::vector<Periodic> ListPeriodic(const std::string& dir);  // ascending
  std::string StopPath() const { return dir_ + kStopName; }
  std::string MetricsPath() const { return dir_ + "/metrics.jsonl"; }

  struct CloseFile {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  std::string dir_;
  DirectoryLock lock_;
  std::unique_ptr<std::FILE, CloseFile> metrics_;
};

}  // namespace tern

#endif  // TERN_TRAINER_RUN_DIRECTORY_H_
