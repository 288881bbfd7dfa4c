// What a replay would give on machines of more cores and other memory: a PREDICTION, by a small
// model of the machine whose figures are measured here.
//
// A pass takes max(memory, work / cores) + fixed:
//   memory  the bytes it must read over the machine's bandwidth
//   fixed   what threads do not shorten. With t1 seconds on one thread, tn on n and m for its bytes
//   at
//           the bandwidth of n: the lesser of (n tn - t1) / (n - 1) and tn - m, at least 0
//   work    core-seconds: t1 - fixed, and n (tn - fixed) at most
// so that for this machine it gives what was measured. It assumes a machine that does nothing else;
// cores like those measured, each with caches and a clock that stay as they are with more of them
// at work; a bandwidth that programs can really read at, and that the cores together can draw;
// parallel work that begins and ends as fast with many cores as here; and one NUMA node.
//
// A step is a pass and, as long as here, what is done outside of passes: choosing and committing
// tokens; where it drafts, also draft heads and planning. Of all row counts the one that gives most
// tokens per second is taken, with the best tree for the given rates: what the planner tends to.
#ifndef TERN_TOOLS_BENCH_PREDICT_H_
#define TERN_TOOLS_BENCH_PREDICT_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "engine/acceptance_replay.h"
#include "engine/model.h"
#include "kernels/kv_block.h"

namespace tern {

struct PassFigures {
  int32_t rows = 0;
  double seconds = 0.0, one_thread_seconds = 0.0;
  double bytes = 0.0;  // read from memory, by count
};

struct MachineFigures {
  int threads = 1;
  double read_bytes = 0.0, int8_products = 0.0;  // per second on all threads, for the reader
  std::vector<PassFigures> passes;               // by rising rows, the first of one
  // Of a step without and with drafts, outside of its pass.
  double plain_rest_seconds = 0.0, drafted_rest_seconds = 0.0;
};

// Seconds of a pass on `here` that more threads do not shorten.
double FixedSeconds(const PassFigures& pass, const MachineFigures& here);

struct MachineShape {
  int cores = 1;
  double read_bytes = 0.0;  // per second
};

// Seconds of a pass of `rows` rows. Between the rows measured, and beyond them, what a pass takes
// is interpolated on a line. REQUIRES rows >= 1 and figures of at least one pass.
double PredictPass(const MachineFigures& here, int32_t rows, const MachineShape& machine);

struct Prediction {
  MachineShape machine;
  double plain_tokens_per_second = 0.0, tokens_per_second = 0.0;  // of all sequences together
  int32_t rows = 1;                                               // of each sequence in a step
  double speedup() const { return tokens_per_second / plain_tokens_per_second; }
};

// For `sequences` texts at once, of at most `max_rows` rows each in a step.
Prediction Predict(const MachineFigures& here, const AcceptanceRates& rates, int32_t sequences,
                   int32_t max_rows, const MachineShape& machine);

// Tokens that a step of the best tree of `rows` rows, root included, is expected to add.
double ExpectedTokens(const AcceptanceRates& rates, int32_t rows);

// The fastest of `rounds` greedy passes of 1, 2, 4, .. `most_rows` rows behind `context` tokens, on
// all threads and on one in turns; the rest of a step is the caller's to fill in.
MachineFigures MeasureMachine(const Model& model, int32_t most_rows, int32_t context,
                              KvType kv_type, int32_t rounds,
                              const std::function<void(double)>& progress);

}  // namespace tern

#endif  // TERN_TOOLS_BENCH_PREDICT_H_
