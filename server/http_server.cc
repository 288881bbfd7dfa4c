#include "server/http_server.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cctype>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "engine/error.h"
#include "server/connection.h"
#include "server/response_codec.h"
#include "server/route_names.h"
#include "server/routes.h"
#include "server/tls.h"

namespace tern {
namespace {

using httplib::Request;
using httplib::Response;

// The client's own where it is one that may stand in a header and a log.
std::string RequestId(const Request& request) {
  constexpr size_t kLongest = 128;
  const std::string given = request.get_header_value("x-request-id");
  const auto fit = [](unsigned char c) {
    return std::isalnum(c) != 0 || std::strchr("-_.:", c) != nullptr;
  };
  if (!given.empty() && given.size() <= kLongest && std::ranges::all_of(given, fit)) return given;
  static std::atomic<uint64_t> next = 1;
  return "req_" + std::to_string(getpid()) + "_" + std::to_string(next++);
}

void SetError(const RequestError& error, Response& response) {
  response.status = error.status;
  if (error.retry_after_seconds > 0)
    response.set_header("retry-after", std::to_string(error.retry_after_seconds));
  if (error.status == 401) response.set_header("www-authenticate", "Bearer");
  // Official clients try again after any 5xx; these would fail again.
  if (error.status >= 500 && error.retry_after_seconds == 0)
    response.set_header("x-should-retry", "false");
  response.set_content(ToText(ErrorJson(error)), "application/json");
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

// What a browser asks before it lets a page of another origin send a request.
bool IsPreflight(const Request& request) {
  return request.method == "OPTIONS" && request.has_header("Origin") &&
         request.has_header("Access-Control-Request-Method");
}

// `names` as a list of header names: it is sent back.
bool IsHeaderList(const std::string& names) {
  return std::ranges::all_of(names, [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '-' || c == '_' || c == ',' || c == ' ';
  });
}

void AnswerPreflight(const Request& request, Response& response) {
  response.status = 204;
  response.set_header("access-control-allow-methods", "GET, POST, OPTIONS");
  const std::string names = request.get_header_value("Access-Control-Request-Headers");
  if (!names.empty() && IsHeaderList(names))
    response.set_header("access-control-allow-headers", names);
  if (request.get_header_value("Access-Control-Request-Private-Network") == "true")
    response.set_header("access-control-allow-private-network", "true");
  response.set_header("access-control-max-age", "600");
}

void RaiseBacklog(int listening) {
  constexpr int kBacklog = 128;  // the library asks for 5: a burst of clients would wait a second
  listen(listening, kBacklog);
}

}  // namespace

class HttpServer::Impl final : public httplib::Server {
 public:
  Impl(const HttpOptions& options, ServerMetrics& metrics)
      : options_(options),
        metrics_(metrics),
        access_(options.access, options.host),
        routes_(service_, metrics) {
    if (!options_.tls_certificate.empty())
      tls_ = std::make_unique<TlsCertificate>(options_.tls_certificate, options_.tls_key);
    set_payload_max_length(options_.max_body_bytes);
    // Another server's port is an error, not shared.
    set_socket_options([](socket_t socket) {
      const int on = 1;
      setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    });
    AddHandlers();
    routes_.AddTo(*this);
    Bind();
  }
  ~Impl() override { close(svr_sock_); }

  int port() const { return port_; }
  void SetService(CompletionService& service) { service_ = &service; }
  bool asks_for_keys() const { return access_.asks_for_keys(); }
  void Reload() {
    access_.ReloadKeys();
    if (tls_ != nullptr) tls_->Reload();
  }

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

  // Throws RequestError for what is refused whatever its body is.
  void Check(const Request& request) const {
    access_.CheckSource(request.get_header_value("Host"), request.get_header_value("Origin"));
    if (IsPreflight(request)) return;  // has no key
    if (request.path != route::kHealth && request.path != route::kPage) {
      access_.CheckKey(request.get_header_value("Authorization"),
                       request.get_header_value("X-Api-Key"));
    }
    // What the library unpacks has no limit.
    const std::string encoding = request.get_header_value("Content-Encoding");
    if (!encoding.empty() && encoding != "identity")
      throw RequestError(415, "unsupported_encoding", "the body is compressed, expected it plain");
    const std::string length = request.get_header_value("Content-Length");
    if (std::strtoull(length.c_str(), nullptr, 10) > options_.max_body_bytes)
      throw LibraryError(413, request);
  }

  // Called when the headers have been read. The body of a refused request is not: the connection
  // ends with the answer. True where it is refused.
  bool Prepare(Request& request) const {
    Connection::Current()->HeadRead();
    WithoutLibraryExtras(request);
    try {
      Check(request);
      return false;
    } catch (const RequestError&) {
      request.headers.erase("Connection");
      request.set_header("Connection", "close");
      return true;
    }
  }

  void AddHandlers() {
    set_pre_routing_handler([this](const Request& request, Response& response) {
      Check(request);
      if (!IsPreflight(request)) return HandlerResponse::Unhandled;
      AnswerPreflight(request, response);
      return HandlerResponse::Handled;
    });
    set_post_routing_handler([this](const Request& request, Response& response) {
      response.set_header("x-request-id", RequestId(request));
      const std::string origin = request.get_header_value("Origin");
      if (access_.AllowsOrigin(origin)) {
        response.set_header("access-control-allow-origin", origin);
        response.set_header("access-control-expose-headers", "x-request-id, retry-after");
        response.set_header("vary", "Origin");
      }
      metrics_.CountRequest(request.path, response.status);
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

  // The library's own would wait seconds for idle connections when it stops.
  bool process_and_close_socket(socket_t socket) override {
    const int on = 1;
    setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (tls_ != nullptr) fcntl(socket, F_SETFL, fcntl(socket, F_GETFL) | O_NONBLOCK);
    Connection connection(
        socket,
        {options_.stalled_seconds, options_.request_seconds, options_.max_head_bytes,
         options_.max_body_bytes + options_.max_body_bytes / 4},
        tls_ != nullptr ? tls_->NewSession(socket) : nullptr);
    const Connection::Serving serving(connection);
    bool ok = connection.Handshake(), closed = false, refused = false;
    while (ok && !closed && connection.WaitForRequest(options_.idle_seconds, draining_)) {
      ok = process_request(connection, draining_, closed,
                           [&](Request& request) { refused = Prepare(request); });
      closed |= refused;
    }
    connection.Close();
    if (refused) connection.Linger();
    shutdown(socket, SHUT_RDWR);
    close(socket);
    return ok;
  }

  const HttpOptions options_;
  ServerMetrics& metrics_;
  Access access_;
  std::unique_ptr<TlsCertificate> tls_;  // null: plain HTTP
  std::atomic<CompletionService*> service_ = nullptr;
  Routes routes_;
  int port_ = -1;
  std::atomic<bool> draining_ = false;
};

HttpServer::HttpServer(const HttpOptions& options, ServerMetrics& metrics)
    : impl_(std::make_unique<Impl>(options, metrics)) {}
HttpServer::~HttpServer() = default;
int HttpServer::port() const { return impl_->port(); }
void HttpServer::SetService(CompletionService& service) { impl_->SetService(service); }
void HttpServer::Reload() { impl_->Reload(); }
bool HttpServer::asks_for_keys() const { return impl_->asks_for_keys(); }
void HttpServer::Serve() { impl_->Serve(); }
void HttpServer::Drain() { impl_->Drain(); }

}  // namespace tern
