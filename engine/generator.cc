#include "engine/generator.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "engine/error.h"
#include "engine/screened_sampler.h"
#include "kernels/check.h"
#include "kernels/parallel.h"

namespace tern {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int32_t kBlock = 64;  // positions of a cache block

// What a further row of a product adds to the cost of one row: from a core's cache nearly as much;
// from memory, reading the weights is most of the cost, whatever the rows. The vocabulary's table
// stands for the model, of which it is a good part.
constexpr size_t kCachedTableBytes = size_t{8} << 20;
constexpr float kCachedRowShare = 0.6f, kStreamedRowShare = 0.1f;

float RowShare(const MatView<const BFloat16>& table) {
  const bool cached = table.rows * table.cols * sizeof(BFloat16) <= kCachedTableBytes;
  return cached ? kCachedRowShare : kStreamedRowShare;
}

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

int32_t ContextLimit(const Model& model, const GeneratorLimits& limits) {
  const int32_t most = model.config.max_position_embeddings;
  if (limits.max_context < 0 || limits.max_context > most) {
    throw InvalidArgument("max_context is " + std::to_string(limits.max_context) +
                          ", expected 0 to " + std::to_string(most) +
                          ", the longest context of this model");
  }
  return limits.max_context == 0 ? most : limits.max_context;
}

std::string_view Piece(const Tokenizer& tokenizer, TokenId token) {
  // A model may have more rows in its vocabulary than the tokenizer has pieces.
  return token < tokenizer.vocab_size() ? tokenizer.PieceBytes(token) : std::string_view();
}

size_t LongestPiece(const Tokenizer& tokenizer) {
  size_t longest = 0;
  for (TokenId id = 0; id < tokenizer.vocab_size(); ++id) {
    longest = std::max(longest, tokenizer.PieceBytes(id).size());
  }
  return longest;
}

// Up to this size a pass of few rows may be faster on one thread: at 200 products per ns and core
// it takes about a millisecond, the order of another program's time slice.
constexpr size_t kSmallModel = size_t{64} << 20;
// Prompt chunks below this many rows are passes of few rows.
constexpr size_t kFewRows = 32;

// Sets the number of threads back that a text began with.
class ThreadRestorer {
 public:
  ThreadRestorer() : count_(ThreadCount()) {}
  ~ThreadRestorer() { SetThreadCount(count_); }
  ThreadRestorer(const ThreadRestorer&) = delete;
  ThreadRestorer& operator=(const ThreadRestorer&) = delete;

 private:
  int count_;
};

}  // namespace

std::string_view ToString(FinishReason reason) {
  if (reason == FinishReason::kCancelled) return "cancelled";
  return reason == FinishReason::kEos || reason == FinishReason::kStopString ? "stop" : "length";
}

void RequireTokenizerFits(const Model& model, const Tokenizer& tokenizer) {
  if (tokenizer.vocab_size() <= model.config.vocab_size) return;
  throw InvalidArgument("tokenizer has " + std::to_string(tokenizer.vocab_size()) +
                        " pieces, expected at most " + std::to_string(model.config.vocab_size) +
                        ", the model's vocabulary; use the tokenizer that belongs to the model");
}

std::vector<TokenId> EncodePrompt(const ModelConfig& config, const Tokenizer& tokenizer,
                                  std::string_view text) {
  if (text.empty()) throw InvalidArgument("prompt is empty, expected at least one character");
  std::vector<TokenId> ids = tokenizer.Encode(text);
  const bool has_bos = config.bos_token_id >= 0 && tokenizer.bos() >= 0;
  if (has_bos && (ids.empty() || ids.front() != config.bos_token_id)) {
    ids.insert(ids.begin(), config.bos_token_id);
  }
  return ids;
}

Generator::Generator(const Model& model, const Tokenizer& tokenizer, const GeneratorLimits& limits,
                     std::vector<std::unique_ptr<Drafter>> drafters,
                     std::unique_ptr<Planner> planner)
    : model_(model),
      tokenizer_(tokenizer),
      max_context_(ContextLimit(model, limits)),
      max_rows_(std::clamp(limits.max_rows, 1, kMaxRows)),
      max_chunk_(std::clamp(limits.prefill_chunk, 1, kMaxPrefillChunk)),
      max_piece_bytes_(LongestPiece(tokenizer)),
      eos_(model.config.eos_token_ids),
      cache_(model.config, 1, max_context_, (max_context_ + kBlock - 1) / kBlock),
      workspace_(model.config, std::max(max_rows_, max_chunk_), max_rows_, max_context_),
      sequence_(cache_.AddSequence()),
      scratch_(model.config.vocab_size),
      drafting_(max_context_, max_rows_, static_cast<double>(RowShare(model.OutputEmbedding())),
                std::move(drafters), std::move(planner)),
      fixed_threads_(limits.fixed_threads || ModelBytes(model.config) > kSmallModel),
      threads_(ThreadCount(), fixed_threads_),
      row_tokens_(static_cast<size_t>(max_rows_)),
      row_parents_(static_cast<size_t>(max_rows_)),
      logits_at_(static_cast<size_t>(max_rows_)),
      late_logits_(static_cast<size_t>(model.config.vocab_size)),
      late_screened_(1, static_cast<size_t>(model.config.vocab_size),
                     static_cast<size_t>(model.config.hidden_size)),
      logits_threshold_(RowShare(model.OutputEmbedding())) {
  TERN_CHECK(sequence_ == 0) << sequence_;
  RequireTokenizerFits(model, tokenizer);
  if (tokenizer.eos() >= 0) eos_.push_back(tokenizer.eos());
  logit_rows_.reserve(static_cast<size_t>(max_rows_));
  path_.reserve(static_cast<size_t>(max_rows_));
  tokens_.reserve(static_cast<size_t>(max_context_));
}

GenerationResult Generator::Generate(std::span<const TokenId> prompt,
                                     const GenerationOptions& options,
                                     const TextCallback& on_text) {
  if (!on_text) return Generate(prompt, options, StepCallback());
  return Generate(prompt, options, [&on_text](const StepProgress& progress) {
    if (!progress.piece.empty()) on_text(progress.piece);
    return true;
  });
}

GenerationResult Generator::Generate(std::span<const TokenId> prompt,
                                     const GenerationOptions& options,
                                     const StepCallback& on_step) {
  Begin(prompt, options);
  const ThreadRestorer restorer;
  const Clock::time_point start = Clock::now();
  Prefill(on_step);
  result_.timings.prompt_seconds = SecondsSince(start);
  const Clock::time_point decode_start = Clock::now();
  while (!finish_) {
    Step();
    Report(on_step);
  }
  result_.timings.decode_seconds = SecondsSince(decode_start);
  cache_.DropPending(sequence_);
  FinishTimings();
  result_.finish_reason = *finish_;
  result_.text = text_.text();
  return std::move(result_);
}

void Generator::CheckPrompt(std::span<const TokenId> prompt) const {
  if (prompt.empty()) throw InvalidArgument("prompt is empty, expected at least one token");
  if (prompt.size() >= static_cast<size_t>(max_context_)) {
    throw InvalidArgument("prompt has " + std::to_string(prompt.size()) +
                          " tokens, expected at most " + std::to_string(max_context_ - 1) +
                          " in a context of " + std::to_string(max_context_) +
                          "; shorten the prompt");
  }
  for (size_t i = 0; i < prompt.size(); ++i) {
    if (prompt[i] >= 0 && prompt[i] < model_.config.vocab_size) continue;
    throw InvalidArgument("prompt token " + std::to_string(i) + " is " + std::to_string(prompt[i]) +
                          ", expected 0 to " + std::to_string(model_.config.vocab_size - 1));
  }
}

// Checks everything and makes every allocation of the request.
void Generator::Begin(std::span<const TokenId> prompt, const GenerationOptions& options) {
  options.Validate();
  CheckPrompt(prompt);
  const auto& bias = options.sampling.logit_bias;
  if (!bias.empty() && bias.rbegin()->first >= model_.config.vocab_size) {
    throw InvalidArgument("logit_bias has token id " + std::to_string(bias.rbegin()->first) +
                          ", expected less than the vocabulary's " +
                          std::to_string(model_.config.vocab_size));
  }
  options_ = options;
  options_.max_rows = std::min(options.max_rows, max_rows_);
  options_.prefill_chunk = std::min(options.prefill_chunk, max_chunk_);
  tokens_.assign(prompt.begin(), prompt.end());
  prompt_size_ = prompt.size();
  screens_ = model_.has_screen() && CanScreen(options.sampling) && options.logprobs < 0;
  finish_.reset();
  result_ = GenerationResult();

  const size_t room = static_cast<size_t>(max_context_) - prompt.size();
  const size_t most = std::min(static_cast<size_t>(options.max_tokens), room);
  result_.token_ids.reserve(most);
  if (options.logprobs >= 0) {
    result_.logprobs.reserve(most);
    result_.top_logprobs.reserve(most * static_cast<size_t>(options.logprobs));
  }
  text_.Reset(options_.stops, most * max_piece_bytes_);
  if (options.sampling.Penalises()) {
    counts_ = TokenCounts(model_.config.vocab_size, max_context_);
    counts_.AddPrompt(prompt);
  }
  cache_.DropPending(sequence_);
  cache_.Truncate(sequence_, 0);
  if (ThreadCount() != threads_.most()) threads_ = ThreadChoice(ThreadCount(), fixed_threads_);
  drafting_.Begin(options_);
}

void Generator::Prefill(const StepCallback& on_step) {
  const size_t chunk = static_cast<size_t>(options_.prefill_chunk);
  for (size_t begin = 0; begin < prompt_size_ && !finish_; begin += chunk) {
    const size_t count = std::min(chunk, prompt_size_ - begin);
    const bool last = begin + count == prompt_size_;
    const int32_t last_row = static_cast<int32_t>(count) - 1;
    Batch batch;
    batch.tokens = std::span<const TokenId>(tokens_).subspan(begin, count);
    if (last) (screens_ ? batch.screened_rows : batch.logit_rows) = {&last_row, 1};
    if (count < kFewRows) SetThreadCount(threads_.chosen());
    const ForwardResult result = Forward(model_, batch, cache_, workspace_);
    cache_.CommitAll(sequence_);
    if (hidden_sink_) {
      for (size_t i = 0; i < count; ++i)
        hidden_sink_(static_cast<int32_t>(begin + i), result.hidden.RowSpan(i));
    }
    if (last) {
      hidden_ = result.hidden.RowSpan(count - 1);
      finish_ = Append(Choose(hidden_, 0, result));
    }
    Report(on_step);
  }
}

// One pass of the backbone: emits the tokens of the accepted path and the one sampled behind it.
void Generator::Step() {
  const Clock::time_point start = Clock::now();
  const size_t before = tokens_.size();
  const DraftTree& draft = Propose();
  SetThreadCount(threads_.Next());  // also for logits that Accept asks for
  const Clock::time_point verify_start = Clock::now();
  result_.timings.draft_seconds += std::chrono::duration<double>(verify_start - start).count();
  const ForwardResult verified = Verify(draft);
  const double seconds = SecondsSince(verify_start);
  threads_.Report(seconds / drafting_.cost().Relative(draft.size() + 1));
  Accept(draft, verified);
  const int32_t emitted = static_cast<int32_t>(tokens_.size() - before);
  Count(draft, emitted);
  drafting_.Report(seconds, emitted, SecondsSince(start));
}

void Generator::Count(const DraftTree& draft, int32_t emitted) {
  Timings& timings = result_.timings;
  ++timings.steps;
  if (draft.size() == 0) return;
  ++timings.verify_steps;
  timings.drafted += draft.size();
  timings.accepted += emitted - 1;
  for (int32_t i = 0; i < emitted - 1; ++i) ++timings.accepted_at_depth[static_cast<size_t>(i)];
}

// The tree to verify under the root, the last of tokens_.
const DraftTree& Generator::Propose() {
  // The step emits one token more than it accepts.
  const size_t left = std::min(static_cast<size_t>(options_.max_tokens) - result_.token_ids.size(),
                               static_cast<size_t>(max_context_) - tokens_.size());
  // Every row takes a slot behind the committed tokens.
  const int32_t rows = std::min(options_.max_rows, max_context_ - cache_.Length(sequence_));
  return drafting_.Propose(tokens_, hidden_, static_cast<int32_t>(left) - 1, rows);
}

ForwardResult Generator::Verify(const DraftTree& draft) {
  row_tokens_[0] = tokens_.back();
  row_parents_[0] = -1;
  logit_rows_.assign(1, 0);
  logits_at_[0] = 0;
  for (int32_t i = 0; i < draft.size(); ++i) {
    const size_t row = static_cast<size_t>(i) + 1;
    row_tokens_[row] = draft[i].token;
    row_parents_[row] = draft[i].parent + 1;  // row 0 is the root
    const bool likely = draft[i].score >= logits_threshold_;
    logits_at_[row] = likely ? static_cast<int32_t>(logit_rows_.size()) : -1;
    if (likely) logit_rows_.push_back(i + 1);
  }
  const size_t rows = static_cast<size_t>(draft.size()) + 1;
  Batch batch;
  batch.tokens = std::span<const TokenId>(row_tokens_).first(rows);
  batch.parents = std::span<const int32_t>(row_parents_).first(rows);
  (screens_ ? batch.screened_rows : batch.logit_rows) = logit_rows_;
  return Forward(model_, batch, cache_, workspace_);
}

// Walks down from the root while a child carries exactly the token sampled at its parent's row: the
// token plain decoding would have sampled there, since row and history are the same.
void Generator::Accept(const DraftTree& draft, const ForwardResult& verified) {
  path_.clear();
  int32_t node = -1;
  while (true) {
    const int32_t row = node + 1;
    path_.push_back(row);
    const TokenId token = Choose(verified.hidden.RowSpan(static_cast<size_t>(row)),
                                 logits_at_[static_cast<size_t>(row)], verified);
    finish_ = Append(token);
    if (finish_) break;
    const int32_t child = draft.Find(node, token);
    if (child < 0) break;
    node = child;
  }
  if (hidden_sink_) {
    int32_t position = cache_.Length(sequence_);
    for (int32_t row : path_)
      hidden_sink_(position++, verified.hidden.RowSpan(static_cast<size_t>(row)));
  }
  cache_.Commit(sequence_, path_);
  hidden_ = verified.hidden.RowSpan(static_cast<size_t>(path_.back()));
}

// The token behind a row whose history is all of tokens_. `at` is the row's place among those whose
// logits, or bounds of them, the pass computed; -1: it did not.
TokenId Generator::Choose(std::span<const float> hidden, int32_t at,
                          const ForwardResult& verified) {
  if (screens_) {
    if (const std::optional<TokenId> token = ChooseScreened(hidden, at, verified)) return *token;
    at = -1;
  }
  if (at >= 0) return Sample(verified.logits.RowSpan(static_cast<size_t>(at)));
  RowLogits(model_, hidden, late_logits_.span());
  return Sample(late_logits_.span());
}

// None where bounds do not decide.
std::optional<TokenId> Generator::ChooseScreened(std::span<const float> hidden, int32_t at,
                                                 const ForwardResult& verified) {
  ScreenedLogits& screened = at >= 0 ? *verified.screened : late_screened_;
  if (at < 0)
    screened.Screen({hidden.data(), 1, hidden.size()}, model_.OutputEmbedding(), model_.screen);
  const std::optional<TokenId> token =
      SampleScreened(screened, static_cast<size_t>(std::max(at, 0)), options_.sampling,
                     static_cast<int32_t>(tokens_.size()), scratch_);
  ++result_.timings.screened;
  if (!token) ++result_.timings.screen_fallbacks;
  return token;
}

TokenId Generator::Sample(std::span<const float> logits) {
  const int32_t position = static_cast<int32_t>(tokens_.size());
  const TokenId token = SampleToken(logits, options_.sampling, position, counts_, scratch_);
  if (options_.logprobs >= 0) {
    const size_t old_size = result_.top_logprobs.size();
    result_.top_logprobs.resize(old_size + static_cast<size_t>(options_.logprobs));
    const std::span<TokenLogprob> top =
        std::span<TokenLogprob>(result_.top_logprobs).subspan(old_size);
    result_.logprobs.push_back(Logprobs(logits, token, top, scratch_).logprob);
  }
  return token;
}

std::optional<FinishReason> Generator::Append(TokenId token) {
  tokens_.push_back(token);
  result_.token_ids.push_back(token);
  if (options_.sampling.Penalises()) counts_.Push(token);
  if (!options_.ignore_eos && IsEos(token)) return FinishReason::kEos;
  if (text_.Append(Piece(tokenizer_, token))) return FinishReason::kStopString;
  if (result_.token_ids.size() == static_cast<size_t>(options_.max_tokens))
    return FinishReason::kMaxTokens;
  if (tokens_.size() == static_cast<size_t>(max_context_)) return FinishReason::kContext;
  return std::nullopt;
}

void Generator::Report(const StepCallback& on_step) {
  if (!on_step) return;
  const std::string_view piece = finish_ ? text_.TakeRest() : text_.Take();
  const bool go_on = on_step({piece, result_});
  if (!go_on && !finish_) finish_ = FinishReason::kCancelled;
}

void Generator::FinishTimings() {
  Timings& timings = result_.timings;
  timings.prompt_tokens = static_cast<int32_t>(prompt_size_);
  timings.decode_tokens = std::max(static_cast<int32_t>(result_.token_ids.size()) - 1, 0);
  timings.threads = threads_.chosen();
  drafting_.Describe(timings);
}

bool Generator::IsEos(TokenId token) const {
  return std::find(eos_.begin(), eos_.end(), token) != eos_.end();
}

}  // namespace tern
