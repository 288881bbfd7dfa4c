// What drafting with Medusa heads costs beside the passes it saves, as JSON on stdout. Not a test.
//   draft_bench [threads] [d] [layers] [f] [vocab] [heads]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <vector>

#include "engine/draft_logits.h"
#include "engine/medusa_drafter.h"
#include "kernels/dispatch.h"
#include "kernels/parallel.h"
#include "kernels/random_data.h"
#include "kernels/sum_exp.h"
#include "kernels/top_k.h"
#include "tests/bench/stopwatch.h"
#include "tests/support/random_heads.h"
#include "tests/support/tiny_model.h"

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
  const auto d = static_cast<size_t>(config.hidden_size),
             vocab = static_cast<size_t>(config.vocab_size),
             k = static_cast<size_t>(argument(6, 4));
  const Model model = MakeTinyModel(config);
  std::printf("{\"target\": \"%s\", \"threads\": %d", CurrentTarget().c_str(), ThreadCount());
  RandomData random(1);
  const AlignedBuffer<float> hidden = random.Floats(d, -0.5f, 0.5f);
  const TokenId root = 0;
  const DraftContext seen{{&root, 1}, hidden.span(), 16};
  // All tokens, then the shortlist of a model of this size.
  for (const size_t tokens : {vocab, std::min(vocab, ShortlistSize(model))}) {
    MedusaHeads made = RandomHeads(static_cast<int32_t>(k), config.hidden_size, 0.02f, 1);
    made.shortlist.resize(tokens);
    std::iota(made.shortlist.begin(), made.shortlist.end(), 0);
    if (tokens == vocab) made.shortlist.clear();
    const auto heads = std::make_shared<const MedusaHeads>(std::move(made));
    MedusaDrafter drafter(std::make_shared<DraftLogits>(model, *heads), 32);
    DraftLogits draft(model, *heads);
    DraftTree tree(64);
    const double all = Microseconds([&] {
      tree.Clear();
      drafter.Propose(seen, tree);
    });
    const double pair = Microseconds([&] { draft.Evaluate(hidden.span(), 0, 0, 2); });
    const MatView<const float> logits =
        draft.Evaluate(hidden.span(), 0, 0, static_cast<int32_t>(k));
    const double project =
        Microseconds([&] { draft.Evaluate(hidden.span(), 0, 0, static_cast<int32_t>(k)); });
    std::vector<ScoredIndex> best(MedusaDrafter::kTop);
    const double top = Microseconds([&] {
      for (size_t r = 0; r < k; ++r) TopK(logits.RowSpan(r), best);
    });
    const double sums = Microseconds([&] {
      for (size_t r = 0; r < k; ++r) SumExpMinus(logits.RowSpan(r), 100.0f);
    });
    std::printf(
        ",\n \"draft_us\": {\"tokens\": %zu, \"heads\": %zu, \"nodes\": %d, \"all\": %.1f, "
        "\"logits\": %.1f, \"logits_of_2_heads\": %.1f, \"top\": %.1f, \"sums\": %.1f}",
        tokens, k, tree.size(), all, project, pair, top, sums);
  }
  std::printf("}\n");
  return 0;
}
