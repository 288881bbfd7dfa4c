// What passes of a model cost by rows and context, and a prefill, beside the least time that the
// machine's ceilings allow for them.
#ifndef TERN_TOOLS_BENCH_PASSES_H_
#define TERN_TOOLS_BENCH_PASSES_H_

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "engine/model.h"
#include "kernels/kv_block.h"
#include "tools/bench_machine.h"

namespace tern {

// What of a row's next token a pass decides.
enum class PassKind {
  kNothing,  // hidden states only
  kGreedy,   // the most probable token of every row
  kSampled,  // a token of every row, drawn from the whole distribution at temperature 1
  kLogits,   // all logits of every row
};
const char* ToString(PassKind kind);
const char* ToString(KvType type);

struct PassBenchOptions {
  std::vector<int32_t> rows = {1, 2, 4, 8, 16, 32};
  std::vector<int32_t> contexts = {0};
  std::vector<KvType> kv_types = {KvType::kBFloat16};  // taken in turns; the prefill has the first
  int32_t prefill = 512;                               // tokens; 0: none
  int32_t prefill_chunk = 512;                         // rows of a pass of the prefill
  int32_t rounds = 7;
  std::vector<PassKind> kinds = {PassKind::kNothing, PassKind::kGreedy, PassKind::kSampled,
                                 PassKind::kLogits};
  bool one_thread_too = false;  // every pass also on one thread, in turns
};

// The least a piece of work costs: bytes that must come from memory while products are computed.
struct Work {
  double bytes = 0.0, int8_products = 0.0, float_products = 0.0;
};

struct PassResult {
  int32_t rows = 0, context = 0;
  KvType kv_type = KvType::kBFloat16;
  PassKind kind = PassKind::kLogits;
  bool zero_skip = false;      // for one row, where the model has the copies: both ways
  bool one_thread = false;     // instead of all
  double seconds = 0.0;        // median
  double least_seconds = 0.0;  // what others on the machine disturb least
  double bytes = 0.0;          // read from memory, by count
  double limit_seconds = 0.0;  // by the ceilings of the same run
  double share() const { return limit_seconds / seconds; }
};

struct PrefillResult {
  int32_t tokens = 0;
  double seconds = 0.0;
  double limit_seconds = 0.0;
};

struct PassBenchReport {
  double read_bytes = 0.0, int8_products = 0.0, bf16_products = 0.0;  // per second
  double most_read_bytes = 0.0;                                       // of all measurements
  std::vector<PassResult> passes;
  PrefillResult prefill;
  double zero_gates = 0.0;                        // share, over the rows of a pass
  MemoryUse memory;                               // of model, caches and buffers, after the passes
  std::vector<std::pair<KvType, size_t>> caches;  // bytes of each
  uint64_t logits_hash = 0;
};

// Every pass once per round, with a measurement of the ceilings before each round, after a round
// that does not count. `progress` is told the share done. Throws kInvalidArgument where rows,
// contexts or kv_types are none, or do not fit the model.
PassBenchReport BenchPasses(const Model& model, const PassBenchOptions& options,
                            const std::function<void(double)>& progress);

}  // namespace tern

#endif  // TERN_TOOLS_BENCH_PASSES_H_
