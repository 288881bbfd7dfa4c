// Asks a server that speaks OpenAI's API for texts.
#ifndef TERN_TOOLS_COMPLETION_CLIENT_H_
#define TERN_TOOLS_COMPLETION_CLIENT_H_

#include <atomic>
#include <cstdint>
#include <span>
#include <string>

#include "engine/chat_families.h"

namespace tern {

struct CompletionServer {
  std::string url;           // what clients call base_url: "http://127.0.0.1:8080/v1"
  std::string model;         // as the server calls it
  std::string key;           // sent as bearer; empty: none
  int retries = 8;           // of a request that failed in a way that may pass
  int first_wait_ms = 1000;  // before a retry; doubles, up to half a minute
  int stall_seconds = 900;   // an answer comes in one piece when it is whole
  const std::atomic<bool>* stop = nullptr;  // true: give up soon
};

struct CompletionSampling {
  int32_t max_tokens = 200;
  float temperature = 0, top_p = 1;
  uint64_t seed = 0;
};

struct Completion {
  std::string text;    // valid UTF-8
  bool ended = false;  // by itself, not by a limit
};

// Thread-safe. Every call throws kInternal where the server cannot be reached, kInvalidArgument
// where it refuses the request, kBadFile where its answer is not what the API says; each names the
// address.
class CompletionClient {
 public:
  // An address without a path gets "/v1".
  explicit CompletionClient(CompletionServer server);

  const CompletionServer& server() const { return server_; }
  // Takes the first model that the server lists where none was named.
  void ChooseModel();
  Completion Continue(const std::string& prompt, const CompletionSampling& sampling) const;
  Completion Chat(std::span<const ChatMessage> messages, const CompletionSampling& sampling) const;

 private:
  // The answer's body; posts `json` where it is not empty.
  std::string Ask(const std::string& path, const std::string& json) const;

  CompletionServer server_;
};

}  // namespace tern

#endif  // TERN_TOOLS_COMPLETION_CLIENT_H_
