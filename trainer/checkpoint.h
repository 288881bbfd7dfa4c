// Checkpoints of a training run: everything the next step depends on, written atomically.
//
//     "TERNCKP1", u64 bytes of JSON, JSON padded with blanks to a multiple of 64 bytes (header
//     included), parameters, m, v (fp32), u64 HashBytes of all before
#ifndef TERN_TRAINER_CHECKPOINT_H_
#define TERN_TRAINER_CHECKPOINT_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>

#include "trainer/stability.h"

namespace tern {

// What decides the bits besides options and data.
struct RunIdentity {
  std::string commit;   // of the sources the binary was made from
  std::string target;   // dispatch target
  std::string library;  // of the dense GEMM
  int threads = 0;      // of each process
  int processes = 1;
};
RunIdentity CurrentIdentity();  // of a run in this process alone

struct HeldOutRecord {
  uint64_t step = 0;
  double loss = 0;  // nats per token
};

// The step whose model counts, of runs that choose one (LoopOptions::best_by).
struct BestRecord {
  uint64_t step = 0;
  double score = 0;
  uint64_t since = 0;  // evaluations behind it that were not better
};

struct TrainingState {
  uint64_t step = 0;  // updates applied so far
  StabilityState stability;
  std::optional<HeldOutRecord> last_held_out, best_held_out;
  std::optional<BestRecord> best;
};

struct CheckpointHeader {
  TrainingState state;
  RunIdentity identity;
  nlohmann::json options;  // what the run was asked for: flat object, compared by CheckSameRun
};

nlohmann::json ToJson(const CheckpointHeader& header);
// Throws nlohmann::json::exception.
CheckpointHeader CheckpointHeaderFromJson(const nlohmann::json& json);

// The numeric part, in the caller's buffers of equal size.
struct CheckpointBuffers {
  std::span<float> parameters, m, v;
};

void WriteCheckpoint(const std::string& path, const CheckpointHeader& header,
                     const CheckpointBuffers& buffers);
// The header alone, without reading or verifying the rest.
CheckpointHeader ReadCheckpointHeader(const std::string& path);
// Fills the buffers. Throws kBadFile where the file is damaged or holds another number of
// parameters; the buffers' content is then undefined.
CheckpointHeader ReadCheckpoint(const std::string& path, const CheckpointBuffers& buffers);

struct ResumeLeniency {
  bool other_machine = false;  // --allow-different-machine
  bool other_options = false;  // --allow-changed-options
};
// Of two parts of a run, or two processes of it: what differs, and both values.
struct RunDifference {
  std::string what, saved, now;
  bool machine;  // the machine, not the options
};
std::optional<RunDifference> FirstDifference(const CheckpointHeader& saved,
                                             const CheckpointHeader& now,
                                             const ResumeLeniency& leniency);
// Throws kInvalidArgument naming the first difference with both values.
void CheckSameRun(const std::string& path, const CheckpointHeader& saved,
                  const CheckpointHeader& now, const ResumeLeniency& leniency);

}  // namespace tern

#endif  // TERN_TRAINER_CHECKPOINT_H_
