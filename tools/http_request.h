// One HTTP request through libcurl, and what clients do when it fails.
#ifndef TERN_TOOLS_HTTP_REQUEST_H_
#define TERN_TOOLS_HTTP_REQUEST_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace tern {

inline constexpr long kHttpOk = 200, kHttpPartial = 206, kHttpBadRange = 416;

struct HttpRequest {
  std::string url;                          // http or https
  std::string bearer;                       // of the Authorization header; empty: none
  uint64_t from = 0;                        // bytes of the answer that are there already
  std::optional<std::string> json;          // posted where given
  int stall_seconds = 60;                   // without a byte: the connection has failed
  const std::atomic<bool>* stop = nullptr;  // true: give up within about a second
};

// `status` 0: no answer, `reason` says why.
struct HttpOutcome {
  long status = 0;
  std::string reason;
  bool complete = false;  // all of the answer arrived
};

// Where an answer's bytes go: false stops the transfer.
using HttpSink = std::function<bool(long status, const char* data, size_t size)>;

// Thread-safe. Follows redirections; the bearer stays with the first host.
HttpOutcome PerformHttp(const HttpRequest& request, const HttpSink& sink);

// Whether trying again may help: no answer, too many requests, or the server's own failure.
bool HttpMayPass(long status);

// Milliseconds before try `attempt` + 1: doubles from `first`, up to half a minute.
int HttpBackOff(int first, int attempt);

// The variable's value, empty where it is not set.
std::string EnvironmentVariable(const char* name);

}  // namespace tern

#endif  // TERN_TOOLS_HTTP_REQUEST_H_
