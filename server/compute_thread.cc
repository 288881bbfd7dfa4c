#include "server/compute_thread.h"

#include <algorithm>
#include <cmath>
#include <exception>
#include <utility>

#include "engine/step_facts.h"

namespace tern {
namespace {

// Copies the tokens of a growing result that were not copied yet.
class TokenCursor {
 public:
  explicit TokenCursor(const GenerationOptions& options)
      : logprobs_(options.logprobs >= 0),
        top_(static_cast<size_t>(std::max(options.logprobs, 0))) {}

  // Called after every pass.
  void CountStep(const StepProgress& progress) {
    const auto size = static_cast<int32_t>(progress.so_far.token_ids.size());
    const int32_t added = size - std::exchange(counted_, size);
    if (added == 0) return;  // a part of the prompt
    const size_t drafted = progress.step == nullptr ? 0 : progress.step->nodes.size();
    steps_.push_back({added, static_cast<int32_t>(drafted)});
  }

  TokenRun Take(const GenerationResult& result) {
    TokenRun run;
    run.steps = std::exchange(steps_, {});
    const size_t begin = std::exchange(taken_, result.token_ids.size());
    run.ids = Tail(result.token_ids, begin);
    if (logprobs_) {
      run.logprobs = Tail(result.logprobs, begin);
      run.top_logprobs = Tail(result.top_logprobs, begin * top_);
    }
    return run;
  }

 private:
  template <class T>
  static std::vector<T> Tail(const std::vector<T>& values, size_t begin) {
    return {values.begin() + static_cast<ptrdiff_t>(begin), values.end()};
  }
  bool logprobs_;
  size_t top_, taken_ = 0;
  int32_t counted_ = 0;
  std::vector<TextStep> steps_;
};

double SecondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

ComputeThread::ComputeThread(Scheduler& scheduler, size_t parallel, size_t queue_limit,
                             ServerMetrics& metrics)
    : scheduler_(scheduler),
      parallel_(parallel),
      queue_limit_(queue_limit),
      metrics_(metrics),
      thread_([this] { Run(); }) {}

ComputeThread::~ComputeThread() {
  std::deque<std::shared_ptr<Job>> dropped;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    dropped.swap(queue_);
  }
  wake_.notify_all();
  for (const auto& job : dropped) job->sink->OnError("the server is stopping");
  thread_.join();
}

bool ComputeThread::TrySubmit(const std::shared_ptr<Job>& job) {
  {
    const std::lock_guard lock(mutex_);
    // A job that will be begun at once does not have to wait.
    const size_t room = queue_limit_ + (parallel_ - std::min(parallel_, begun_.size()));
    if (stopping_ || queue_.size() >= room) return false;
    queue_.push_back(job);
  }
  wake_.notify_one();
  return true;
}

void ComputeThread::Cancel(const std::shared_ptr<Job>& job) {
  job->cancelled = true;
  const std::lock_guard lock(mutex_);
  const auto found = std::find(queue_.begin(), queue_.end(), job);
  if (found != queue_.end()) queue_.erase(found);
}

ComputeThread::Load ComputeThread::load() const {
  const std::lock_guard lock(mutex_);
  const auto cancelled = std::ranges::count_if(
      begun_, [](const std::shared_ptr<Job>& job) { return job->cancelled.load(); });
  return {begun_.size(), queue_.size(), static_cast<size_t>(cancelled), seconds_per_job_};
}

int ComputeThread::RetryAfterSeconds() const {
  constexpr double kLongest = 60.0;  // what the official clients still honour
  return static_cast<int>(std::clamp(
      std::ceil(load().seconds_per_job / static_cast<double>(parallel_)), 1.0, kLongest));
}

void ComputeThread::Run() {
  while (TakeJobs()) {
    CancelWanted();
    try {
      scheduler_.Step();
    } catch (const std::exception& error) {
      // Not a request's fault: those were checked. Nothing that runs can be trusted to go on.
      for (Active& active : active_) Fail(active, error.what());
      CancelWanted();
    }
    RemoveDone();
  }
  for (Active& active : active_) {
    Fail(active, "the server is stopping");
    for (const Scheduler::Id id : active.ids) scheduler_.Drop(id);
  }
}

// Begins jobs that there are places for; waits while there is nothing to do. False at the end.
bool ComputeThread::TakeJobs() {
  std::unique_lock lock(mutex_);
  wake_.wait(lock, [this] { return stopping_ || !queue_.empty() || !active_.empty(); });
  if (stopping_) return false;
  while (!queue_.empty() && scheduler_.running() + scheduler_.waiting() < parallel_) {
    const std::shared_ptr<Job> job = std::move(queue_.front());
    queue_.pop_front();
    begun_.push_back(job);
    Begin(job);
  }
  return true;
}

void ComputeThread::Begin(const std::shared_ptr<Job>& job) {
  Active& active = active_.emplace_back();
  active.job = job;
  active.start = Clock::now();
  active.left = job->sequences.size();
  try {
    for (size_t i = 0; i < job->sequences.size(); ++i) SubmitSequence(active, i);
  } catch (const std::exception& error) {
    active.left = active.ids.size();
    Fail(active, error.what());
  }
}

void ComputeThread::SubmitSequence(Active& active, size_t index) {
  const Sequence& sequence = active.job->sequences[index];
  const auto cursor = std::make_shared<TokenCursor>(sequence.options);
  active.ids.push_back(scheduler_.Submit(
      {.prompt = sequence.prompt,
       .options = sequence.options,
       .on_step =
           [this, &active, index, cursor, begun = false](const StepProgress& progress) mutable {
             if (!begun && !progress.so_far.token_ids.empty()) {
               begun = true;
               metrics_.CountFirstToken(SecondsSince(active.job->arrival));
             }
             if (active.failed || active.job->cancelled) return false;
             try {
               cursor->CountStep(progress);
               if (progress.piece.empty()) return true;
               active.job->sink->OnPiece(index, std::string(progress.piece),
                                         cursor->Take(progress.so_far));
             } catch (const std::exception& error) {
               Fail(active, error.what());
             }
             return !active.failed;
           },
       .on_hidden = PromptSink(active, index),
       .on_finish =
           [this, &active, index, cursor](GenerationResult result) {
             TokenRun rest = cursor->Take(result);
             Finish(active, index, std::move(result), std::move(rest));
           }}));
}

// None where nobody asked for the prompt's log-probabilities.
HiddenSink ComputeThread::PromptSink(Active& active, size_t index) {
  const Sequence& sequence = active.job->sequences[index];
  if (!sequence.score_prompt) return {};
  const auto scorer = std::make_shared<PromptScorer>(scheduler_.model(), sequence.prompt,
                                                     std::max(sequence.options.logprobs, 0));
  return [this, &active, index, scorer](int32_t position, std::span<const float> hidden) {
    try {
      if (!active.failed && scorer->Add(position, hidden))
        active.job->sink->OnPrompt(index, scorer->Take());
    } catch (const std::exception& error) {
      Fail(active, error.what());
    }
  };
}

void ComputeThread::Finish(Active& active, size_t index, GenerationResult result, TokenRun tokens) {
  --active.left;
  metrics_.CountText(result);
  if (active.failed) return;
  if (active.job->cancelled) return Fail(active, "cancelled");
  active.job->sink->OnFinish(index, std::move(result), std::move(tokens));
}

// Tells the sink once. The job's texts end before the next pass.
void ComputeThread::Fail(Active& active, const std::string& message) {
  if (!active.failed) active.job->sink->OnError(message);
  active.failed = true;
}

void ComputeThread::CancelWanted() {
  for (Active& active : active_) {
    if (active.cancelling || (!active.failed && !active.job->cancelled)) continue;
    active.cancelling = true;
    for (const Scheduler::Id id : active.ids) scheduler_.Cancel(id);
  }
}

void ComputeThread::RemoveDone() {
  for (auto at = active_.begin(); at != active_.end();) {
    if (at->left > 0) {
      ++at;
      continue;
    }
    const double seconds = SecondsSince(at->start);
    metrics_.SetStepCost(scheduler_.cost());
    const std::lock_guard lock(mutex_);
    std::erase(begun_, at->job);
    at = active_.erase(at);
    seconds_per_job_ = seconds_per_job_ == 0.0 ? seconds : 0.75 * seconds_per_job_ + 0.25 * seconds;
  }
}

}  // namespace tern
