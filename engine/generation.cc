#include "engine/generation.h"

#include <algorithm>
#include <string>
#include <utility>

#include "engine/error.h"
#include "engine/step_facts.h"
#include "kernels/check.h"

namespace tern {

void Forest::Reserve(size_t rows) {
  tokens.reserve(rows);
  for (auto* list : {&sequences, &parents, &logit_rows, &screened_rows}) list->reserve(rows);
}

void Forest::Clear() {
  tokens.clear();
  for (auto* list : {&sequences, &parents, &logit_rows, &screened_rows}) list->clear();
}

Generation::Generation(const TextModel& text_model, int32_t max_context, int32_t max_rows,
                       int32_t max_chunk, const StepCost& cost, ChoiceScratch& scratch,
                       std::vector<std::unique_ptr<Drafter>> drafters,
                       std::unique_ptr<Planner> planner)
    : text_model_(text_model),
      scratch_(scratch),
      max_context_(max_context),
      max_rows_(max_rows),
      logits_threshold_(static_cast<float>(cost.prior())),
      drafting_(max_context, max_rows, cost, std::move(drafters), std::move(planner)),
      choice_at_(static_cast<size_t>(std::max(max_rows, max_chunk))),
      hidden_(static_cast<size_t>(text_model.model.config.hidden_size)) {
  const auto most = static_cast<size_t>(max_rows);
  path_.reserve(most);
  typical_path_.Reserve(most);
  tokens_.reserve(static_cast<size_t>(max_context));
}

void Generation::Check(const ModelConfig& config, std::span<const TokenId> prompt,
                       const GenerationOptions& options, int32_t max_context) {
  options.Validate();
  if (prompt.empty()) throw InvalidArgument("prompt is empty, expected at least one token");
  if (prompt.size() >= static_cast<size_t>(max_context)) {
    throw InvalidArgument("prompt has " + std::to_string(prompt.size()) +
                          " tokens, expected at most " + std::to_string(max_context - 1) +
                          " in a context of " + std::to_string(max_context) +
                          "; shorten the prompt");
  }
  for (size_t i = 0; i < prompt.size(); ++i) {
    if (prompt[i] >= 0 && prompt[i] < config.vocab_size) continue;
    throw InvalidArgument("prompt token " + std::to_string(i) + " is " + std::to_string(prompt[i]) +
                          ", expected 0 to " + std::to_string(config.vocab_size - 1));
  }
  if (options.grammar != nullptr && options.grammar->trie().vocab_size() != config.vocab_size) {
    throw InvalidArgument("grammar is of a vocabulary of " +
                          std::to_string(options.grammar->trie().vocab_size()) +
                          " tokens, expected the model's " + std::to_string(config.vocab_size));
  }
  const auto& bias = options.sampling.logit_bias;
  if (!bias.empty() && bias.rbegin()->first >= config.vocab_size) {
    throw InvalidArgument("logit_bias has token id " + std::to_string(bias.rbegin()->first) +
                          ", expected less than the vocabulary's " +
                          std::to_string(config.vocab_size));
  }
}

// Makes every allocation of the request.
void Generation::Begin(std::span<const TokenId> prompt, const GenerationOptions& options,
                       int32_t sequence, int32_t cached, const AcceptanceReplay* replay) {
  const Model& model = text_model_.model;
  options_ = options;
  replay_ = replay;
  options_.max_rows = std::min(options.max_rows, max_rows_);
  sequence_ = sequence;
  committed_ = cached;
  tokens_.assign(prompt.begin(), prompt.end());
  prompt_size_ = prompt.size();
  screens_ = model.has_screen() && CanScreen(options.sampling) && options.logprobs < 0 &&
             !options.typical.on();
  finish_.reset();
  result_ = GenerationResult();
  result_.timings.cached_tokens = cached;
  start_ = Clock::now();

  const size_t room = static_cast<size_t>(max_context_) - prompt.size();
  const size_t most = std::min(static_cast<size_t>(options.max_tokens), room);
  result_.token_ids.reserve(most);
  if (options.logprobs >= 0) {
    result_.logprobs.reserve(most);
    result_.top_logprobs.reserve(most * static_cast<size_t>(options.logprobs));
  }
  text_.Reset(options_.stops, most * text_model_.max_piece_bytes);
  if (options.sampling.Penalises()) {
    counts_ = TokenCounts(model.config.vocab_size, max_context_);
    counts_.AddPrompt(prompt);
  }
  grammar_.reset();
  if (options.grammar != nullptr) grammar_.emplace(options.grammar);
  drafting_.Begin(options_, grammar_ ? &*grammar_ : nullptr, replay_);
}

// `parent` is a row of this text, -1 the last committed token.
void Generation::AddRow(TokenId token, int32_t parent, bool chooses, Forest& forest) {
  std::vector<int32_t>& list = screens_ ? forest.screened_rows : forest.logit_rows;
  choice_at_[static_cast<size_t>(rows_)] = chooses ? static_cast<int32_t>(list.size()) : -1;
  if (chooses) list.push_back(forest.rows());
  forest.tokens.push_back(token);
  forest.sequences.push_back(sequence_);
  forest.parents.push_back(parent < 0 ? -1 : first_row_ + parent);
  ++rows_;
}

void Generation::AddPromptRows(int32_t count, Forest& forest) {
  first_row_ = forest.rows();
  rows_ = 0;
  for (int32_t i = 0; i < count; ++i) {
    const auto at = static_cast<size_t>(committed_ + i);
    AddRow(tokens_[at], i - 1, at + 1 == prompt_size_, forest);
  }
}

int32_t Generation::Propose(int32_t max_rows) {
  const Clock::time_point start = Clock::now();
  // The step emits one token more than it accepts.
  const size_t left = std::min(static_cast<size_t>(options_.max_tokens) - result_.token_ids.size(),
                               static_cast<size_t>(max_context_) - tokens_.size());
  // Every row takes a slot behind the committed tokens.
  const int32_t rows = std::min({options_.max_rows, max_rows, max_context_ - committed_});
  const DraftTree& tree = drafting_.Propose(tokens_, hidden_, static_cast<int32_t>(left) - 1, rows);
  draft_seconds_ = std::chrono::duration<double>(Clock::now() - start).count();
  plan_seconds_ = draft_seconds_ - drafting_.drafter_seconds();
  result_.timings.draft_seconds += draft_seconds_;
  result_.timings.plan_seconds += plan_seconds_;
  return tree.size();
}

void Generation::AddPlanSeconds(double seconds) {
  draft_seconds_ += seconds;
  plan_seconds_ += seconds;
  result_.timings.draft_seconds += seconds;
  result_.timings.plan_seconds += seconds;
}

void Generation::AddStepRows(Forest& forest) {
  first_row_ = forest.rows();
  rows_ = 0;
  AddRow(tokens_.back(), -1, true, forest);
  for (const DraftNode& node : draft().nodes())
    AddRow(node.token, node.parent + 1, node.score >= logits_threshold_, forest);
}

void Generation::TakePrompt(const ForwardResult& result, KvCache& cache, const HiddenSink& sink) {
  emitted_ = 0;
  cache.CommitAll(sequence_);
  for (int32_t i = 0; sink && i < rows_; ++i) sink(committed_ + i, Hidden(i, result));
  committed_ += rows_;
  if (PromptLeft() > 0) return;
  const std::span<const float> last = Hidden(rows_ - 1, result);
  std::copy(last.begin(), last.end(), hidden_.begin());
  finish_ = Append(Choose(rows_ - 1, choice_at_[static_cast<size_t>(rows_ - 1)], result));
  decode_start_ = Clock::now();
  result_.timings.prompt_seconds = std::chrono::duration<double>(decode_start_ - start_).count();
}

// Walks down from the root while a child carries exactly the token sampled at its parent's row: the
// token plain decoding would have sampled there, since row and history are the same. With typical
// acceptance the path it accepts comes first.
void Generation::TakeStep(const ForwardResult& result, KvCache& cache, const HiddenSink& sink) {
  path_.clear();
  emitted_ = 0;
  const std::span<const int32_t> typical_path = TypicalPathOf(result);
  int32_t node = -1;
  while (true) {
    const int32_t row = node + 1, at = choice_at_[static_cast<size_t>(row)];
    const bool typical = path_.size() < typical_path.size();
    TokenId token = typical ? draft()[typical_path[path_.size()]].token : Choose(row, at, result);
    if (typical && options_.logprobs >= 0) RecordLogprobs(Logits(row, at, result), token);
    path_.push_back(row);
    if (replay_ != nullptr)
      token = replay_->Choose(static_cast<int32_t>(tokens_.size()), emitted_ + 1);
    finish_ = Append(token);
    ++emitted_;
    if (finish_) break;
    node = draft().Find(node, token);
    if (node < 0) break;
  }
  for (size_t i = 0; sink && i < path_.size(); ++i)
    sink(committed_ + static_cast<int32_t>(i), Hidden(path_[i], result));
  cache.Commit(sequence_, path_);
  committed_ += static_cast<int32_t>(path_.size());
  const std::span<const float> last = Hidden(path_.back(), result);
  std::copy(last.begin(), last.end(), hidden_.begin());
  Count(emitted_);
}

void Generation::ReportStep(double seconds) { drafting_.Report(emitted_, seconds); }

void Generation::Count(int32_t emitted) {
  Timings& timings = result_.timings;
  ++timings.steps;
  if (draft().size() == 0) return;
  ++timings.verify_steps;
  timings.drafted += draft().size();
  timings.accepted += emitted - 1;
  for (const DraftNode& node : draft().nodes())
    ++timings.by_drafter[DrafterIndex(node.proposers)].drafted;
  for (size_t i = 1; i < path_.size(); ++i)
    ++timings.by_drafter[DrafterIndex(draft()[path_[i] - 1].proposers)].accepted;
  for (int32_t i = 0; i < emitted - 1; ++i) ++timings.accepted_at_depth[static_cast<size_t>(i)];
}

// The token behind a row of this text whose history is all of tokens_. `at` is its place among the
// rows whose logits, or bounds of them, the pass computed; -1: it did not.
TokenId Generation::Choose(int32_t row, int32_t at, const ForwardResult& result) {
  // What a grammar leaves no choice of costs nothing.
  if (grammar_ && options_.logprobs < 0 && grammar_->AllowedCount() == 1)
    return grammar_->Allowed().First();
  const std::span<const float> hidden = Hidden(row, result);
  if (screens_) {
    if (const std::optional<TokenId> token = ChooseScreened(hidden, at, result)) return *token;
    at = -1;
  }
  return Sample(Logits(row, at, result));
}

std::span<const float> Generation::Logits(int32_t row, int32_t at, const ForwardResult& result) {
  if (at >= 0) return result.logits.RowSpan(static_cast<size_t>(at));
  RowLogits(text_model_.model, Hidden(row, result), scratch_.logits.span());
  return scratch_.logits.span();
}

// None where bounds do not decide.
std::optional<TokenId> Generation::ChooseScreened(std::span<const float> hidden, int32_t at,
                                                  const ForwardResult& result) {
  const Model& model = text_model_.model;
  ScreenedLogits& screened = at >= 0 ? *result.screened : scratch_.screened;
  if (at < 0)
    screened.Screen({hidden.data(), 1, hidden.size()}, model.OutputEmbedding(), model.screen);
  const std::optional<TokenId> token =
      SampleScreened(screened, static_cast<size_t>(std::max(at, 0)), options_.sampling,
                     static_cast<int32_t>(tokens_.size()), scratch_.sampler, Allowed());
  ++result_.timings.screened;
  if (!token) ++result_.timings.screen_fallbacks;
  return token;
}

TokenId Generation::Sample(std::span<const float> logits) {
  const auto position = static_cast<int32_t>(tokens_.size());
  const TokenId token =
      SampleToken(logits, options_.sampling, position, counts_, scratch_.sampler, Allowed());
  if (options_.logprobs >= 0) RecordLogprobs(logits, token);
  return token;
}

void Generation::RecordLogprobs(std::span<const float> logits, TokenId token) {
  const size_t old_size = result_.top_logprobs.size();
  result_.top_logprobs.resize(old_size + static_cast<size_t>(options_.logprobs));
  const std::span<TokenLogprob> top =
      std::span<TokenLogprob>(result_.top_logprobs).subspan(old_size);
  result_.logprobs.push_back(Logprobs(logits, token, top, scratch_.sampler).logprob);
}

// The nodes that typical acceptance takes; none where the text goes without it.
std::span<const int32_t> Generation::TypicalPathOf(const ForwardResult& result) {
  if (!options_.typical.on() || draft().size() == 0) return {};
  const auto logits = [this, &result](int32_t row) {
    return Logits(row, choice_at_[static_cast<size_t>(row)], result);
  };
  return typical_path_.Find(draft(), options_.typical, options_.sampling, logits, counts_,
                            scratch_.sampler);
}

std::optional<FinishReason> Generation::Append(TokenId token) {
  tokens_.push_back(token);
  result_.token_ids.push_back(token);
  if (options_.sampling.Penalises()) counts_.Push(token);
  if (!options_.ignore_eos && text_model_.IsEos(token)) return FinishReason::kEos;
  if (text_.Append(text_model_.Piece(token))) return FinishReason::kStopString;
  if (grammar_) {
    grammar_->Append(token);
    if (grammar_->complete()) return FinishReason::kGrammar;
  }
  if (result_.token_ids.size() == static_cast<size_t>(options_.max_tokens))
    return FinishReason::kMaxTokens;
  if (tokens_.size() == static_cast<size_t>(max_context_)) return FinishReason::kContext;
  // The text is cut short as if it had run out of tokens.
  if (grammar_ && grammar_->stuck()) return FinishReason::kMaxTokens;
  return std::nullopt;
}

void Generation::Report(const StepCallback& on_step, double pass_seconds, double seconds) {
  if (!on_step) return;
  const StepFacts facts{.context = committed_ - static_cast<int32_t>(path_.size()),
                        .emitted = emitted_,
                        .nodes = draft().nodes(),
                        .path = path_,
                        .draft_seconds = draft_seconds_,
                        .plan_seconds = plan_seconds_,
                        .pass_seconds = pass_seconds,
                        .seconds = seconds};
  const std::string_view piece = finish_ ? text_.TakeRest() : text_.Take();
  const bool go_on = on_step({piece, result_, emitted_ > 0 ? &facts : nullptr});
  if (!go_on) Cancel();
}

void Generation::Cancel() {
  if (!finish_) finish_ = FinishReason::kCancelled;
}

GenerationResult Generation::Finish() {
  TERN_CHECK(finish_.has_value());
  Timings& timings = result_.timings;
  const bool decoded = !result_.token_ids.empty();
  const Clock::time_point now = Clock::now();
  if (!decoded) timings.prompt_seconds = std::chrono::duration<double>(now - start_).count();
  timings.decode_seconds =
      decoded ? std::chrono::duration<double>(now - decode_start_).count() : 0.0;
  timings.prompt_tokens = static_cast<int32_t>(prompt_size_);
  timings.decode_tokens = std::max(static_cast<int32_t>(result_.token_ids.size()) - 1, 0);
  drafting_.Describe(timings);
  timings.lossy = options_.typical.Label();
  result_.finish_reason = *finish_;
  result_.text = text_.text();
  sequence_ = -1;
  return std::move(result_);
}

}  // namespace tern
