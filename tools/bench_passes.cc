#include "tools/bench_passes.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <numeric>
#include <optional>
#include <span>

#include "engine/error.h"
#include "engine/hash.h"
#include "engine/kv_cache.h"
#include "engine/screened_sampler.h"
#include "engine/transformer.h"
#include "engine/workspace.h"
#include "engine/zero_skip.h"
#include "kernels/parallel.h"
#include "kernels/thread_team.h"

namespace tern {
namespace {

using Clock = std::chrono::steady_clock;

// Passes of one kind run for this long at least.
constexpr double kLeastSeconds = 0.003;
// Rows whose logits the hash covers.
constexpr int32_t kHashedRows = 8;

struct Shape {
  double ternary_bytes = 0.0, ternary_weights = 0.0;  // of all layers
  double table_weights = 0.0;                         // of the output embedding
  double kv_bytes = 0.0;                              // of K and V, of all layers, a position
  double attention_products = 0.0;                    // of all layers, for one row and one position
};

Shape ShapeOf(const Model& model, KvType type) {
  const ModelConfig& c = model.config;
  const double layers = c.num_hidden_layers;
  Shape shape;
  for (const LayerWeights& layer : model.layers) {
    for (const TernaryMatrix* matrix : Linears(layer)) {
      shape.ternary_bytes += static_cast<double>(matrix->data.size()) +
                             4.0 * static_cast<double>(matrix->group_scales.size());
      shape.ternary_weights +=
          static_cast<double>(matrix->rows) * static_cast<double>(matrix->cols);
    }
  }
  shape.table_weights = static_cast<double>(c.vocab_size) * c.hidden_size;
  shape.kv_bytes = static_cast<double>(KvCache::Bytes(c, 1, type)) / kKvBlock;
  shape.attention_products = 2.0 * layers * c.q_width();
  return shape;
}

class PassBench {
 public:
  PassBench(const Model& model, const PassBenchOptions& options, KvType type)
      : model_(model),
        options_(options),
        shape_(ShapeOf(model, type)),
        most_rows_(*std::max_element(options.rows.begin(), options.rows.end())),
        context_(static_cast<int32_t>(MaxContext(options, most_rows_))),
        cache_(model.config, 1, context_, Blocks(), type),
        workspace_(model.config, std::max(most_rows_, options.prefill_chunk), most_rows_, context_),
        tokens_(static_cast<size_t>(context_)),
        rows_(static_cast<size_t>(most_rows_)),
        scratch_(model.config.vocab_size) {
    cache_.AddSequence();
    std::iota(rows_.begin(), rows_.end(), 0);
    // Scattered over the vocabulary, the same in every run.
    for (size_t i = 0; i < tokens_.size(); ++i) {
      tokens_[i] = static_cast<TokenId>((i * 7919 + 13) % static_cast<size_t>(Vocab()));
    }
  }

  // The longest prefix and the rows behind it.
  static int64_t MaxContext(const PassBenchOptions& options, int64_t most_rows) {
    const int64_t longest = *std::max_element(options.contexts.begin(), options.contexts.end());
    return std::max<int64_t>(longest + most_rows, options.prefill);
  }

  size_t CacheBytes(KvType type) const { return KvCache::Bytes(model_.config, Blocks(), type); }

  double Prefill(int32_t tokens) {
    cache_.Truncate(0, 0);
    const Clock::time_point start = Clock::now();
    Run(0, tokens, true);
    return Since(start);
  }

  // Fills the cache with the first `context` tokens.
  void Fill(int32_t context) {
    const int32_t begin = std::min(cache_.Length(0), context);
    cache_.Truncate(0, begin);
    Run(begin, context, false);
  }

  // Seconds of a pass: the median of as many as fit into a few milliseconds, since the first ones
  // of a small model wait for threads to wake.
  double Pass(int32_t rows, PassKind kind, bool zero_skip) {
    std::vector<double> seconds;
    double sum = 0.0;
    do {
      seconds.push_back(OnePass(rows, kind, zero_skip));
      sum += seconds.back();
    } while (sum < kLeastSeconds);
    return Median(seconds);
  }

  double OnePass(int32_t rows, PassKind kind, bool zero_skip) {
    const TeamScope team;
    const auto n = static_cast<size_t>(rows);
    const bool chooses = kind == PassKind::kGreedy || kind == PassKind::kSampled;
    const Batch batch = {
        .tokens = std::span(tokens_).subspan(static_cast<size_t>(cache_.Length(0)), n),
        .logit_rows = std::span(rows_).first(kind == PassKind::kLogits ? n : 0),
        .screened_rows = std::span(rows_).first(chooses ? n : 0),
        .skip_zeros = zero_skip};
    const Clock::time_point start = Clock::now();
    const ForwardResult result = Forward(model_, batch, cache_, workspace_);
    skipped_bytes_ = static_cast<double>(result.skipped_bytes);
    for (size_t row = 0; chooses && row < n; ++row) Choose(result, row, kind);
    const double seconds = Since(start);
    cache_.DropPending(0);
    return seconds;
  }

  // By the latest Pass.
  double skipped_bytes() const { return skipped_bytes_; }

  TokenId Choose(const ForwardResult& result, size_t row, PassKind kind) {
    const SamplingOptions options{.temperature = kind == PassKind::kGreedy ? 0.0f : 1.0f};
    const auto position = cache_.Length(0) + static_cast<int32_t>(row) + 1;
    const std::optional<TokenId> token =
        SampleScreened(*result.screened, row, options, position, scratch_);
    if (token) return *token;
    RowLogits(model_, result.hidden.RowSpan(row), scratch_.logits.span());
    return SampleToken(scratch_.logits.span(), options, position, TokenCounts(), scratch_);
  }

  // Over the first tokens as a prefix of none.
  uint64_t LogitsHash() {
    cache_.Truncate(0, 0);
    const auto n = static_cast<size_t>(std::min(kHashedRows, most_rows_));
    const ForwardResult result = Forward(
        model_, {.tokens = std::span(tokens_).first(n), .logit_rows = std::span(rows_).first(n)},
        cache_, workspace_);
    uint64_t hash = 0;
    for (size_t r = 0; r < n; ++r) hash = HashBytes(std::as_bytes(result.logits.RowSpan(r)), hash);
    cache_.DropPending(0);
    return hash;
  }

  double ZeroGates() const {
    return ShareOfZeroGates(model_, std::span(tokens_).first(static_cast<size_t>(most_rows_)));
  }

  // One pass of `rows` rows behind `context` tokens, of which `decided` decide their next token,
  // and which skips `skipped` bytes of weights and the products with them.
  double LimitSeconds(int32_t rows, int32_t context, PassKind kind, int32_t decided, double skipped,
                      const MachineCeilings& machine) const {
    const double n = rows;
    const double positions = context + (n + 1) / 2;  // that a row sees, on average
    const double bf16 = machine.bf16_products(), read = machine.read_bytes();
    const double done = 1.0 - skipped / shape_.ternary_bytes;
    const double ternary = done * std::max(shape_.ternary_bytes / read,
                                           n * shape_.ternary_weights / machine.int8_products());
    const double attention = std::max(shape_.kv_bytes * context / read,
                                      n * positions * shape_.attention_products / bf16);
    const double table =
        kind == PassKind::kNothing
            ? 0.0
            : std::max(TableBytes(kind) / read, decided * shape_.table_weights / bf16);
    return ternary + attention + table;
  }

  bool has_zero_skip() const { return model_.layers.front().up_rows.count > 0; }

  // Without zero skipping.
  double Bytes(int32_t context, PassKind kind) const {
    return shape_.ternary_bytes + shape_.kv_bytes * context + TableBytes(kind);
  }

 private:
  static double Since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
  }
  int32_t Blocks() const { return (context_ + 63) / 64; }
  int32_t Vocab() const { return model_.config.vocab_size; }
  double TableBytes(PassKind kind) const {
    switch (kind) {
      case PassKind::kNothing:
        return 0.0;
      case PassKind::kGreedy:  // the screen
      case PassKind::kSampled:
        return shape_.table_weights;
      case PassKind::kLogits:
        return sizeof(BFloat16) * shape_.table_weights;
    }
    return 0.0;
  }

  void Run(int32_t begin, int32_t end, bool last_logits) {
    const int32_t chunk = options_.prefill_chunk;
    for (int32_t at = begin; at < end; at += chunk) {
      const int32_t count = std::min(chunk, end - at);
      const int32_t last = count - 1;
      const bool wanted = last_logits && at + count == end;
      Forward(model_,
              {.tokens =
                   std::span(tokens_).subspan(static_cast<size_t>(at), static_cast<size_t>(count)),
               .logit_rows = std::span(&last, wanted ? 1 : 0)},
              cache_, workspace_);
      cache_.CommitAll(0);
    }
  }

  const Model& model_;
  const PassBenchOptions& options_;
  Shape shape_;
  int32_t most_rows_, context_;
  KvCache cache_;
  Workspace workspace_;
  std::vector<TokenId> tokens_;  // [context]
  std::vector<int32_t> rows_;    // 0, 1, ..
  SamplerScratch scratch_;
  double skipped_bytes_ = 0.0;
};

void CheckOptions(const Model& model, const PassBenchOptions& options) {
  const auto positive = [](const std::vector<int32_t>& values, int32_t least) {
    return !values.empty() && *std::min_element(values.begin(), values.end()) >= least;
  };
  if (!positive(options.rows, 1) || !positive(options.contexts, 0) || options.prefill < 0) {
    throw InvalidArgument(
        "bench: rows of 1 or more, contexts of 0 or more and a prefill of 0 or more are needed");
  }
  if (options.kv_types.empty()) throw InvalidArgument("bench: a type of KV is needed");
  const int32_t most = *std::max_element(options.rows.begin(), options.rows.end());
  const int64_t context = PassBench::MaxContext(options, most);
  if (context > model.config.max_position_embeddings) {
    throw InvalidArgument("bench: " + std::to_string(context) +
                          " positions (context and rows, or prefill), but the model has " +
                          std::to_string(model.config.max_position_embeddings));
  }
}

// Every pass from `first` on once more, on one thread.
void AddOneThread(std::vector<PassResult>& passes, size_t first) {
  const std::vector<PassResult> all(passes.begin() + static_cast<std::ptrdiff_t>(first),
                                    passes.end());
  for (PassResult pass : all) {
    pass.one_thread = true;
    passes.push_back(pass);
  }
}

}  // namespace

const char* ToString(PassKind kind) {
  switch (kind) {
    case PassKind::kNothing:
      return "hidden";
    case PassKind::kGreedy:
      return "greedy";
    case PassKind::kSampled:
      return "sampled";
    case PassKind::kLogits:
      return "logits";
  }
  return "";
}

const char* ToString(KvType type) { return type == KvType::kInt8 ? "int8" : "bf16"; }

PassBenchReport BenchPasses(const Model& model, const PassBenchOptions& options,
                            const std::function<void(double)>& progress) {
  CheckOptions(model, options);
  std::vector<std::unique_ptr<PassBench>> benches;
  PassBenchReport report;
  for (const KvType type : options.kv_types) {
    benches.push_back(std::make_unique<PassBench>(model, options, type));
    report.caches.emplace_back(type, benches.back()->CacheBytes(type));
  }
  const auto bench_of = [&](KvType type) -> PassBench& {
    const auto at = std::find(options.kv_types.begin(), options.kv_types.end(), type);
    return *benches[static_cast<size_t>(at - options.kv_types.begin())];
  };
  PassBench& bench = *benches.front();
  report.logits_hash = bench.LogitsHash();
  report.zero_gates = bench.ZeroGates();
  MachineCeilings machine;
  // Per context: prefix, then rounds. Then the prefill.
  const double parts = static_cast<double>(options.contexts.size()) * (options.rounds + 1.0) +
                       (options.prefill > 0 ? options.rounds : 0);
  double done = 0.0;
  std::vector<int32_t> contexts = options.contexts;
  std::sort(contexts.begin(), contexts.end());
  for (const int32_t context : contexts) {
    const size_t first = report.passes.size();
    std::vector<std::vector<double>> seconds;
    for (const auto& each : benches) each->Fill(context);
    for (const int32_t rows : options.rows) {
      for (const PassKind kind : options.kinds) {
        for (const KvType type : options.kv_types) {
          report.passes.push_back({rows, context, type, kind});
          if (rows == 1 && benches.front()->has_zero_skip())
            report.passes.push_back({rows, context, type, kind, true});
        }
      }
    }
    if (options.one_thread_too) AddOneThread(report.passes, first);
    seconds.resize(report.passes.size() - first);
    for (int32_t round = 0; round <= options.rounds; ++round) {
      machine.Measure();
      // Bring back into the caches what fits there.
      for (const PassKind kind : options.kinds) bench.Pass(1, kind, false);
      for (size_t i = 0; i < seconds.size(); ++i) {
        PassResult& pass = report.passes[first + i];
        PassBench& its = bench_of(pass.kv_type);
        const WithThreads threads(pass.one_thread ? 1 : ThreadCount());
        const double time = its.Pass(pass.rows, pass.kind, pass.zero_skip);
        pass.bytes = its.Bytes(pass.context, pass.kind) - its.skipped_bytes();
        if (round > 0) seconds[i].push_back(time);
      }
      progress(++done / parts);
    }
    for (size_t i = 0; i < seconds.size(); ++i) {
      report.passes[first + i].seconds = Median(seconds[i]);
      report.passes[first + i].least_seconds = std::ranges::min(seconds[i]);
    }
  }
  if (options.prefill > 0) {
    std::vector<double> seconds;
    for (int32_t round = 0; round < options.rounds; ++round) {
      machine.Measure();
      seconds.push_back(bench.Prefill(options.prefill));
      progress(++done / parts);
    }
    report.prefill = {options.prefill, Median(seconds),
                      bench.LimitSeconds(options.prefill, 0, PassKind::kLogits, 1, 0.0, machine)};
  }
  for (PassResult& pass : report.passes) {
    const PassBench& its = bench_of(pass.kv_type);
    const double skipped = its.Bytes(pass.context, pass.kind) - pass.bytes;
    pass.limit_seconds =
        its.LimitSeconds(pass.rows, pass.context, pass.kind, pass.rows, skipped, machine);
  }
  report.read_bytes = machine.read_bytes();
  report.most_read_bytes = machine.most_read_bytes();
  report.int8_products = machine.int8_products();
  report.bf16_products = machine.bf16_products();
  machine.Release();
  report.memory = CurrentMemory();
  return report;
}

}  // namespace tern
