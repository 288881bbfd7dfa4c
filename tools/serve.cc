// `tern serve`: the HTTP server.
#include <malloc.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "engine/chat_template.h"
#include "engine/draft_heads.h"
#include "engine/kv_cache.h"
#include "engine/memory.h"
#include "engine/model.h"
#include "engine/scheduler.h"
#include "engine/tokenizer.h"
#include "server/completion_service.h"
#include "server/compute_thread.h"
#include "server/http_server.h"
#include "server/metrics.h"
#include "server/traffic_recorder.h"
#include "tools/commands.h"
#include "tools/cost_table_flag.h"
#include "tools/heads.h"
#include "tools/model_path.h"
#include "tools/serve_signals.h"

namespace tern {
namespace {

struct ServeOptions {
  HttpOptions http;
  size_t queue = 64;
  int32_t parallel = 4;
  int32_t context = 0;
  std::string name, cost_table;
  double deadline_seconds = 0.0;
  std::string record;
  int record_mb = 256;
};

// The name of the model's folder, or "tern" for the one that ships.
std::string ModelName(const ServeOptions& options, const CommonOptions& common,
                      const std::string& dir) {
  if (!options.name.empty()) return options.name;
  if (common.model.empty()) return "tern";
  const auto path = std::filesystem::weakly_canonical(dir);
  return (path.has_filename() ? path : path.parent_path()).filename().string();
}

void Announce(const ServeOptions& options, const CommonOptions& common, const ServedModel& served,
              const HttpServer& server) {
  const bool v6 = options.http.host.find(':') != std::string::npos;
  const std::string host = v6 ? "[" + options.http.host + "]" : options.http.host;
  const std::string scheme = options.http.tls_certificate.empty() ? "http://" : "https://";
  const std::string url = scheme + host + ":" + std::to_string(server.port());
  if (common.json) {
    const OrderedJson json = {{"url", url}, {"port", server.port()}, {"model", served.id}};
    std::printf("%s\n", json.dump().c_str());
  } else {
    std::printf("%s serves %s, context %d tokens\n", url.c_str(), served.id.c_str(),
                served.max_context);
  }
  std::fflush(stdout);
  if (const std::string problem = served.chat_template.Problem(); !problem.empty())
    std::fprintf(stderr, "tern: no chat completions: %s\n", problem.c_str());
  const bool local = options.http.host == "127.0.0.1" || options.http.host == "localhost" ||
                     options.http.host == "::1";
  if (!local && !server.asks_for_keys()) {
    std::fputs("tern: whoever reaches this address can use the server: no keys (--api-key-file)\n",
               stderr);
  }
  if (!options.record.empty()) {
    std::fprintf(stderr, "tern: prompts and answers are recorded in %s, the latest %d MB\n",
                 options.record.c_str(), options.record_mb);
  }
}

// As many blocks of the cache as all texts together can fill, but no more than a quarter of the
// memory that is there, and one whole context at least.
int32_t CacheBlocks(int64_t context, int32_t parallel, const ModelConfig& config, KvType type) {
  const int64_t whole = (context + 63) / 64;
  const size_t block = KvCache::Bytes(config, 1, type);
  const auto fit = static_cast<int64_t>(AvailableMemoryBytes() / 4 / block);
  return static_cast<int32_t>(std::max(whole, std::min(whole * parallel, fit)));
}

SchedulerLimits LimitsOf(const ServeOptions& options, const CommonOptions& common,
                         const ModelConfig& config) {
  const int32_t context = options.context == 0 ? config.max_position_embeddings : options.context;
  return {
      .max_sequences = options.parallel,
      .max_context = options.context,
      .kv_blocks = context > 0 ? CacheBlocks(context, options.parallel, config, common.Kv()) : 0,
      .kv_type = common.Kv(),
      .reuse_prefixes = true,
      .costs = CostTableAt(options.cost_table)};
}

// Serves on a thread of its own; Stop, or going out of scope, drains.
class ServingThread {
 public:
  explicit ServingThread(HttpServer& server)
      : server_(server), thread_([&server] { server.Serve(); }) {}
  ~ServingThread() { Stop(); }
  void Stop() {
    server_.Drain();
    Join();
  }
  void Join() {
    if (thread_.joinable()) thread_.join();
  }

 private:
  HttpServer& server_;
  std::thread thread_;
};

ServedModel Served(const Model& model, const Tokenizer& tokenizer, const ChatTemplate& chat,
                   const std::string& name, int32_t max_context) {
  return {model.config,
          tokenizer,
          chat,
          name,
          "tern-" + std::to_string(model.config.hidden_size) + "x" +
              std::to_string(model.config.num_hidden_layers),
          max_context,
          static_cast<int64_t>(std::time(nullptr))};
}

// Large blocks go back to the system when they are freed. Otherwise glibc takes the first large
// request body for a size to keep room for, in the heap of every thread that ever sees one.
void ReturnLargeBlocks() {
#ifdef __GLIBC__
  constexpr int kLargeBytes = 1 << 20;
  mallopt(M_MMAP_THRESHOLD, kLargeBytes);
#endif
}

void RunServe(ServeOptions& options, const CommonOptions& common) {
  ReturnLargeBlocks();
  ServeSignals signals;
  ServerMetrics metrics;
  std::optional<TrafficRecorder> recorder;
  if (!options.record.empty())
    recorder.emplace(options.record, static_cast<uint64_t>(options.record_mb) << 20);
  if (const char* keys = std::getenv("TERN_API_KEYS"))
    options.http.access.api_keys = ParseKeys(keys);
  // Those that wait or run, and as many again that only ask how things are.
  options.http.connections = 2 * (options.queue + static_cast<size_t>(options.parallel)) + 32;
  HttpServer server(options.http, metrics);
  ServingThread serving(server);  // answers while the model loads
  const std::string dir = ResolveModel(common.model);
  const std::unique_ptr<Tokenizer> tokenizer = LoadTokenizer(dir);
  const ChatTemplate chat_template = ChatTemplate::Load(dir);
  const Model model = LoadForDecoding(dir, common);
  if (recorder) recorder->SetBackbone(BackboneFingerprint(model));
  const SchedulerLimits limits = LimitsOf(options, common, model.config);
  const std::shared_ptr<const MedusaHeads> heads = HeadsFor(common, dir, model);
  Scheduler scheduler(model, *tokenizer, limits,
                      {.drafters = DrafterMaker(model, heads, limits.max_rows), .planner = {}});
  const ServedModel served = Served(model, *tokenizer, chat_template,
                                    ModelName(options, common, dir), scheduler.max_context());
  ComputeThread compute(scheduler, static_cast<size_t>(options.parallel), options.queue, metrics);
  CompletionService service(
      served, compute,
      {.deadline_seconds = options.deadline_seconds, .recorder = recorder ? &*recorder : nullptr});
  const std::unique_ptr<ServingThread, void (*)(ServingThread*)> stop_first(
      &serving, [](ServingThread* thread) { thread->Stop(); });  // before what it uses goes
  server.SetService(service);
  signals.Watch(&server);
  Announce(options, common, served, server);
  serving.Join();
  signals.Watch(nullptr);
}

}  // namespace

void AddServe(CLI::App& app, const CommonOptions& common) {
  auto options = std::make_shared<ServeOptions>();
  CLI::App* command = app.add_subcommand("serve", "Serves an OpenAI-style HTTP API");
  command->add_option("--host", options->http.host, "Address to listen on")->capture_default_str();
  command->add_option("--port", options->http.port, "Port to listen on; 0 = a free one, printed")
      ->check(CLI::Range(0, 65535))
      ->capture_default_str();
  command
      ->add_option("--queue", options->queue,
                   "Requests that may wait; more are refused with status 429")
      ->check(CLI::Range(0, 4096))
      ->capture_default_str();
  command
      ->add_option("--parallel", options->parallel,
                   "Texts that are written at once; their passes share the reading of the weights")
      ->check(CLI::Range(1, kMaxRows))
      ->capture_default_str();
  command->add_option("--context", options->context,
                      "Tokens of prompt and answer together (default: the model's)");
  command->add_option("--name", options->name,
                      "The model's name in the API (default: its folder's)");
  AddCostTable(*command, options->cost_table);
  command
      ->add_option("--api-key-file", options->http.access.api_key_file,
                   "File of keys, one a line, of which a client needs one; read again on SIGHUP. "
                   "TERN_API_KEYS in the environment adds keys")
      ->type_name("FILE");
  CLI::Option* certificate =
      command
          ->add_option("--tls-cert", options->http.tls_certificate,
                       "PEM file of the certificate for HTTPS, with those above it; read again on "
                       "SIGHUP")
          ->type_name("FILE");
  CLI::Option* key = command->add_option("--tls-key", options->http.tls_key, "PEM file of its key")
                         ->type_name("FILE");
  certificate->needs(key);
  key->needs(certificate);
  command
      ->add_option("--allowed-host", options->http.access.allowed_hosts,
                   "Host name that clients may use beside localhost and addresses; * = any")
      ->type_name("NAME");
  command
      ->add_option("--cors-origin", options->http.access.cors_origins,
                   "Origin (https://chat.example) whose pages may use the server; * = any")
      ->type_name("ORIGIN");
  command
      ->add_option("--request-deadline", options->deadline_seconds,
                   "Seconds after which a request is given up (default: never)")
      ->check(CLI::PositiveNumber);
  command
      ->add_option("--record", options->record,
                   "Folder that prompts and answers are recorded in, for training")
      ->type_name("DIR");
  command
      ->add_option("--record-mb", options->record_mb,
                   "Most that the recording may take; the oldest is dropped")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command->callback([options, &common] { RunServe(*options, common); });
}

}  // namespace tern
