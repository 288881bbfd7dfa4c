// What a verification of m rows costs on a model: c(m) by context, then the parts of a step that
// are not Forward. Text on stdout. Not a test: prints figures of the machine it runs on.
//   step_bench MODEL_DIR [threads]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "engine/ngram_drafter.h"
#include "engine/planner.h"
#include "engine/sampler.h"
#include "engine/transformer.h"
#include "kernels/activation.h"
#include "kernels/dispatch.h"
#include "kernels/norm.h"
#include "kernels/parallel.h"
#include "kernels/rope.h"
#include "kernels/ternary_matmul.h"
#include "kernels/vocab_projection.h"
#include "tests/bench/stopwatch.h"
#include "tests/support/tiny_model.h"

namespace tern {
namespace {

constexpr int32_t kContexts[] = {0, 100, 400};
constexpr size_t kRows[] = {1, 2, 3, 4, 6, 8, 12, 16};

struct Bench {
  explicit Bench(const char* dir)
      : model(LoadModel(dir)),
        cache(model.config, 1, 512, 8),
        ws(model.config, 128, 16, 512),
        text(RandomTokens(512, model.config.vocab_size, 1)) {
    cache.AddSequence();
    for (int32_t i = 0; i < 16; ++i) rows.push_back(i);
  }

  void Fill(int32_t context) {
    cache.Truncate(0, 0);
    for (int32_t done = 0; done < context; done += 50) {
      Forward(model, {std::span(text).subspan(static_cast<size_t>(done), 50)}, cache, ws);
      cache.CommitAll(0);
    }
  }

  double Pass(size_t m, bool decided) {
    return Microseconds([&] {
      const ForwardResult result =
          Forward(model,
                  {.tokens = std::span(text).first(m),
                   .screened_rows = std::span(rows).first(decided ? m : 0)},
                  cache, ws);
      for (size_t i = 0; decided && i < m; ++i) result.screened->ArgMax(i);
      cache.DropPending(0);
    });
  }

  double Product(const TernaryMatrix& w, size_t m) {
    const QuantizedRows x = ws.Quantized(m, w.cols);
    const MatView<float> y = (w.rows == static_cast<size_t>(model.config.intermediate_size))
                                 ? ws.gate.View(m, w.rows)
                                 : ws.q.View(m, w.rows);
    return Microseconds([&] { TernaryMatmul(w.View(), x, y); });
  }

  void PrintParts() {
    const ModelConfig& c = model.config;
    const double layers = c.num_hidden_layers;
    const auto d = static_cast<size_t>(c.hidden_size), f = static_cast<size_t>(c.intermediate_size);
    const LayerWeights& w = model.layers[0];
    std::printf(
        "\nparts of a pass at context %d, us per pass (all layers)\n%4s %9s %9s %9s %9s %9s %9s\n",
        cache.Length(0), "m", "ternary", "norms", "rope", "gate", "attention", "logits");
    for (const size_t m : kRows) {
      double ternary = 0;
      for (const TernaryMatrix* t : Linears(w)) {
        ternary += layers * Product(*t, m);
      }
      const MatView<float> x = ws.residual.View(m, d), wide = ws.gate.View(m, f);
      const double norms =
          layers * (3 * Microseconds([&] {
                      RmsNormQuantize(x, w.input_layernorm.span(), 1e-5f, ws.Quantized(m, d));
                    }) +
                    Microseconds([&] {
                      RmsNormQuantize(wide, w.ffn_sub_norm.span(), 1e-5f, ws.Quantized(m, f));
                    }));
      const double gate =
          layers * Microseconds([&] { ReluSquaredGate(wide, ws.up.View(m, f), wide); });
      std::vector<int32_t> slots;
      std::vector<AttentionRow> visible;
      for (size_t i = 0; i < m; ++i) slots.push_back(cache.AppendPending(0));
      for (const int32_t& slot : slots) {
        visible.push_back({cache.BlockTable(0), &slot, cache.Length(0), 1});
      }
      const MatView<float> q = ws.q.View(m, w.q_proj.rows);
      const double rope =
          layers * Microseconds([&] { ApplyRope(*model.rope, std::span(slots).first(m), q); });
      const double attention =
          layers * Microseconds([&] {
            Attention(q, cache.Layer(0), visible, static_cast<size_t>(c.num_attention_heads),
                      ws.attention_scratch.span(), ws.attention.View(m, q.cols));
          });
      cache.DropPending(0);
      const MatView<float> logits = ws.logits.View(m, static_cast<size_t>(c.vocab_size));
      const double projection = Microseconds(
          [&] { VocabProjection(ws.hidden.View(m, d), model.OutputEmbedding(), logits); });
      std::printf("%4zu %9.1f %9.1f %9.1f %9.1f %9.1f %9.1f\n", m, ternary, norms, rope, gate,
                  attention, projection);
    }
  }

  void PrintPasses() {
    std::printf("%-8s %4s %10s %10s %8s\n", "context", "m", "c(m) us", "hidden", "c(m)/c(1)");
    for (const int32_t context : kContexts) {
      Fill(context);
      double one = 0;
      for (const size_t m : kRows) {
        const double us = Pass(m, true), without = Pass(m, false);
        if (m == 1) one = us;
        std::printf("%-8d %4zu %10.1f %10.1f %8.2f\n", context, m, us, without, us / one);
      }
    }
  }

  void PrintRest() {
    Forward(model, {.tokens = std::span(text).first(1), .logit_rows = std::span(rows).first(1)},
            cache, ws);
    cache.DropPending(0);
    const auto vocab = static_cast<size_t>(model.config.vocab_size);
    const std::span<const float> logits = ws.logits.View(1, vocab).RowSpan(0);
    SamplerScratch scratch(model.config.vocab_size);
    TokenCounts counts(model.config.vocab_size, 512);
    counts.AddPrompt(text);
    const auto sample = [&](const char* name, const SamplingOptions& options) {
      std::printf("sample %-22s %8.2f us\n", name,
                  Microseconds([&] { SampleToken(logits, options, 7, counts, scratch); }));
    };
    std::printf("\n");
    sample("greedy", {});
    sample("temperature 1", {.temperature = 1.0f});
    sample("top-p 0.9", {.temperature = 1.0f, .top_p = 0.9f});
    sample("top-k 40", {.temperature = 1.0f, .top_k = 40});
    sample("greedy, penalties", {.repetition_penalty = 1.1f});

    std::vector<TokenId> repeated;
    for (size_t i = 0; i < 512; ++i) repeated.push_back(text[i % 24]);
    NgramDrafter drafter(512);
    DraftTree proposed(512), kept(64);
    const StepCost free(0.0);
    BestFirstPlanner planner(512, free);
    for (const size_t max_rows : {4, 8, 16}) {
      const double propose = Microseconds([&] {
        proposed.Clear();
        drafter.Propose({repeated, {}, 64}, proposed);
      });
      const double plan =
          Microseconds([&] { planner.Plan(proposed, static_cast<int32_t>(max_rows), kept); });
      std::printf("ngram propose %.2f us (%d nodes), plan of %zu rows %.2f us\n", propose,
                  proposed.size(), max_rows, plan);
    }
  }

  Model model;
  KvCache cache;
  Workspace ws;
  std::vector<TokenId> text;
  std::vector<int32_t> rows;
};

}  // namespace
}  // namespace tern

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: step_bench MODEL_DIR [threads]\n");
    return 2;
  }
  tern::SetThreadCount(argc > 2 ? std::atoi(argv[2]) : 1);
  tern::Bench bench(argv[1]);
  std::printf("target %s, %d threads\n", tern::CurrentTarget().c_str(), tern::ThreadCount());
  bench.PrintPasses();
  bench.PrintParts();
  bench.PrintRest();
  return 0;
}
