#include "trainer/perplexity.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <string>
#include <vector>

#include "engine/error.h"
#include "engine/kv_cache.h"
#include "engine/transformer.h"
#include "engine/workspace.h"
#include "kernels/sum_exp.h"
#include "kernels/top_k.h"

namespace tern {
namespace {

constexpr int32_t kDefaultContext = 512;
constexpr int32_t kBlock = 64;  // positions of a cache block
constexpr int32_t kChunk = 64;  // rows of a pass

int32_t WindowSize(const Model& model, int32_t context) {
  const int32_t most = model.config.max_position_embeddings;
  if (context == 0) return std::min(most, kDefaultContext);
  if (context < 4 || context > most) {
    throw InvalidArgument("context is " + std::to_string(context) + ", expected 4 to " +
                          std::to_string(most) + ", the longest context of this model");
  }
  return context;
}

double NegativeLogLikelihood(std::span<const float> logits, TokenId best, TokenId token) {
  const float largest = logits[static_cast<size_t>(best)];
  const double shifted = static_cast<double>(logits[static_cast<size_t>(token)]) - largest;
  return std::log(static_cast<double>(SumExpMinus(logits, largest))) - shifted;
}

struct Predictions {
  double nats = 0.0;
  std::vector<TokenId> best;
};

// The model with a window that it has read up to some token.
class Window {
 public:
  Window(const Model& model, int32_t context, KvType kv_type)
      : model_(model),
        cache_(model.config, 1, context, (context + kBlock - 1) / kBlock, kv_type),
        workspace_(model.config, kChunk, kChunk, context),
        sequence_(cache_.AddSequence()) {}

  // Adds -log p(tokens[i]) for i >= first, each given all before it, and what is most probable in
  // place of each.
  void Score(std::span<const TokenId> tokens, size_t first, Predictions& predictions) {
    cache_.Truncate(sequence_, 0);
    // The last token is predicted, never read.
    for (size_t begin = 0; begin + 1 < tokens.size(); begin += kChunk) {
      const size_t count = std::min<size_t>(kChunk, tokens.size() - 1 - begin);
      rows_.clear();
      for (size_t i = 0; i < count; ++i) {
        if (begin + i + 1 >= first) rows_.push_back(static_cast<int32_t>(i));
      }
      const ForwardResult result =
          Forward(model_, {.tokens = tokens.subspan(begin, count), .logit_rows = rows_}, cache_,
                  workspace_);
      cache_.CommitAll(sequence_);
      for (size_t i = 0; i < rows_.size(); ++i) {
        const size_t next = begin + static_cast<size_t>(rows_[i]) + 1;
        const std::span<const float> logits = result.logits.RowSpan(i);
        predictions.best.push_back(ArgMax(logits));
        predictions.nats += NegativeLogLikelihood(logits, predictions.best.back(), tokens[next]);
      }
    }
  }

 private:
  const Model& model_;
  KvCache cache_;
  Workspace workspace_;
  int32_t sequence_;
  std::vector<int32_t> rows_;
};

// Tokens at the front of a text that nothing predicts.
size_t Unpredictable(const Model& model) { return model.config.bos_token_id >= 0 ? 0 : 1; }

// Every token of the text that can be predicted, once.
Predictions Predict(const Model& model, std::span<const TokenId> ids, int32_t context,
                    KvType kv_type, const PerplexityProgress& progress) {
  Predictions predictions;
  Window window(model, context, kv_type);
  const size_t prefix = 1 - Unpredictable(model);
  const size_t size = static_cast<size_t>(context) - prefix, step = size / 2;
  std::vector<TokenId> tokens;
  size_t scored = Unpredictable(model);  // tokens that have been predicted, or cannot be
  for (size_t begin = 0; scored < ids.size(); begin += step) {
    const size_t end = std::min(begin + size, ids.size());
    tokens.assign(prefix, model.config.bos_token_id);
    tokens.insert(tokens.end(), ids.begin() + static_cast<std::ptrdiff_t>(begin),
                  ids.begin() + static_cast<std::ptrdiff_t>(end));
    window.Score(tokens, prefix + scored - begin, predictions);
    scored = end;
    progress(static_cast<int64_t>(scored));
  }
  return predictions;
}

}  // namespace

double PerplexityReport::loss() const { return nats / static_cast<double>(tokens); }

double PerplexityReport::perplexity() const { return std::exp(loss()); }

double PerplexityReport::bits_per_byte() const {
  return nats / std::log(2.0) / static_cast<double>(bytes);
}

PerplexityReport MeasurePerplexity(const Model& model, std::span<const TokenId> ids, int64_t bytes,
                                   int32_t context, KvType kv_type,
                                   const PerplexityProgress& progress) {
  PerplexityReport report;
  report.context = WindowSize(model, context);
  report.bytes = bytes;
  const size_t scored = Unpredictable(model);
  if (ids.size() <= scored) {
    throw InvalidArgument("text has " + std::to_string(ids.size()) +
                          " tokens, expected two or more");
  }
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] >= 0 && ids[i] < model.config.vocab_size) continue;
    throw InvalidArgument("token " + std::to_string(i) + " of the text is " +
                          std::to_string(ids[i]) + ", expected 0 to " +
                          std::to_string(model.config.vocab_size - 1));
  }
  report.tokens = static_cast<int64_t>(ids.size() - scored);

  const bool compares = kv_type != KvType::kBFloat16;
  const auto start = std::chrono::steady_clock::now();
  const Predictions own = Predict(model, ids, report.context, kv_type, [&](int64_t done) {
    if (progress) progress(compares ? done / 2 : done);
  });
  report.nats = own.nats;
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (!compares) return report;
  const Predictions bf16 =
      Predict(model, ids, report.context, KvType::kBFloat16, [&](int64_t done) {
        if (progress) progress((std::ssize(ids) + done) / 2);
      });
  report.bf16 = {.nats = bf16.nats};
  for (size_t i = 0; i < own.best.size(); ++i)
    report.bf16->same_best += own.best[i] == bf16.best[i] ? 1 : 0;
  return report;
}

}  // namespace tern
