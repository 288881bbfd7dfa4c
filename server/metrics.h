// Counts and times of a server, in the text form that Prometheus reads. The only part that knows
// prometheus-cpp, of which only the core is used: no server of its own.
#ifndef TERN_SERVER_METRICS_H_
#define TERN_SERVER_METRICS_H_

#include <cstddef>
#include <memory>
#include <string>

#include "engine/generation_result.h"
#include "engine/step_cost.h"

namespace tern {

// Thread-safe. Labels have few values each, whatever clients send.
class ServerMetrics {
 public:
  ServerMetrics();
  ~ServerMetrics();
  ServerMetrics(const ServerMetrics&) = delete;
  ServerMetrics& operator=(const ServerMetrics&) = delete;

  // An answer begins. `path` is as it was asked for; those that are no route count together.
  void CountRequest(const std::string& path, int status);
  // From a request's arrival to the first token of one of its texts.
  void CountFirstToken(double seconds);
  // A text has ended, or was cancelled.
  void CountText(const GenerationResult& result);
  // What passes of several rows cost now.
  void SetStepCost(const StepCost& cost);

  // Of requests, as they are now.
  std::string Text(size_t running, size_t queued);

 private:
  struct Families;
  std::unique_ptr<Families> families_;
};

}  // namespace tern

#endif  // TERN_SERVER_METRICS_H_
