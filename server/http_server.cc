#include "server/http_server.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <exception>
#include <string>
#include <thread>
#include <utility>

#include "engine/error.h"
#include "server/connection.h"
#include "server/response_codec.h"

namespace tern {
namespace {

using httplib::Request;
using httplib::Response;

constexpr const char* kJson = "application/json";

// The library hands requests to handlers without their connection; one thread serves one at a time.
thread_local Connection* current_connection = nullptr;

GoneCheck CurrentGone() {
  return [connection = current_connection] { return connection->Gone(); };
}

std::string RequestId() {
  static std::atomic<uint64_t> next = 1;
  return "req_" + std::to_string(getpid()) + "_" + std::to_string(next++);
}

void SetError(const RequestError& error, Response& response) {
  response.status = error.status;
  if (error.retry_after_seconds > 0)
    response.set_header("retry-after", std::to_string(error.retry_after_seconds));
  // Official clients try again after any 5xx; these would fail again.
  if (error.status >= 500) response.set_header("x-should-retry", "false");
  response.set_content(ToText(ErrorJson(error)), kJson);
}

// Of statuses that the library sets: what did not reach a handler.
RequestError LibraryError(int status, const Request& request) {
  switch (status) {
    case 404:
      return {404, "unknown_url", "there is no " + request.method + " " + request.path + " here"};
    case 413:
      return {413, "body_too_large", "the body is too large"};
    case 414:
      return {414, "uri_too_long", "the URL is too long"};
    default:
      return {status, "",
              "the request was not understood (HTTP status " + std::to_string(status) + ")"};
  }
}

// Compressing a stream would hold its events back. Every body is JSON, whatever its sender says
// (curl says it is a form, which the library would parse and cut short). Answers are whole.
void WithoutLibraryExtras(Request& request) {
  request.headers.erase("Accept-Encoding");
  request.headers.erase("Content-Type");
  request.ranges.clear();
  // No length is no body; the library would wait for the connection's end.
  if (!request.has_header("Content-Length") && !request.has_header("Transfer-Encoding"))
    request.headers.emplace("Content-Length", "0");
}

void RaiseBacklog(int listening) {
  constexpr int kBacklog = 128;  // the library asks for 5: a burst of clients would wait a second
  listen(listening, kBacklog);
}

}  // namespace

class HttpServer::Impl final : public httplib::Server {
 public:
  Impl(CompletionService& service, const HttpOptions& options)
      : service_(service), options_(options) {
    set_payload_max_length(options_.max_body_bytes);
    // Another server's port is an error, not shared.
    set_socket_options([](socket_t socket) {
      const int on = 1;
      setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    });
    AddHandlers();
    AddRoutes();
    Bind();
  }
  ~Impl() override { close(svr_sock_); }

  int port() const { return port_; }

  // The library's own loop would end with any failure of accept.
  void Serve() {
    httplib::ThreadPool pool(options_.connections);
    while (!draining_) {
      const int socket = accept4(svr_sock_, nullptr, nullptr, SOCK_CLOEXEC);
      if (socket >= 0) {
        pool.enqueue([this, socket] { process_and_close_socket(socket); });
      } else if (!draining_ && errno != EINTR && errno != ECONNABORTED) {
        std::this_thread::sleep_for(std::chrono::milliseconds(10));  // no file descriptor left
      }
    }
    pool.shutdown();
  }

  // Wakes accept. The socket is closed when nothing can use its number any more; svr_sock_ stays
  // set, since the library cuts streams short without it.
  void Drain() {
    if (!draining_.exchange(true)) shutdown(svr_sock_, SHUT_RDWR);
  }

 private:
  void Bind() {
    if (options_.port == 0) {
      port_ = bind_to_any_port(options_.host);
    } else {
      port_ = bind_to_port(options_.host, options_.port) ? options_.port : -1;
    }
    if (port_ <= 0) {
      throw Error(Error::Kind::kInternal, "cannot listen on " + options_.host + ":" +
                                              std::to_string(options_.port) +
                                              "; is that an address of this machine, and the port "
                                              "free? --port 0 takes a free one");
    }
    RaiseBacklog(svr_sock_);
  }

  void AddHandlers() {
    set_post_routing_handler([](const Request&, Response& response) {
      response.set_header("x-request-id", RequestId());
    });
    set_error_handler([](const Request& request, Response& response) {
      if (response.body.empty()) SetError(LibraryError(response.status, request), response);
    });
    set_exception_handler([](const Request&, Response& response, std::exception_ptr thrown) {
      try {
        std::rethrow_exception(thrown);
      } catch (const RequestError& error) {
        SetError(error, response);
      } catch (const std::exception& error) {
        SetError({500, "internal_error", error.what()}, response);
      }
    });
  }

  void AddRoutes() {
    Get("/health", [this](const Request&, Response& response) { Health(response); });
    Get("/v1/models", [this](const Request&, Response& response) { Models(response); });
    Get("/v1/models/(.+)", [this](const Request& request, Response& response) {
      service_.CheckModel(request.matches[1], "model");
      response.set_content(ToText(Model()), kJson);
    });
    Post("/v1/completions", [this](const Request& request, Response& response) {
      Generate(Dialect::kCompletion, request, response);
    });
    Post("/v1/chat/completions", [this](const Request& request, Response& response) {
      Generate(Dialect::kChat, request, response);
    });
  }

  OrderedJson Model() const {
    const ServedModel& served = service_.served();
    return ModelJson(served.id, served.created, served.max_context);
  }

  void Models(Response& response) const {
    const OrderedJson list = {{"object", "list"}, {"data", OrderedJson::array({Model()})}};
    response.set_content(ToText(list), kJson);
  }

  void Health(Response& response) const {
    const ComputeThread::Load load = service_.load();
    const OrderedJson health = {
        {"status", "ok"}, {"running", load.running}, {"queued", load.queued}};
    response.set_content(ToText(health), kJson);
  }

  void Generate(Dialect dialect, const Request& request, Response& response) {
    const std::shared_ptr<Exchange> exchange = service_.Begin(dialect, request.body);
    if (!exchange->stream()) {
      response.set_content(exchange->Whole(CurrentGone()), kJson);
      return;
    }
    response.set_header("cache-control", "no-cache");
    response.set_header("x-accel-buffering", "no");  // proxies pass events on at once
    response.set_chunked_content_provider(
        "text/event-stream", [exchange](size_t, httplib::DataSink& sink) {
          const Writer write = [&sink](std::string_view bytes) {
            // An empty chunk would end the stream.
            return bytes.empty() || sink.write(bytes.data(), bytes.size());
          };
          if (!exchange->Stream(write, CurrentGone())) return false;
          sink.done();
          return true;
        });
  }

  // The library's own would wait seconds for idle connections when it stops.
  bool process_and_close_socket(socket_t socket) override {
    const int on = 1;
    setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    Connection connection(socket, options_.stalled_seconds, options_.request_seconds);
    current_connection = &connection;
    bool ok = true, closed = false;
    while (ok && !closed && connection.WaitForRequest(options_.idle_seconds, draining_)) {
      ok = process_request(connection, draining_, closed, WithoutLibraryExtras);
    }
    current_connection = nullptr;
    shutdown(socket, SHUT_RDWR);
    close(socket);
    return ok;
  }

  CompletionService& service_;
  const HttpOptions options_;
  int port_ = -1;
  std::atomic<bool> draining_ = false;
};

HttpServer::HttpServer(CompletionService& service, const HttpOptions& options)
    : impl_(std::make_unique<Impl>(service, options)) {}
HttpServer::~HttpServer() = default;
int HttpServer::port() const { return impl_->port(); }
void HttpServer::Serve() { impl_->Serve(); }
void HttpServer::Drain() { impl_->Drain(); }

}  // namespace tern
