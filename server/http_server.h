// The HTTP side: connections, errors, what every answer has. cpp-httplib stays behind this
// interface.
#ifndef TERN_SERVER_HTTP_SERVER_H_
#define TERN_SERVER_HTTP_SERVER_H_

#include <cstddef>
#include <memory>
#include <string>

#include "server/access.h"
#include "server/completion_service.h"
#include "server/metrics.h"

namespace tern {

struct HttpOptions {
  std::string host = "127.0.0.1";
  int port = 8080;  // 0: any free one
  // Connections served at once; more wait. Each request that runs or waits holds one.
  size_t connections = 128;
  size_t max_body_bytes = 8u << 20;
  size_t max_head_bytes = 64u << 10;  // of a request line and headers
  AccessOptions access;
  // PEM files, both or none: TLS instead of plain HTTP.
  std::string tls_certificate, tls_key;
  int idle_seconds = 5;      // after which a connection without a request is closed
  int stalled_seconds = 30;  // of a client that does not read its answer
  int request_seconds = 10;  // from a request's first byte to its last
};

class HttpServer {
 public:
  // Binds; nothing is answered before Serve. `metrics` outlives this. Throws Error where the
  // address cannot be had, or keys or certificate cannot be read.
  HttpServer(const HttpOptions& options, ServerMetrics& metrics);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  int port() const;
  // The model is loaded; before, what needs it is a 503. `service` outlives Serve. From any thread.
  void SetService(CompletionService& service);
  // Answers requests until Drain, then returns when all that were begun are answered.
  void Serve();
  // Reads the file of keys and the certificate again. Throws Error, and the keys or the certificate
  // stay. From any thread.
  void Reload();
  bool asks_for_keys() const;
  // Accepts nothing more. From any thread, also before Serve.
  void Drain();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tern

#endif  // TERN_SERVER_HTTP_SERVER_H_
