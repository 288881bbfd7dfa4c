// What signals ask of `tern serve`.
#ifndef TERN_TOOLS_SERVE_SIGNALS_H_
#define TERN_TOOLS_SERVE_SIGNALS_H_

#include <csignal>
#include <mutex>
#include <thread>

#include "server/http_server.h"

namespace tern {

// Waits for SIGTERM and SIGINT: the first lets the server finish what it has begun, the second ends
// the program at once, as does the first while there is no server yet. SIGHUP has it read its keys
// and its certificate again. Made before any other thread, so that all of them inherit the mask and
// leave the signals to this one.
class ServeSignals {
 public:
  ServeSignals();
  ~ServeSignals();
  ServeSignals(const ServeSignals&) = delete;
  ServeSignals& operator=(const ServeSignals&) = delete;
  // From here on signals are for `server`; null: for nobody.
  void Watch(HttpServer* server);

 private:
  void Run();
  void Reload();

  sigset_t signals_, before_;
  std::mutex mutex_;
  HttpServer* server_ = nullptr;
  bool done_ = false;
  std::thread thread_;
};

}  // namespace tern

#endif  // TERN_TOOLS_SERVE_SIGNALS_H_
