// The folder of a training run: its lock, its checkpoints (the newest two, one made on a stop
// request, the best) and its metrics.
#ifndef TERN_TRAINER_RUN_DIRECTORY_H_
#define TERN_TRAINER_RUN_DIRECTORY_H_

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "trainer/checkpoint.h"
#include "trainer/directory_lock.h"
#include "trainer/metrics_files.h"

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

  // The checkpoint to resume from in `dir`, without creating or locking anything: most rollbacks
  // first, then most steps.
  static std::optional<std::string> NewestIn(const std::string& dir);
  std::optional<std::string> Newest() const { return NewestIn(dir_); }
  // The periodic checkpoint to roll back to: the newest one of at most `step` steps, else the
  // oldest there is.
  std::optional<std::string> RollbackTarget(uint64_t step) const;

  // Writes a periodic checkpoint and drops the superseded ones.
  void WritePeriodic(const CheckpointHeader& header, const CheckpointBuffers& buffers);
  // A checkpoint at any step, for a run that stops here. Not a target of rollbacks, so that these
  // do not depend on when somebody stopped the run.
  void WriteStop(const CheckpointHeader& header, const CheckpointBuffers& buffers);
  // The checkpoint of the best step, in place of the last best one.
  void WriteBest(const CheckpointHeader& header, const CheckpointBuffers& buffers);
  std::string BestPath() const { return dir_ + "/best.ckpt"; }
  void DropNewerThan(uint64_t step);
  // Keeps the newest two periodic checkpoints, and the one of a stop only where it is `newest`, a
  // path. A run killed before it dropped them does so when it resumes; else it would roll back
  // further than an uninterrupted one, or leave them for good.
  void DropSuperseded(const std::string& newest);
  // Forgets the run: checkpoints and metrics.
  void Clear();

  // Whether OpenMetrics also begins an event file.
  void SetTensorBoard(bool wanted) { tensorboard_ = wanted; }
  // Keeps the metrics of the first `step` steps and appends from there (metrics_files.h).
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

  std::string dir_;
  DirectoryLock lock_;
  bool tensorboard_ = false;
  std::unique_ptr<MetricsFiles> metrics_;
};

}  // namespace tern

#endif  // TERN_TRAINER_RUN_DIRECTORY_H_
