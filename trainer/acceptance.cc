#include "trainer/acceptance.h"

#include <algorithm>
#include <array>
#include <utility>

#include "engine/draft_heads.h"
#include "engine/error.h"
#include "engine/medusa_drafter.h"
#include "kernels/check.h"
#include "kernels/top_k.h"
#include "kernels/vocab_projection.h"

namespace tern {
namespace {

// How often each head's most probable token is the one that came.
class HeadScorer {
 public:
  HeadScorer(const Model& model, const MedusaHeads& heads)
      : model_(model),
        heads_(heads),
        hits_(static_cast<size_t>(heads.count)),
        seen_(static_cast<size_t>(heads.count)),
        ranks_(std::min(kCandidates, static_cast<size_t>(model.config.vocab_size))),
        reached_(static_cast<size_t>(heads.count)),
        right_(static_cast<size_t>(heads.count), std::vector<int64_t>(ranks_)),
        rows_(static_cast<size_t>(heads.count) * static_cast<size_t>(heads.hidden_size)),
        logits_(static_cast<size_t>(heads.count) * static_cast<size_t>(model.config.vocab_size)) {}

  // The hidden state at `position` of `tokens`. Head k guesses the token k + 1 places on.
  void Score(std::span<const TokenId> tokens, size_t position, std::span<const float> hidden) {
    if (position + 2 >= tokens.size()) return;
    const size_t known = std::min(hits_.size(), tokens.size() - position - 2);
    const size_t d = hidden.size(), vocab = static_cast<size_t>(model_.config.vocab_size);
    ApplyHeads(heads_, hidden, rows_.View(hits_.size(), d));
    const MatView<float> logits = logits_.View(known, vocab);
    const bool shared = heads_.vocabularies.size() == 0;
    if (shared) VocabProjection(rows_.View(known, d), model_.OutputEmbedding(), logits);
    bool on_path = true;  // the token was among every head's candidates so far
    for (size_t k = 0; k < known; ++k) {
      if (!shared)
        VocabProjection(rows_.View(known, d).Rows(k, 1), VocabularyOf(heads_, model_, k),
                        logits.Rows(k, 1));
      const TokenId token = tokens[position + 2 + k];
      std::array<ScoredIndex, kCandidates> best;
      TopK(logits.RowSpan(k), std::span(best).first(ranks_));
      hits_[k] += best[0].index == token ? 1 : 0;
      ++seen_[k];
      if (!on_path) continue;
      ++reached_[k];
      size_t rank = 0;
      while (rank < ranks_ && best[rank].index != token) ++rank;
      on_path = rank < ranks_;
      if (on_path) ++right_[k][rank];
    }
  }
  // Up to the first head that was never reached.
  std::vector<std::vector<double>> Acceptance() const {
    std::vector<std::vector<double>> rates;
    for (size_t k = 0; k < reached_.size() && reached_[k] > 0; ++k) {
      rates.emplace_back();
      for (const int64_t right : right_[k])
        rates[k].push_back(static_cast<double>(right) / static_cast<double>(reached_[k]));
    }
    return rates;
  }
  std::vector<double> Top1() const {
    std::vector<double> shares(hits_.size());
    for (size_t k = 0; k < shares.size(); ++k) {
      if (seen_[k] > 0) shares[k] = static_cast<double>(hits_[k]) / static_cast<double>(seen_[k]);
    }
    return shares;
  }

 private:
  static constexpr auto kCandidates = static_cast<size_t>(MedusaDrafter::kTop);

  const Model& model_;
  const MedusaHeads& heads_;
  std::vector<int64_t> hits_, seen_;  // [K]
  size_t ranks_;
  std::vector<int64_t> reached_;             // [K]
  std::vector<std::vector<int64_t>> right_;  // [K][ranks_]
  AlignedBuffer<float> rows_;                // [K, d]
  AlignedBuffer<float> logits_;              // [K, V]
};

std::vector<std::vector<TokenId>> EncodeAll(const Model& model, const Tokenizer& tokenizer,
                                            const std::string& path,
                                            const std::vector<Prompt>& prompts) {
  const size_t most = static_cast<size_t>(model.config.max_position_embeddings) - 1;
  std::vector<std::vector<TokenId>> all;
  for (const Prompt& prompt : prompts) {
    all.push_back(EncodePrompt(model.config, tokenizer, prompt.text));
    if (all.back().size() > most) {
      throw BadFile({path + ":" + std::to_string(prompt.line), "prompt",
                     "at most " + std::to_string(most) + " tokens, the model's context less one",
                     std::to_string(all.back().size()), "shorten or remove it"});
    }
  }
  return all;
}

GeneratorLimits LimitsFor(const Model& model, const std::vector<std::vector<TokenId>>& prompts,
                          const AcceptanceOptions& options) {
  const GenerationOptions& generation = options.generation;
  size_t longest = 0;
  for (const std::vector<TokenId>& ids : prompts) longest = std::max(longest, ids.size());
  GeneratorLimits limits;
  limits.max_context = static_cast<int32_t>(std::min<int64_t>(
      static_cast<int64_t>(longest) + generation.max_tokens, model.config.max_position_embeddings));
  limits.max_rows = generation.max_rows;
  limits.prefill_chunk = generation.prefill_chunk;
  limits.kv_type = options.kv_type;
  return limits;
}

// Sums over texts, from which the report's rates come.
struct Totals {
  Timings plain, drafted;
  std::vector<double> ratios;
};

void AddTimed(const Timings& from, Timings* to) {
  to->decode_tokens += from.decode_tokens;
  to->decode_seconds += from.decode_seconds;
  to->draft_seconds += from.draft_seconds;
}

void AddCounts(const Timings& from, Timings* to) {
  to->steps += from.steps;
  to->verify_steps += from.verify_steps;
  to->accepted += from.accepted;
  for (size_t i = 0; i < from.accepted_at_depth.size(); ++i)
    to->accepted_at_depth[i] += from.accepted_at_depth[i];
}

void Finish(Totals totals, AcceptanceReport* report) {
  report->acceptance_length = totals.drafted.acceptance_length();
  report->steps = totals.drafted.steps;
  report->verify_steps = totals.drafted.verify_steps;
  for (const int64_t accepted : totals.drafted.accepted_at_depth) {
    if (accepted == 0) break;
    report->accepted_per_depth.push_back(static_cast<double>(accepted) /
                                         static_cast<double>(totals.drafted.verify_steps));
  }
  report->plain_tokens_per_second = totals.plain.decode_tokens_per_second();
  report->speculative_tokens_per_second = totals.drafted.decode_tokens_per_second();
  if (report->plain_tokens_per_second > 0) {
    report->speedup = report->speculative_tokens_per_second / report->plain_tokens_per_second;
  }
  if (totals.drafted.decode_seconds > 0)
    report->draft_share = totals.drafted.draft_seconds / totals.drafted.decode_seconds;
  if (totals.ratios.empty()) return;
  const auto middle = totals.ratios.begin() + static_cast<std::ptrdiff_t>(totals.ratios.size() / 2);
  std::nth_element(totals.ratios.begin(), middle, totals.ratios.end());
  report->median_speedup = *middle;
}

// The two generators and what they have shown so far.
class Comparison {
 public:
  Comparison(const Model& model, const Tokenizer& tokenizer,
             const std::shared_ptr<const MedusaHeads>& heads, const GeneratorLimits& limits,
             const AcceptanceOptions& options)
      : options_(options),
        plain_(model, tokenizer, limits),
        drafting_(model, tokenizer, limits, MakeDrafters(model, heads, limits.max_rows)) {
    if (heads != nullptr) scorer_ = std::make_unique<HeadScorer>(model, *heads);
    plain_options_ = drafting_options_ = options.generation;
    plain_options_.draft = DraftMode::kOff;
  }

  // What is touched for the first time costs more: neither side shall pay for it.
  void WarmUp(std::span<const TokenId> ids) {
    plain_.Generate(ids, plain_options_);
    drafting_.Generate(ids, drafting_options_);
  }

  void Run(size_t index, const Prompt& prompt, std::span<const TokenId> ids) {
    plain_options_.sampling.stream = drafting_options_.sampling.stream =
        static_cast<uint32_t>(index);
    Timings plain, drafted;
    GenerationResult expected;
    for (int32_t repeat = 0; repeat < options_.repeats; ++repeat) {
      GenerationResult got;
      // Each goes first every other time: what drifts, drifts for both.
      const bool drafted_first = (index + static_cast<size_t>(repeat)) % 2 == 1;
      if (drafted_first) got = drafting_.Generate(ids, drafting_options_);
      expected = plain_.Generate(ids, plain_options_);
      if (!drafted_first) got = drafting_.Generate(ids, drafting_options_);
      AddTimed(expected.timings, &plain);
      AddTimed(got.timings, &drafted);
      Compare(prompt, expected, got);
      if (repeat > 0) continue;
      AddCounts(got.timings, &totals_.drafted);
      if (!got.timings.draft_reason.empty()) ++report_.switched_off;
    }
    AddTimed(plain, &totals_.plain);
    AddTimed(drafted, &totals_.drafted);
    const double rate = plain.decode_tokens_per_second();
    if (rate > 0) totals_.ratios.push_back(drafted.decode_tokens_per_second() / rate);
    ++report_.prompts;
    report_.tokens += static_cast<int64_t>(expected.token_ids.size());
    if (scorer_ != nullptr) ScoreHeads(ids, expected.token_ids);
  }

  AcceptanceReport Report() {
    Finish(std::move(totals_), &report_);
    if (scorer_ != nullptr) {
      report_.head_top1 = scorer_->Top1();
      report_.acceptance = scorer_->Acceptance();
    }
    return std::move(report_);
  }

 private:
  void Compare(const Prompt& prompt, const GenerationResult& expected,
               const GenerationResult& got) {
    if (!report_.identical) return;
    const std::string difference = TextDifference(expected, got);
    if (difference.empty()) return;
    report_.identical = false;
    report_.difference =
        "prompt " + prompt.id + " (line " + std::to_string(prompt.line) + "): " + difference;
  }

  // One more pass, untimed: prompt and text as a prompt give the hidden states that generating them
  // gave.
  void ScoreHeads(std::span<const TokenId> prompt, std::span<const TokenId> text) {
    std::vector<TokenId> tokens(prompt.begin(), prompt.end());
    tokens.insert(tokens.end(), text.begin(), text.end());
    plain_.SetHiddenSink([&](int32_t position, std::span<const float> hidden) {
      const size_t at = static_cast<size_t>(position);
      if (at + 1 >= prompt.size()) scorer_->Score(tokens, at, hidden);
    });
    GenerationOptions options;
    options.max_tokens = 1;
    options.draft = DraftMode::kOff;
    // No head has a target behind the last two.
    plain_.Generate(std::span<const TokenId>(tokens).first(std::max<size_t>(tokens.size() - 1, 1)),
                    options);
    plain_.SetHiddenSink({});
  }

  const AcceptanceOptions& options_;
  Generator plain_, drafting_;
  GenerationOptions plain_options_, drafting_options_;
  std::unique_ptr<HeadScorer> scorer_;
  AcceptanceReport report_;
  Totals totals_;
};

}  // namespace

std::string TextDifference(const GenerationResult& plain, const GenerationResult& drafted) {
  const std::vector<TokenId>&a = plain.token_ids, &b = drafted.token_ids;
  const size_t common =
      static_cast<size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
  if (common < std::max(a.size(), b.size())) {
    const auto token = [common](const std::vector<TokenId>& ids) {
      return common < ids.size() ? std::to_string(ids[common]) : std::string("missing");
    };
    return "token " + std::to_string(common) + " is " + token(a) + " plainly and " + token(b) +
           " with drafts";
  }
  if (plain.text != drafted.text) return "the same tokens give different texts";
  if (plain.finish_reason != drafted.finish_reason) {
    return "the finish reason is " + std::string(ToString(plain.finish_reason)) + " plainly and " +
           std::string(ToString(drafted.finish_reason)) + " with drafts";
  }
  return {};
}

AcceptanceReport MeasureAcceptance(const Model& model, const Tokenizer& tokenizer,
                                   const std::shared_ptr<const MedusaHeads>& heads,
                                   const std::string& prompt_path,
                                   const std::vector<Prompt>& prompts,
                                   const AcceptanceOptions& options,
                                   const AcceptanceProgress& progress) {
  TERN_CHECK(options.repeats >= 1) << options.repeats;
  const std::vector<std::vector<TokenId>> all = EncodeAll(model, tokenizer, prompt_path, prompts);
  Comparison comparison(model, tokenizer, heads, LimitsFor(model, all, options), options);
  if (!all.empty()) comparison.WarmUp(all.front());
  for (size_t i = 0; i < all.size(); ++i) {
    comparison.Run(i, prompts[i], all[i]);
    if (progress) progress(i + 1);
  }
  return comparison.Report();
}

}  // namespace tern
