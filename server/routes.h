// Which handler answers which path.
#ifndef TERN_SERVER_ROUTES_H_
#define TERN_SERVER_ROUTES_H_

#include <httplib.h>

#include <atomic>

#include "server/completion_service.h"
#include "server/metrics.h"

namespace tern {

class Routes {
 public:
  // Both outlive this. `service` is null while the model loads: all but /health and /metrics are a
  // 503 then.
  Routes(const std::atomic<CompletionService*>& service, ServerMetrics& metrics)
      : service_(service), metrics_(metrics) {}
  // `server` is served only while this lives. Handlers throw RequestError.
  void AddTo(httplib::Server& server);

 private:
  CompletionService& service() const;
  void Health(httplib::Response& response) const;
  void Metrics(httplib::Response& response) const;
  void Generate(Dialect dialect, const httplib::Request& request,
                httplib::Response& response) const;

  const std::atomic<CompletionService*>& service_;
  ServerMetrics& metrics_;
};

}  // namespace tern

#endif  // TERN_SERVER_ROUTES_H_
