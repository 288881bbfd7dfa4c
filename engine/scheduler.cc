#include "engine/scheduler.h"

#include <algorithm>
#include <string>
#include <utility>

#include "engine/error.h"
#include "kernels/check.h"
#include "kernels/parallel.h"
#include "kernels/thread_team.h"

namespace tern {
namespace {

constexpr int32_t kBlock = static_cast<int32_t>(kKvBlock);

// What a further row of a product adds to the cost of one row: from a core's cache nearly as much;
// from memory, reading the weights is most of the cost, whatever the rows. The vocabulary's table
// stands for the model, of which it is a good part.
constexpr size_t kCachedTableBytes = size_t{8} << 20;
constexpr double kCachedRowShare = 0.6, kStreamedRowShare = 0.1;

// Up to this size a pass of few rows may be faster on one thread: at 200 products per ns and core
// it takes about a millisecond, the order of another program's time slice.
constexpr size_t kSmallModel = size_t{64} << 20;
// Passes below this many rows are passes of few rows.
constexpr int32_t kFewRows = 32;

// A running text may wait for a chunk of a prompt as long as for this many plain steps, its own
// step in the same pass not counted.
constexpr double kStepsToWait = 3.0;
constexpr int32_t kLeastPromptRows = 16;  // of a chunk, however slow the machine

int32_t Blocks(int64_t slots) { return static_cast<int32_t>((slots + kBlock - 1) / kBlock); }

double RowShare(const MatView<const BFloat16>& table) {
  const bool cached = table.rows * table.cols * sizeof(BFloat16) <= kCachedTableBytes;
  return cached ? kCachedRowShare : kStreamedRowShare;
}

int32_t ContextLimit(const Model& model, int32_t wanted) {
  const int32_t most = model.config.max_position_embeddings;
  if (wanted < 0 || wanted > most) {
    throw InvalidArgument("max_context is " + std::to_string(wanted) + ", expected 0 to " +
                          std::to_string(most) + ", the longest context of this model");
  }
  return wanted == 0 ? most : wanted;
}

int32_t CheckedSequences(int32_t wanted) {
  if (wanted >= 1 && wanted <= kMaxRows) return wanted;
  throw InvalidArgument("max_sequences is " + std::to_string(wanted) + ", expected 1 to " +
                        std::to_string(kMaxRows));
}

int32_t BlockCount(const SchedulerLimits& limits, int32_t max_context) {
  const int32_t whole = Blocks(max_context);
  if (limits.kv_blocks == 0) return whole * limits.max_sequences;
  if (limits.kv_blocks >= whole) return limits.kv_blocks;
  throw InvalidArgument("kv_blocks is " + std::to_string(limits.kv_blocks) +
                        ", expected at least " + std::to_string(whole) + ", what one context of " +
                        std::to_string(max_context) + " tokens takes");
}

double SecondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

Scheduler::Scheduler(const Model& model, const Tokenizer& tokenizer, const SchedulerLimits& limits,
                     const DraftingParts& drafting)
    : text_model_(model, tokenizer),
      max_context_(ContextLimit(model, limits.max_context)),
      max_chunk_(std::clamp(limits.prefill_chunk, 1, kMaxPrefillChunk)),
      max_rows_(std::clamp(limits.max_rows, 1, kMaxRows)),
      step_rows_(std::min(kMaxRows, CheckedSequences(limits.max_sequences) * max_rows_)),
      cache_(model.config, limits.max_sequences, max_context_, BlockCount(limits, max_context_),
             limits.kv_type),
      prefixes_(limits.reuse_prefixes ? std::make_unique<PrefixCache>(cache_) : nullptr),
      workspace_(
          model.config,
          limits.max_sequences == 1 ? std::max(step_rows_, max_chunk_) : step_rows_ + max_chunk_,
          step_rows_ + (limits.max_sequences > 1 ? limits.max_sequences : 0), max_context_),
      scratch_(model.config),
      cost_(RowShare(model.OutputEmbedding()), limits.costs),
      joint_(limits.max_sequences, cost_),
      fixed_threads_(limits.fixed_threads || ModelBytes(model.config) > kSmallModel),
      threads_(ThreadCount(), fixed_threads_) {
  for (int32_t i = 0; i < limits.max_sequences; ++i) {
    places_.push_back(std::make_unique<Generation>(
        text_model_, max_context_, max_rows_, max_chunk_, cost_, scratch_,
        drafting.drafters ? drafting.drafters() : std::vector<std::unique_ptr<Drafter>>(),
        drafting.planner ? drafting.planner() : nullptr));
    free_places_.push_back(places_.size() - 1);
  }
  std::reverse(free_places_.begin(), free_places_.end());
  running_.reserve(places_.size());
  trees_.reserve(places_.size());
  drafting_.reserve(places_.size());
  counts_.reserve(places_.size());
  blocks_.reserve(static_cast<size_t>(Blocks(max_context_)));
  forest_.Reserve(static_cast<size_t>(workspace_.max_rows()));
}

// All that the text can fill. A step's drafts lie behind its committed tokens, within the context.
int32_t Scheduler::BlocksFor(const TextRequest& request) const {
  const int64_t most = static_cast<int64_t>(request.prompt.size()) + request.options.max_tokens +
                       std::min(request.options.max_rows, max_rows_);
  return Blocks(std::min<int64_t>(most, max_context_));
}

Scheduler::Id Scheduler::Submit(TextRequest request) {
  Generation::Check(text_model_.model.config, request.prompt, request.options, max_context_);
  waiting_.push_back({next_id_, std::move(request)});
  return next_id_++;
}

void Scheduler::Cancel(Id id) {
  for (Running& running : running_) {
    if (running.id == id) return At(running).Cancel();
  }
  for (Waiting& waiting : waiting_) {
    if (waiting.id == id) waiting.cancelled = true;
  }
}

void Scheduler::Drop(Id id) {
  std::erase_if(waiting_, [id](const Waiting& waiting) { return waiting.id == id; });
  for (Running& running : running_) {
    if (running.id == id) running.id = 0;
  }
  EndFinished();
}

// Blocks that nobody has a claim on: running texts keep what they may still fill.
int32_t Scheduler::Unreserved() const {
  int32_t claims = 0;
  for (const Running& running : running_) {
    const int32_t sequence = places_[running.place]->sequence();
    claims += running.reserved - Blocks(cache_.Length(sequence));
  }
  return cache_.FreeBlocks() + (prefixes_ ? prefixes_->unused() : 0) - claims;
}

void Scheduler::Admit() {
  while (!waiting_.empty() && (waiting_.front().cancelled || !free_places_.empty())) {
    if (!Begin(waiting_.front())) return;
    waiting_.pop_front();
  }
}

// False where the cache has no room yet.
bool Scheduler::Begin(Waiting& waiting) {
  TextRequest& request = waiting.request;
  if (waiting.cancelled) {
    GenerationResult result;
    result.finish_reason = FinishReason::kCancelled;
    if (request.on_finish) Guarded([&] { request.on_finish(std::move(result)); });
    return true;
  }
  blocks_.clear();
  // Whoever wants hidden states wants those of the whole prompt.
  if (prefixes_ && !request.on_hidden) prefixes_->Find(request.prompt, blocks_);
  const int32_t sequence = cache_.AddSequence();
  cache_.Share(sequence, blocks_);  // from here on they are in use
  const int32_t needed = BlocksFor(request) - static_cast<int32_t>(blocks_.size());
  if (needed > Unreserved()) {
    cache_.RemoveSequence(sequence);
    TERN_CHECK(!running_.empty()) << needed << " blocks wanted of an idle cache";
    return false;
  }
  Running running{.id = waiting.id, .place = free_places_.back(), .request = std::move(request)};
  running.reserved = needed + static_cast<int32_t>(blocks_.size());
  free_places_.pop_back();
  At(running).Begin(running.request.prompt, running.request.options, sequence,
                    cache_.Length(sequence), running.request.replay.get());
  running_.push_back(std::move(running));
  return true;
}

// Roots and drafts of every text that is past its prompt.
void Scheduler::AddSteps() {
  step_count_ = 0;
  for (Running& running : running_) {
    running.in_prompt = At(running).PromptLeft() > 0;
    running.in_pass = !running.in_prompt;
    step_count_ += running.in_pass ? 1 : 0;
  }
  if (step_count_ == 0) return;
  cost_.SetRoots(step_count_);
  const int32_t most = step_rows_ - step_count_ + 1, fair = std::max(1, step_rows_ / step_count_);
  for (Running& running : running_) {
    if (!running.in_pass) continue;
    Generation& text = At(running);
    // By gain, one text may take what others do not want; a shape gets an equal part.
    text.Propose(text.drafting().chooses_by_gain() ? most : fair);
  }
  if (step_count_ > 1) {
    const Clock::time_point start = Clock::now();
    PlanJointly(step_count_);
    const double seconds = SecondsSince(start) / step_count_;
    for (Running& running : running_) {
      if (running.in_pass) At(running).AddPlanSeconds(seconds);
    }
  }
  for (Running& running : running_) {
    if (running.in_pass) At(running).AddStepRows(forest_);
  }
}

void Scheduler::PlanJointly(int32_t roots) {
  trees_.clear();
  drafting_.clear();
  int32_t fixed = 0;
  for (Running& running : running_) {
    if (!running.in_pass) continue;
    Generation& text = At(running);
    if (!text.drafting().chooses_by_gain()) {
      fixed += text.draft().size();
      continue;
    }
    if (text.draft().size() == 0) continue;
    trees_.push_back(&text.draft());
    drafting_.push_back(&text);
  }
  counts_.resize(trees_.size());
  joint_.Plan(trees_, roots, step_rows_ - fixed, counts_);
  for (size_t i = 0; i < drafting_.size(); ++i) drafting_[i]->drafting().Keep(counts_[i]);
}

// Rows of prompts that the pass takes.
int32_t Scheduler::PromptRows(bool beside_steps) const {
  if (!beside_steps) return max_chunk_;
  const double row = prompt_row_seconds_.count() > 0 ? prompt_row_seconds_.Median() : 0.0;
  const double plain = cost_.one_row_seconds() * cost_.OfPass(step_count_);
  if (row <= 0.0 || plain <= 0.0) return std::min(kLeastPromptRows, max_chunk_);
  const double rows = std::min(kStepsToWait * plain / row, static_cast<double>(max_chunk_));
  return std::max(static_cast<int32_t>(rows), std::min(kLeastPromptRows, max_chunk_));
}

void Scheduler::AddPrompts() {
  prompt_rows_ = 0;
  int32_t left = PromptRows(step_count_ > 0);
  for (Running& running : running_) {
    if (!running.in_prompt || left == 0) continue;
    Generation& text = At(running);
    const int32_t chunk = std::min(running.request.options.prefill_chunk, max_chunk_);
    const int32_t count = std::min({text.PromptLeft(), left, chunk});
    text.AddPromptRows(count, forest_);
    running.in_pass = true;
    prompt_rows_ += count;
    left -= count;
  }
}

bool Scheduler::Step() {
  const TeamScope team;
  Admit();
  EndFinished();  // those cancelled since the last step
  if (running_.empty()) {
    if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
    return false;
  }
  if (ThreadCount() != threads_.most()) threads_ = ThreadChoices(ThreadCount(), fixed_threads_);
  const WithThreads restore(ThreadCount());
  const Clock::time_point start = Clock::now();
  forest_.Clear();
  AddSteps();
  AddPrompts();
  const int32_t rows = forest_.rows();
  // Each sequence may begin a block, and its rows fill others.
  if (prefixes_) prefixes_->MakeFree(rows / kBlock + static_cast<int32_t>(running_.size()));
  if (rows < kFewRows && rows > 0)
    SetThreadCount(prompt_rows_ > 0 ? threads_.chosen(rows) : threads_.Next(rows));
  const Clock::time_point pass_start = Clock::now();
  const ForwardResult result = Forward(text_model_.model, forest_.batch(), cache_, workspace_);
  const double pass_seconds = SecondsSince(pass_start);
  Take(result);
  const double step_seconds = SecondsSince(start);
  ReportCosts(pass_seconds, step_seconds);
  for (Running& running : running_) {
    if (!running.in_pass) continue;
    const auto report = [&] {
      At(running).Report(running.request.on_step, pass_seconds, step_seconds);
    };
    if (!Guarded(report)) running.id = 0;
  }
  EndFinished();
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
  return true;
}

void Scheduler::Take(const ForwardResult& result) {
  for (Running& running : running_) {
    if (!running.in_pass) continue;
    Generation& text = At(running);
    const auto take = [&] {
      running.in_prompt ? text.TakePrompt(result, cache_, running.request.on_hidden)
                        : text.TakeStep(result, cache_, running.request.on_hidden);
    };
    if (!Guarded(take)) running.id = 0;
    if (running.in_prompt && text.PromptLeft() == 0) Remember(text);
  }
}

// Later prompts that begin alike find what the text has in the cache.
void Scheduler::Remember(const Generation& text) {
  if (prefixes_ == nullptr) return;
  prefixes_->Insert(text.sequence(), text.tokens().first(static_cast<size_t>(text.committed())));
}

void Scheduler::ReportCosts(double pass_seconds, double step_seconds) {
  const int32_t rows = forest_.rows();
  if (step_count_ == 0) {
    if (rows >= kFewRows) prompt_row_seconds_.Add(pass_seconds / rows);
    return;
  }
  if (prompt_rows_ > 0) return;  // neither says what steps cost
  cost_.Report(rows, pass_seconds);
  if (rows < kFewRows) threads_.Report(rows, pass_seconds / cost_.OfPass(rows));
  const double one_row = step_seconds / cost_.OfPass(rows);
  for (Running& running : running_) {
    if (!running.in_pass) continue;
    Generation& text = At(running);
    text.ReportStep(step_count_ == 1 ? step_seconds : one_row * cost_.Relative(text.rows()));
  }
}

// Runs what may call the caller's code; false where that threw.
template <class Fn>
bool Scheduler::Guarded(const Fn& fn) {
  try {
    fn();
    return true;
  } catch (...) {
    if (!failure_) failure_ = std::current_exception();
    return false;
  }
}

// Frees the places of texts that have ended, or whose callbacks threw (id 0).
void Scheduler::EndFinished() {
  for (size_t i = 0; i < running_.size();) {
    Running& running = running_[i];
    Generation& text = At(running);
    if (!text.finished() && running.id != 0) {
      ++i;
      continue;
    }
    text.Cancel();
    text.timings().threads = threads_.chosen(1);
    const int32_t sequence = text.sequence();
    cache_.DropPending(sequence);
    Remember(text);
    cache_.RemoveSequence(sequence);
    free_places_.push_back(running.place);
    Running ended = std::move(running);
    running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(i));
    GenerationResult result = At(ended).Finish();
    if (ended.id != 0 && ended.request.on_finish)
      Guarded([&] { ended.request.on_finish(std::move(result)); });
  }
}

}  // namespace tern
