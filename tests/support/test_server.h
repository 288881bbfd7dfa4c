// A server of a tiny random model, in this process, with a gate that can hold its compute thread.
#ifndef TERN_TESTS_SUPPORT_TEST_SERVER_H_
#define TERN_TESTS_SUPPORT_TEST_SERVER_H_

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "engine/generator.h"
#include "server/completion_service.h"
#include "server/compute_thread.h"
#include "server/http_server.h"
#include "tests/support/byte_tokenizer.h"
#include "tests/support/http_client.h"
#include "tests/support/tiny_model.h"

namespace tern {

inline constexpr const char* kCompletions = "/v1/completions";
inline constexpr const char* kChat = "/v1/chat/completions";

// One user's message, as a chat request takes it.
inline nlohmann::json Messages(const std::string& text) {
  return nlohmann::json::array({{{"role", "user"}, {"content", text}}});
}

// Lets drafting pass while open. Closed, the compute thread waits in it: between two passes.
class Gate {
 public:
  void Set(bool open) {
    const std::lock_guard lock(mutex_);
    open_ = open;
    wake_.notify_all();
  }
  void Pass() {
    std::unique_lock lock(mutex_);
    waiting_ = true;
    ++passes_;
    wake_.notify_all();
    wake_.wait(lock, [this] { return open_; });
    waiting_ = false;
  }
  // How often the gate was passed, or stood before.
  int passes() const {
    const std::lock_guard lock(mutex_);
    return passes_;
  }
  // Until the compute thread stands before the closed gate.
  void AwaitCaught() {
    std::unique_lock lock(mutex_);
    wake_.wait(lock, [this] { return waiting_ && !open_; });
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  bool open_ = true, waiting_ = false;
  int passes_ = 0;
};

class GateDrafter final : public Drafter {
 public:
  explicit GateDrafter(Gate& gate) : gate_(gate) {}
  void Reset() override {}
  void Propose(const DraftContext&, DraftTree&) override { gate_.Pass(); }

 private:
  Gate& gate_;
};

class TestServer {
 public:
  explicit TestServer(size_t queue = 16, ChatTemplate chat = StoryTemplate(), int parallel = 1,
                      int32_t context = TinyConfig().max_position_embeddings)
      : model_(MakeTinyModel(WithContext(context))),
        chat_(std::move(chat)),
        scheduler_(model_, tokenizer_,
                   {.max_sequences = parallel, .max_rows = 16, .reuse_prefixes = true},
                   Gated(gate_)),
        compute_(scheduler_, static_cast<size_t>(parallel), queue, metrics_) {
    http_.SetService(service_);
    thread_ = std::thread([this] { http_.Serve(); });
  }
  ~TestServer() {
    gate_.Set(true);
    http_.Drain();
    thread_.join();
  }
  static ChatTemplate StoryTemplate() {
    return {"{{ bos_token }}{% for message in messages %}{{ message['content'] }}{% endfor %}",
            "<s>"};
  }

  // Until `condition`, at most ten seconds.
  template <class Condition>
  static bool Await(const Condition& condition) {
    for (int i = 0; i < 1000 && !condition(); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    return condition();
  }

  int port() const { return http_.port(); }
  HttpAnswer Post(const std::string& path, const nlohmann::json& body) const {
    return HttpClient(port()).Post(path, body.dump());
  }
  nlohmann::json Ask(const std::string& path, const nlohmann::json& body) const {
    return nlohmann::json::parse(Post(path, body).body);
  }
  // What the engine gives without the server.
  GenerationResult Alone(const std::string& prompt, const GenerationOptions& options) const {
    Generator alone(model_, tokenizer_);
    return alone.Generate(EncodePrompt(model_.config, tokenizer_, prompt), options);
  }

  const ByteTokenizer tokenizer_;
  const Model model_;
  Gate gate_;
  ChatTemplate chat_;
  Scheduler scheduler_;
  ServedModel served_{
      model_.config, tokenizer_, chat_, "tiny", "test", model_.config.max_position_embeddings, 1};
  ServerMetrics metrics_;
  ComputeThread compute_;
  CompletionService service_{served_, compute_};
  HttpServer http_{{.port = 0, .connections = 24, .stalled_seconds = 1, .request_seconds = 1},
                   metrics_};

 private:
  static ModelConfig WithContext(int32_t context) {
    ModelConfig config = TinyConfig();
    config.max_position_embeddings = context;
    return config;
  }
  static DraftingParts Gated(Gate& gate) {
    DraftingParts parts;
    parts.drafters = [&gate] {
      std::vector<std::unique_ptr<Drafter>> drafters;
      drafters.push_back(std::make_unique<GateDrafter>(gate));
      return drafters;
    };
    return parts;
  }
  std::thread thread_;
};

}  // namespace tern

#endif  // TERN_TESTS_SUPPORT_TEST_SERVER_H_
