// Where a one-row decode step spends its time: Forward as a whole, then each of its parts on the
// same shapes, as JSON on stdout. Not a test: prints figures of the machine it runs on.
//   forward_bench [threads] [d] [layers] [f] [vocab] [context]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <vector>

#include "engine/transformer.h"
#include "kernels/activation.h"
#include "kernels/dispatch.h"
#include "kernels/norm.h"
#include "kernels/parallel.h"
#include "kernels/ternary_matmul.h"
#include "kernels/vocab_projection.h"
#include "tests/support/tiny_model.h"

namespace {

using Clock = std::chrono::steady_clock;

// Median microseconds of a call.
double Microseconds(const std::function<void()>& call) {
  std::vector<double> times(201);
  for (double& time : times) {
    const Clock::time_point start = Clock::now();
    call();
    time = std::chrono::duration<double, std::micro>(Clock::now() - start).count();
  }
  std::nth_element(times.begin(), times.begin() + 100, times.end());
  return times[100];
}

// The parts of a pass of n rows, each called alone as often as a pass calls it.
void PrintParts(const tern::Model& model, tern::KvCache& cache, tern::Workspace& ws, size_t n) {
  using namespace tern;
  const ModelConfig& config = model.config;
  const auto d = static_cast<size_t>(config.hidden_size),
             f = static_cast<size_t>(config.intermediate_size);
  const auto vocab = static_cast<size_t>(config.vocab_size);
  const double layers = config.num_hidden_layers;
  const MatView<float> x = ws.residual.View(n, d), wide = ws.gate.View(n, f);
  const auto norm = [&](MatView<float> rows, const AlignedBuffer<float>& gain) {
    return Microseconds(
        [&] { RmsNormQuantize(rows, gain.span(), 1e-5f, ws.Quantized(n, rows.cols)); });
  };
  const auto product = [&](const TernaryMatrix& m) {
    const QuantizedRows q = ws.Quantized(n, m.cols);
    std::vector<float> y(n * m.rows);
    return Microseconds([&] { TernaryMatmul(m.View(), q, {y.data(), n, m.rows}); });
  };
  double ternary = 0;
  for (const LayerWeights& w : model.layers) {
    for (const TernaryMatrix* m :
         {&w.q_proj, &w.k_proj, &w.v_proj, &w.o_proj, &w.gate_proj, &w.up_proj, &w.down_proj}) {
      ternary += product(*m);
    }
  }
  const LayerWeights& w = model.layers[0];
  const double norms = layers * (3 * norm(x, w.input_layernorm) + norm(wide, w.ffn_sub_norm));
  const double gate = layers * Microseconds([&] { ReluSquaredGate(wide, ws.up.View(n, f), wide); });
  const double logits = Microseconds([&] {
    VocabProjection(ws.hidden.View(n, d), model.OutputEmbedding(), ws.logits.View(n, vocab));
  });
  const int32_t length = cache.Length(0);
  std::vector<int32_t> slots;
  std::vector<AttentionRow> rows;
  for (size_t i = 0; i < n; ++i) slots.push_back(cache.AppendPending(0));
  for (const int32_t& slot : slots) rows.push_back({cache.BlockTable(0), &slot, length, 1});
  const double attention = layers * Microseconds([&] {
                             Attention(ws.q.View(n, d), cache.Layer(0), rows,
                                       static_cast<size_t>(config.num_attention_heads),
                                       ws.attention_scratch.span(), ws.attention.View(n, d));
                           });
  cache.DropPending(0);
  std::printf(
      ", \n \"parts_us_rows_%zu\": {\"ternary\": %.1f, \"norm_quantise\": %.1f, \"gate\": %.1f, "
      "\"attention\": %.1f, \"logits\": %.1f}",
      n, ternary, norms, gate, attention, logits);
}

}  // namespace

int main(int argc, char** argv) {
  using namespace tern;
  const auto argument = [&](int i, int fallback) {
    return argc > i ? std::atoi(argv[i]) : fallback;
  };
  SetThreadCount(argument(1, 1));
  ModelConfig config = TinyConfig();
  config.hidden_size = argument(2, 256);
  config.num_hidden_layers = argument(3, 8);
  config.intermediate_size = argument(4, 768);
  config.vocab_size = argument(5, 4096);
  config.head_dim = 64;
  config.num_attention_heads = config.hidden_size / config.head_dim;
  config.num_key_value_heads = std::max(1, config.num_attention_heads / 2);
  const int32_t context = argument(6, 200);
  const Model model = MakeTinyModel(config);
  KvCache cache(config, 1, 512, 8);
  Workspace ws(config, 128, 16, 512);
  cache.AddSequence();
  const std::vector<TokenId> text = RandomTokens(512, config.vocab_size, 1);
  for (int32_t done = 0; done < context; done += 50) {
    Forward(model, {std::span(text).subspan(static_cast<size_t>(done), 50)}, cache, ws);
    cache.CommitAll(0);
  }
  std::vector<int32_t> rows(16);
  for (size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<int32_t>(i);
  const auto pass = [&](size_t n, bool logits) {
    return Microseconds([&] {
      Forward(
          model,
          {.tokens = std::span(text).first(n), .logit_rows = std::span(rows).first(logits ? n : 0)},
          cache, ws);
      cache.DropPending(0);
    });
  };
  const double one = pass(1, true);
  std::printf(
      "{\"target\": \"%s\", \"threads\": %d, \"context\": %d, \"decode_us\": %.1f, "
      "\"tokens_per_second\": %.0f,\n",
      CurrentTarget().c_str(), ThreadCount(), context, one, 1e6 / one);
  std::printf(" \"rows_us\": {\"2\": %.1f, \"4\": %.1f, \"8\": %.1f, \"16\": %.1f}", pass(2, true),
              pass(4, true), pass(8, true), pass(16, true));

  for (const size_t n : {1, 8}) PrintParts(model, cache, ws, n);
  std::printf("}\n");
  return 0;
}
