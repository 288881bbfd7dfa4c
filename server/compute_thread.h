// The one thread that owns the engine: runs jobs from a bounded queue, first come, first served.
#ifndef TERN_SERVER_COMPUTE_THREAD_H_
#define TERN_SERVER_COMPUTE_THREAD_H_

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include "engine/generator.h"
#include "server/job.h"

namespace tern {

// Everything but the constructor and the destructor may be called from any thread.
class ComputeThread {
 public:
  // `generator` outlives this and is used by nobody else. At most `queue_limit` jobs wait; those
  // that run do not count.
  ComputeThread(Generator& generator, size_t queue_limit);
  // Cancels what runs and fails what waits.
  ~ComputeThread();

  // False where the queue is full or the thread is stopping: the sink is never called then.
  bool TrySubmit(const std::shared_ptr<Job>& job);
  // Ends a job within one pass of the model, or takes it out of the queue. Its sink may still be
  // called once more.
  void Cancel(const std::shared_ptr<Job>& job);

  struct Load {
    size_t running = 0, queued = 0;
    bool cancelling = false;       // what runs is to end with this pass
    double seconds_per_job = 0.0;  // recent; 0 where none has run
  };
  Load load() const;
  // Rounds up to at least 1: when the queue, as it is now, should have room again.
  int RetryAfterSeconds() const;

 private:
  void Run();
  std::shared_ptr<Job> Next();
  void RunJob(Job& job);
  void RunSequence(Job& job, size_t index);

  Generator& generator_;
  const size_t queue_limit_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::shared_ptr<Job>> queue_;
  std::shared_ptr<Job> running_;
  bool stopping_ = false;
  double seconds_per_job_ = 0.0;
  std::thread thread_;  // last: starts when all else is there
};

}  // namespace tern

#endif  // TERN_SERVER_COMPUTE_THREAD_H_
