#include "server/compute_thread.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <exception>
#include <utility>

namespace tern {
namespace {

using Clock = std::chrono::steady_clock;

// Copies the tokens of a growing result that were not copied yet.
class TokenCursor {
 public:
  explicit TokenCursor(const GenerationOptions& options)
      : logprobs_(options.logprobs >= 0),
        top_(static_cast<size_t>(std::max(options.logprobs, 0))) {}

  TokenRun Take(const GenerationResult& result) {
    TokenRun run;
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
};

}  // namespace

ComputeThread::ComputeThread(Generator& generator, size_t queue_limit)
    : generator_(generator), queue_limit_(queue_limit), thread_([this] { Run(); }) {}

ComputeThread::~ComputeThread() {
  std::deque<std::shared_ptr<Job>> dropped;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    dropped.swap(queue_);
    if (running_) running_->cancelled = true;
  }
  wake_.notify_all();
  for (const auto& job : dropped) job->sink->OnError("the server is stopping");
  thread_.join();
}

bool ComputeThread::TrySubmit(const std::shared_ptr<Job>& job) {
  {
    const std::lock_guard lock(mutex_);
    // A thread that is free takes a job at once: it does not have to wait.
    const size_t room = queue_limit_ + (running_ ? 0 : 1);
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
  return {running_ ? size_t{1} : 0, queue_.size(), running_ && running_->cancelled,
          seconds_per_job_};
}

int ComputeThread::RetryAfterSeconds() const {
  constexpr double kLongest = 60.0;  // what the official clients still honour
  return static_cast<int>(std::clamp(std::ceil(load().seconds_per_job), 1.0, kLongest));
}

std::shared_ptr<Job> ComputeThread::Next() {
  std::unique_lock lock(mutex_);
  running_.reset();
  wake_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
  if (stopping_) return nullptr;
  running_ = std::move(queue_.front());
  queue_.pop_front();
  return running_;
}

void ComputeThread::Run() {
  while (const std::shared_ptr<Job> job = Next()) {
    const Clock::time_point start = Clock::now();
    RunJob(*job);
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    const std::lock_guard lock(mutex_);
    seconds_per_job_ = seconds_per_job_ == 0.0 ? seconds : 0.75 * seconds_per_job_ + 0.25 * seconds;
  }
}

void ComputeThread::RunJob(Job& job) {
  try {
    for (size_t i = 0; i < job.sequences.size() && !job.cancelled; ++i) RunSequence(job, i);
  } catch (const std::exception& error) {
    job.sink->OnError(error.what());
    return;
  }
  if (job.cancelled) job.sink->OnError("cancelled");
}

void ComputeThread::RunSequence(Job& job, size_t index) {
  const Sequence& sequence = job.sequences[index];
  TokenCursor cursor(sequence.options);
  GenerationResult result =
      generator_.Generate(sequence.prompt, sequence.options, [&](const StepProgress& progress) {
        if (!progress.piece.empty()) {
          job.sink->OnPiece(index, std::string(progress.piece), cursor.Take(progress.so_far));
        }
        return !job.cancelled;
      });
  if (job.cancelled) return;
  TokenRun rest = cursor.Take(result);
  job.sink->OnFinish(index, std::move(result), std::move(rest));
}

}  // namespace tern
