#include "engine/model_check.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numeric>
#include <sstream>
#include <utility>

#include "engine/draft_heads.h"
#include "engine/generator.h"
#include "engine/transformer.h"
#include "kernels/check.h"
#include "kernels/difference.h"
#include "kernels/vector_math.h"

namespace tern {
namespace {

// Room for one sequence, whose rows all have logits.
class Runner {
 public:
  Runner(const Model& model, size_t tokens)
      : model_(model),
        cache_(model.config, 1, Size(tokens), (Size(tokens) + 63) / 64),
        workspace_(model.config, Size(tokens), Size(tokens), Size(tokens)) {
    cache_.AddSequence();
  }
  KvCache& cache() { return cache_; }

  // Logits of the last `wanted` rows; all rows stay pending.
  MatView<const float> Run(std::span<const TokenId> tokens, size_t wanted,
                           std::span<const int32_t> parents = {}) {
    std::vector<int32_t> rows(wanted);
    std::iota(rows.begin(), rows.end(), Size(tokens.size() - wanted));
    return Forward(model_, {tokens, {}, parents, rows}, cache_, workspace_).logits;
  }

 private:
  static int32_t Size(size_t value) { return static_cast<int32_t>(value); }
  const Model& model_;
  KvCache cache_;
  Workspace workspace_;
};

// [tokens, V], one token a pass.
AlignedBuffer<float> DecodeOneByOne(const Model& model, std::span<const TokenId> tokens) {
  const auto vocab = static_cast<size_t>(model.config.vocab_size);
  AlignedBuffer<float> logits(tokens.size() * vocab);
  Runner runner(model, tokens.size());
  for (size_t i = 0; i < tokens.size(); ++i) {
    const MatView<const float> row = runner.Run(tokens.subspan(i, 1), 1);
    std::copy_n(row.Row(0), vocab, logits.data() + i * vocab);
    runner.cache().CommitAll(0);
  }
  return logits;
}

std::string Words(const std::string& what, const std::string& difference) {
  return difference.empty() ? "" : what + ": logits (token, id): " + difference;
}

GenerationOptions Options(float temperature, uint64_t seed, int32_t tokens, DraftMode draft) {
  GenerationOptions options;
  options.sampling.temperature = temperature;
  options.sampling.seed = seed;
  options.max_tokens = tokens;
  options.ignore_eos = true;
  options.draft = draft;
  return options;
}

GeneratorLimits Limits(size_t prompt, int32_t tokens) {
  GeneratorLimits limits;
  limits.max_context = static_cast<int32_t>(prompt) + tokens;
  limits.prefill_chunk = static_cast<int32_t>(prompt);
  return limits;
}

std::vector<TokenId> WritePlainly(const Model& model, const Tokenizer& tokenizer,
                                  const GoldenRun& run, int32_t tokens) {
  Generator generator(model, tokenizer, Limits(run.prompt.size(), tokens));
  return generator.Generate(run.prompt, Options(run.temperature, run.seed, tokens, DraftMode::kOff))
      .token_ids;
}

// What SampleToken chooses by, times the temperature: logits and noise.
struct Choice {
  TokenId token = -1;
  float margin = 0;
};
Choice Choose(std::span<const float> logits, const GoldenRun& run, size_t position) {
  std::vector<float> scores(logits.begin(), logits.end());
  if (run.temperature > 0) {
    for (size_t id = 0; id < scores.size(); ++id) {
      scores[id] += run.temperature * GumbelNoise(run.seed, 0, static_cast<uint32_t>(position),
                                                  static_cast<uint32_t>(id));
    }
  }
  ScoredIndex best[2];
  TopK(scores, best);
  return {best[0].index, best[0].value - best[1].value};
}

// The longest stretch of tokens, [begin, end), that no machine should write otherwise.
std::pair<ptrdiff_t, ptrdiff_t> LongestCertain(const GoldenRun& run) {
  std::pair<ptrdiff_t, ptrdiff_t> longest;
  ptrdiff_t begin = 0;
  for (ptrdiff_t i = 0; i < std::ssize(run.margins); ++i) {
    if (!(run.margins[static_cast<size_t>(i)] > kGoldenMargin)) begin = i + 1;
    if (i + 1 - begin > longest.second - longest.first) longest = {begin, i + 1};
  }
  return longest;
}

// fn(i, logits, choice) for each recorded token, behind the recorded ones before it.
template <class Fn>
void ForEachToken(const Model& model, const GoldenRun& run, const Fn& fn) {
  std::vector<TokenId> tokens = run.prompt;
  tokens.insert(tokens.end(), run.ids.begin(), run.ids.end() - 1);
  Runner runner(model, tokens.size());
  const MatView<const float> logits = runner.Run(tokens, run.ids.size());
  for (size_t i = 0; i < run.ids.size(); ++i) {
    fn(i, logits.RowSpan(i), Choose(logits.RowSpan(i), run, run.prompt.size() + i));
  }
}

}  // namespace

std::string CheckRowsAgree(const Model& model, std::span<const TokenId> tokens) {
  TERN_CHECK(tokens.size() >= 4) << tokens.size() << " tokens";
  const size_t n = tokens.size(), vocab = static_cast<size_t>(model.config.vocab_size);
  const AlignedBuffer<float> alone = DecodeOneByOne(model, tokens);
  Runner prefill(model, n);
  const std::string together = Words("one prefill against decoding",
                                     BitDifference(alone.View(n, vocab), prefill.Run(tokens, n)));
  if (!together.empty()) return together;
  // The last three tokens as a path of a tree, each with a sibling that is another token.
  const size_t prefix = n - 3;
  const auto other = [&](TokenId token) { return (token + 1) % model.config.vocab_size; };
  const TokenId nodes[] = {tokens[prefix],
                           other(tokens[prefix]),
                           tokens[prefix + 1],
                           other(tokens[prefix + 1]),
                           other(tokens[prefix + 2]),
                           tokens[prefix + 2]};
  const int32_t parents[] = {-1, -1, 0, 0, 2, 2}, path[] = {0, 2, 5};
  Runner tree(model, n + 3);
  tree.Run(tokens.first(prefix), 1);
  tree.cache().CommitAll(0);
  const MatView<const float> verified = tree.Run(nodes, 6, parents);
  for (size_t i = 0; i < 3; ++i) {
    const std::string difference =
        Words("a tree's path against decoding",
              BitDifference(alone.View(n, vocab).Rows(prefix + i, 1),
                            verified.Rows(static_cast<size_t>(path[i]), 1)));
    if (!difference.empty()) return difference;
  }
  return "";
}

std::string CheckLossless(const Model& model, const Tokenizer& tokenizer,
                          const std::shared_ptr<const MedusaHeads>& heads,
                          std::span<const TokenId> prompt, int32_t max_tokens) {
  const GeneratorLimits limits = Limits(prompt.size(), max_tokens);
  Generator generator(model, tokenizer, limits, MakeDrafters(model, heads, limits.max_rows));
  for (const float temperature : {0.0f, 0.8f}) {
    const auto ids = [&](DraftMode draft) {
      return generator.Generate(prompt, Options(temperature, 7, max_tokens, draft)).token_ids;
    };
    const std::vector<TokenId> plain = ids(DraftMode::kOff), drafted = ids(DraftMode::kTree);
    const auto [a, b] = std::mismatch(plain.begin(), plain.end(), drafted.begin(), drafted.end());
    if (a == plain.end() && b == drafted.end()) continue;
    const auto text = [](auto at, auto end) {
      return at == end ? std::string("none") : std::to_string(*at);
    };
    return (std::ostringstream() << (temperature > 0 ? "sampled" : "greedy")
                                 << " text with drafts: token " << a - plain.begin()
                                 << ": expected " << text(a, plain.end()) << ", got "
                                 << text(b, drafted.end()))
        .str();
  }
  return "";
}

GoldenRun RecordGoldenRun(const Model& model, const Tokenizer& tokenizer,
                          std::span<const TokenId> prompt, float temperature, uint64_t seed,
                          int32_t tokens) {
  GoldenRun run = {
      .prompt = {prompt.begin(), prompt.end()}, .temperature = temperature, .seed = seed};
  run.ids = WritePlainly(model, tokenizer, run, tokens);
  ForEachToken(model, run, [&](size_t i, std::span<const float> logits, const Choice& choice) {
    const bool same = choice.token == run.ids[i];  // else a tie, but for rounding
    run.logits.push_back(logits[static_cast<size_t>(run.ids[i])]);
    run.margins.push_back(same ? choice.margin : 0.0f);
  });
  return run;
}

std::string CheckGoldenRun(const Model& model, const Tokenizer& tokenizer, const GoldenRun& run) {
  const std::string kind = run.temperature > 0 ? "sampled" : "greedy";
  std::string problem;
  ForEachToken(model, run, [&](size_t i, std::span<const float> logits, const Choice& choice) {
    if (!problem.empty()) return;
    const float logit = logits[static_cast<size_t>(run.ids[i])];
    std::ostringstream text;
    if (!(std::fabs(logit - run.logits[i]) <= kGoldenLogit)) {  // NaN too
      text << kind << " run: logit of token " << i << ": expected " << run.logits[i] << " within "
           << kGoldenLogit << ", got " << logit;
    } else if (run.margins[i] > kGoldenMargin && choice.token != run.ids[i]) {
      text << kind << " run: token " << i << ": expected " << run.ids[i] << ", which led by "
           << run.margins[i] << ", got " << choice.token;
    }
    problem = text.str();
  });
  if (!problem.empty()) return problem;
  const auto [begin, end] = LongestCertain(run);
  if (begin == end) return "";
  GoldenRun rest = run;
  rest.prompt.insert(rest.prompt.end(), run.ids.begin(), run.ids.begin() + begin);
  const std::vector<TokenId> written =
      WritePlainly(model, tokenizer, rest, static_cast<int32_t>(end - begin));
  for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
    const size_t at = i - static_cast<size_t>(begin);
    if (at < written.size() && written[at] == run.ids[i]) continue;
    return kind + " run: token " + std::to_string(i) + " written: expected " +
           std::to_string(run.ids[i]) + ", got " +
           (at < written.size() ? std::to_string(written[at]) : "none");
  }
  return "";
}

}  // namespace tern
