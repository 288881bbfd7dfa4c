// Carries what a job produces from the compute thread to the HTTP thread that asked for it.
#ifndef TERN_SERVER_EVENT_QUEUE_H_
#define TERN_SERVER_EVENT_QUEUE_H_

#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "server/job.h"

namespace tern {

struct JobEvent {
  enum class Kind { kPrompt, kPiece, kFinish, kError };
  Kind kind;
  size_t sequence = 0;
  std::string text;         // of a piece, or an error's message
  TokenRun tokens;          // of a piece or, those behind the last piece, of a finish
  GenerationResult result;  // of a finish
  PromptScores prompt;      // of a prompt
};

// Holds at most what one job can produce, which the context bounds: a slow reader holds up nobody.
class EventQueue final : public JobSink {
 public:
  // Where `pieces` is false, only the end of each sequence is reported, with all its tokens.
  explicit EventQueue(bool pieces) : pieces_(pieces) {}

  void OnPrompt(size_t sequence, PromptScores scores) override {
    Push({JobEvent::Kind::kPrompt, sequence, {}, {}, {}, std::move(scores)});
  }
  void OnPiece(size_t sequence, std::string text, TokenRun tokens) override {
    if (pieces_)
      Push({JobEvent::Kind::kPiece, sequence, std::move(text), std::move(tokens), {}, {}});
  }
  void OnFinish(size_t sequence, GenerationResult result, TokenRun tokens) override {
    if (!pieces_) tokens = {result.token_ids, result.logprobs, result.top_logprobs, {}};
    Push({JobEvent::Kind::kFinish, sequence, {}, std::move(tokens), std::move(result), {}});
  }
  void OnError(const std::string& message) override {
    Push({JobEvent::Kind::kError, 0, message, {}, {}, {}});
  }

  // The next event, or nothing after `timeout`.
  std::optional<JobEvent> Next(std::chrono::milliseconds timeout) {
    std::unique_lock lock(mutex_);
    if (!wake_.wait_for(lock, timeout, [this] { return !events_.empty(); })) return std::nullopt;
    JobEvent event = std::move(events_.front());
    events_.pop_front();
    return event;
  }

 private:
  void Push(JobEvent event) {
    {
      const std::lock_guard lock(mutex_);
      events_.push_back(std::move(event));
    }
    wake_.notify_one();
  }

  const bool pieces_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<JobEvent> events_;
};

}  // namespace tern

#endif  // TERN_SERVER_EVENT_QUEUE_H_
