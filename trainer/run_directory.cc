#include "trainer/run_directory.h"

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <filesystem>
#include <utility>

#include "engine/atomic_file.h"
#include "engine/error.h"

namespace tern {
namespace {

namespace fs = std::filesystem;

constexpr size_t kKeep = 2;  // a rollback may need the one before the newest
constexpr char kPrefix[] = "step-", kSuffix[] = ".ckpt";

std::string PeriodicName(uint64_t step) {
  char name[40];
  std::snprintf(name, sizeof(name), "%s%010" PRIu64 "%s", kPrefix, step, kSuffix);
  return name;
}

// The step of a name made by PeriodicName.
std::optional<uint64_t> StepOfName(const std::string& name) {
  uint64_t step = 0;
  if (std::sscanf(name.c_str(), "step-%" SCNu64, &step) != 1 || name != PeriodicName(step))
    return std::nullopt;
  return step;
}

}  // namespace

RunDirectory::RunDirectory(const std::string& dir)
    : dir_(dir),
      lock_(dir, "another process trains in this directory; wait for it or give another --run") {
  RemoveTemporaries(dir);
}

bool RunDirectory::HasCheckpoint(const std::string& dir) {
  return fs::is_directory(dir) && (!ListPeriodic(dir).empty() || fs::exists(dir + kStopName));
}

std::vector<RunDirectory::Periodic> RunDirectory::ListPeriodic(const std::string& dir) {
  std::vector<Periodic> found;
  for (const fs::directory_entry& entry : fs::directory_iterator(dir)) {
    if (const auto step = StepOfName(entry.path().filename().string())) {
      found.push_back({*step, entry.path().string()});
    }
  }
  std::ranges::sort(found, {}, &Periodic::step);
  return found;
}

std::optional<std::string> RunDirectory::NewestIn(const std::string& dir) {
  std::vector<std::string> paths;
  for (const Periodic& periodic : ListPeriodic(dir)) paths.push_back(periodic.path);
  if (fs::exists(dir + kStopName)) paths.push_back(dir + kStopName);
  std::optional<std::string> best;
  std::pair<int32_t, uint64_t> best_order{-1, 0};
  for (const std::string& path : paths) {
    const TrainingState state = ReadCheckpointHeader(path).state;
    const std::pair<int32_t, uint64_t> order{state.stability.rollbacks, state.step};
    if (order <= best_order) continue;
    best_order = order;
    best = path;
  }
  return best;
}

std::optional<std::string> RunDirectory::RollbackTarget(uint64_t step) const {
  const std::vector<Periodic> found = ListPeriodic(dir_);
  if (found.empty()) return std::nullopt;
  const Periodic* target = &found.front();
  for (const Periodic& periodic : found) {
    if (periodic.step <= step) target = &periodic;
  }
  return target->path;
}

void RunDirectory::WritePeriodic(const CheckpointHeader& header, const CheckpointBuffers& buffers) {
  const std::string path = dir_ + "/" + PeriodicName(header.state.step);
  WriteCheckpoint(path, header, buffers);
  DropSuperseded(path);
}

void RunDirectory::DropSuperseded(const std::string& newest) {
  const std::vector<Periodic> found = ListPeriodic(dir_);
  for (size_t i = 0; i + kKeep < found.size(); ++i) fs::remove(found[i].path);
  if (newest != StopPath()) fs::remove(StopPath());
}

void RunDirectory::WriteStop(const CheckpointHeader& header, const CheckpointBuffers& buffers) {
  WriteCheckpoint(StopPath(), header, buffers);
}

void RunDirectory::WriteBest(const CheckpointHeader& header, const CheckpointBuffers& buffers) {
  WriteCheckpoint(BestPath(), header, buffers);
}

void RunDirectory::DropNewerThan(uint64_t step) {
  for (const Periodic& periodic : ListPeriodic(dir_)) {
    if (periodic.step > step) fs::remove(periodic.path);
  }
  fs::remove(StopPath());
}

void RunDirectory::Clear() {
  for (const Periodic& periodic : ListPeriodic(dir_)) fs::remove(periodic.path);
  fs::remove(StopPath());
  fs::remove(BestPath());
  MetricsFiles::Remove(dir_);
}

void RunDirectory::OpenMetrics(uint64_t step) {
  metrics_ = std::make_unique<MetricsFiles>(dir_, step, tensorboard_);
}

void RunDirectory::AppendMetric(const nlohmann::json& record) { metrics_->Append(record); }

}  // namespace tern
