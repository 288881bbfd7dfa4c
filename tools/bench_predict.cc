#include "tools/bench_predict.h"

#include <algorithm>

#include "engine/token_tree.h"
#include "kernels/check.h"
#include "kernels/parallel.h"
#include "tools/bench_passes.h"

namespace tern {
namespace {

// A pass of `rows` rows, between those measured or beyond them.
PassFigures FiguresOf(const std::vector<PassFigures>& passes, int32_t rows) {
  TERN_CHECK(rows >= 1 && !passes.empty()) << rows;
  const auto least = [rows](const PassFigures& pass) { return pass.rows >= rows; };
  const auto above = std::ranges::find_if(passes, least);
  if (above != passes.end() && above->rows == rows) return *above;
  if (passes.size() < 2) {
    const PassFigures& one = passes.front();
    const double times = static_cast<double>(rows) / one.rows;
    return {rows, one.seconds * times, one.one_thread_seconds * times, one.bytes};
  }
  const auto high = std::clamp(above, passes.begin() + 1, passes.end() - 1);
  const PassFigures &a = *(high - 1), &b = *high;
  const double share = static_cast<double>(rows - a.rows) / (b.rows - a.rows);
  const auto at = [share](double low, double top) { return low + share * (top - low); };
  return {rows, at(a.seconds, b.seconds), at(a.one_thread_seconds, b.one_thread_seconds),
          at(a.bytes, b.bytes)};
}

}  // namespace

double FixedSeconds(const PassFigures& pass, const MachineFigures& here) {
  if (here.threads < 2) return 0.0;
  const double n = here.threads, memory = pass.bytes / here.read_bytes;
  const double by_threads = (n * pass.seconds - pass.one_thread_seconds) / (n - 1.0);
  return std::max(std::min(by_threads, pass.seconds - memory), 0.0);
}

double PredictPass(const MachineFigures& here, int32_t rows, const MachineShape& machine) {
  const PassFigures pass = FiguresOf(here.passes, rows);
  const double fixed = FixedSeconds(pass, here);
  const double on_all = here.threads * (pass.seconds - fixed);
  const double work = here.threads < 2 ? on_all : std::min(pass.one_thread_seconds - fixed, on_all);
  return std::max(pass.bytes / machine.read_bytes, work / machine.cores) + fixed;
}

double ExpectedTokens(const AcceptanceRates& rates, int32_t rows) {
  std::vector<double> chances;
  BestTopology(
      rows, [&rates](int32_t depth, int32_t rank) { return rates.At(depth, rank); }, &chances);
  double tokens = 0.0;
  for (const double chance : chances) tokens += chance;
  return tokens;
}

Prediction Predict(const MachineFigures& here, const AcceptanceRates& rates, int32_t sequences,
                   int32_t max_rows, const MachineShape& machine) {
  const double plain = PredictPass(here, sequences, machine) + here.plain_rest_seconds;
  Prediction best{.machine = machine, .plain_tokens_per_second = sequences / plain};
  best.tokens_per_second = best.plain_tokens_per_second;
  for (int32_t rows = 2; rows <= max_rows; ++rows) {
    const double seconds = PredictPass(here, sequences * rows, machine) + here.drafted_rest_seconds;
    const double rate = sequences * ExpectedTokens(rates, rows) / seconds;
    if (rate <= best.tokens_per_second) continue;
    best.tokens_per_second = rate;
    best.rows = rows;
  }
  return best;
}

MachineFigures MeasureMachine(const Model& model, int32_t most_rows, int32_t context,
                              KvType kv_type, int32_t rounds,
                              const std::function<void(double)>& progress) {
  PassBenchOptions options{.contexts = {context},
                           .kv_types = {kv_type},
                           .prefill = 0,
                           .rounds = rounds,
                           .kinds = {PassKind::kGreedy},
                           .one_thread_too = ThreadCount() > 1};
  options.rows.clear();
  for (int32_t rows = 1; rows < most_rows; rows *= 2) options.rows.push_back(rows);
  options.rows.push_back(most_rows);
  const PassBenchReport report = BenchPasses(model, options, progress);
  MachineFigures here{.threads = ThreadCount(),
                      .read_bytes = report.most_read_bytes,
                      .int8_products = report.int8_products};
  for (const int32_t rows : options.rows) here.passes.push_back({.rows = rows});
  for (const PassResult& pass : report.passes) {
    const auto at = std::ranges::find(here.passes, pass.rows, &PassFigures::rows);
    // Steps skip what zeros make useless where the model can: those passes come last.
    (pass.one_thread ? at->one_thread_seconds : at->seconds) = pass.least_seconds;
    at->bytes = pass.bytes;
  }
  for (PassFigures& pass : here.passes) {
    if (!options.one_thread_too) pass.one_thread_seconds = pass.seconds;
  }
  return here;
}

}  // namespace tern
