// The one thread that owns the engine: feeds the scheduler from a bounded queue, first come, first
// served.
#ifndef TERN_SERVER_COMPUTE_THREAD_H_
#define TERN_SERVER_COMPUTE_THREAD_H_

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "engine/scheduler.h"
#include "server/job.h"
#include "server/metrics.h"

namespace tern {

// Everything but the constructor and the destructor may be called from any thread.
class ComputeThread {
 public:
  // `scheduler` and `metrics` outlive this; the first is used by nobody else. Jobs are begun while
  // fewer than `parallel` texts run; at most `queue_limit` jobs wait.
  ComputeThread(Scheduler& scheduler, size_t parallel, size_t queue_limit, ServerMetrics& metrics);
  // Cancels what runs and fails what waits.
  ~ComputeThread();

  // False where the queue is full or the thread is stopping: the sink is never called then.
  bool TrySubmit(const std::shared_ptr<Job>& job);
  // Ends a job within one pass of the model, or takes it out of the queue. Its sink may still be
  // called once more.
  void Cancel(const std::shared_ptr<Job>& job);

  struct Load {
    size_t running = 0, queued = 0;  // jobs
    size_t cancelling = 0;           // of those that run, to end with this pass
    double seconds_per_job = 0.0;    // recent; 0 where none has run
  };
  Load load() const;
  // Rounds up to at least 1: when the queue, as it is now, should have room again.
  int RetryAfterSeconds() const;
  size_t parallel() const { return parallel_; }

 private:
  using Clock = std::chrono::steady_clock;
  // A job that was given to the scheduler.
  struct Active {
    std::shared_ptr<Job> job;
    Clock::time_point start;
    std::vector<Scheduler::Id> ids;
    size_t left = 0;  // texts that have not ended
    bool failed = false, cancelling = false;
  };

  void Run();
  bool TakeJobs();
  void Begin(const std::shared_ptr<Job>& job);
  void SubmitSequence(Active& active, size_t index);
  HiddenSink PromptSink(Active& active, size_t index);
  void Finish(Active& active, size_t index, GenerationResult result, TokenRun tokens);
  void Fail(Active& active, const std::string& message);
  void CancelWanted();
  void RemoveDone();

  Scheduler& scheduler_;
  const size_t parallel_, queue_limit_;
  ServerMetrics& metrics_;
  std::list<Active> active_;  // of the compute thread; its callbacks hold references

  mutable std::mutex mutex_;  // of what follows
  std::condition_variable wake_;
  std::deque<std::shared_ptr<Job>> queue_;
  std::vector<std::shared_ptr<Job>> begun_;  // those in active_
  bool stopping_ = false;
  double seconds_per_job_ = 0.0;
  std::thread thread_;  // last: starts when all else is there
};

}  // namespace tern

#endif  // TERN_SERVER_COMPUTE_THREAD_H_
