// Requests for text, apart from HTTP: reads them, queues them and turns what comes back into
// answers.
#ifndef TERN_SERVER_COMPLETION_SERVICE_H_
#define TERN_SERVER_COMPLETION_SERVICE_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "server/answer.h"
#include "server/api_types.h"
#include "server/compute_thread.h"
#include "server/event_queue.h"
#include "server/grammar_store.h"
#include "server/served_model.h"
#include "server/traffic_recorder.h"

namespace tern {

// Says whether whoever asked has gone: the work is cancelled then.
using GoneCheck = std::function<bool()>;
// Sends bytes; false where that failed.
using Writer = std::function<bool(std::string_view bytes)>;

struct ServiceOptions {
  double deadline_seconds = 0.0;        // of every request, from its arrival on; 0: none
  TrafficRecorder* recorder = nullptr;  // of texts that end; null: nothing is kept. Outlives all
};

// One request that was accepted. Going out of scope cancels what is left of it.
class Exchange {
 public:
  Exchange(ComputeThread& compute, ApiRequest request, const ServedModel& served,
           std::vector<Sequence> sequences, const ServiceOptions& options);
  ~Exchange();
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  bool stream() const { return request_.stream; }
  // Waits for all texts. Empty where `gone`. Throws RequestError where the work failed or took
  // longer than it may.
  std::string Whole(const GoneCheck& gone);
  // Sends the stream of events, comments where there is nothing to send for long. Returns false
  // where `gone` or where writing failed.
  bool Stream(const Writer& write, const GoneCheck& gone);

 private:
  using Clock = std::chrono::steady_clock;
  std::optional<JobEvent> Next();
  bool StreamEvents(const Writer& write, const GoneCheck& gone);
  void Record(const JobEvent& finish) const;

  ComputeThread& compute_;
  const ApiRequest request_;
  std::shared_ptr<EventQueue> events_;
  std::shared_ptr<Job> job_;
  Answer answer_;
  const Tokenizer& tokenizer_;
  TrafficRecorder* const recorder_;
  std::optional<Clock::time_point> deadline_;
};

// Thread-safe.
class CompletionService {
 public:
  CompletionService(const ServedModel& served, ComputeThread& compute,
                    const ServiceOptions& options = {})
      : served_(served),
        compute_(compute),
        options_(options),
        grammars_(served.config, served.tokenizer) {}

  // Checks and queues a request. Throws RequestError: 400 and 404 where it is wrong, 429 where the
  // queue is full.
  std::shared_ptr<Exchange> Begin(Dialect dialect, std::string_view body);

  // Throws RequestError (404) where `id` is not what is served.
  void CheckModel(const std::string& id, const std::string& param) const;
  const ServedModel& served() const { return served_; }
  ComputeThread::Load load() const { return compute_.load(); }
  size_t parallel() const { return compute_.parallel(); }

 private:
  std::vector<std::vector<TokenId>> EncodeAll(const ApiRequest& request) const;
  static std::span<const std::string> ToolsOf(const ApiRequest& request);
  void CheckTools(const ApiRequest& request) const;

  const ServedModel& served_;
  ComputeThread& compute_;
  const ServiceOptions options_;
  GrammarStore grammars_;
};

}  // namespace tern

#endif  // TERN_SERVER_COMPLETION_SERVICE_H_
