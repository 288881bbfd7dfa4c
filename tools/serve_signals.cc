#include "tools/serve_signals.h"

#include <pthread.h>
#include <unistd.h>

#include <cstdio>
#include <exception>

namespace tern {

ServeSignals::ServeSignals() {
  sigemptyset(&signals_);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals_, signal);
  pthread_sigmask(SIG_BLOCK, &signals_, &before_);
  thread_ = std::thread([this] { Run(); });
}

ServeSignals::~ServeSignals() {
  {
    const std::lock_guard lock(mutex_);
    done_ = true;
  }
  pthread_kill(thread_.native_handle(), SIGTERM);  // wakes it
  thread_.join();
  pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

void ServeSignals::Watch(HttpServer* server) {
  const std::lock_guard lock(mutex_);
  server_ = server;
}

void ServeSignals::Reload() {
  if (server_ == nullptr) return;
  try {
    server_->Reload();
    std::fputs("tern: read the keys and the certificate again\n", stderr);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "tern: %s; keys and certificate that cannot be read stay as they were\n",
                 error.what());
  }
}

void ServeSignals::Run() {
  for (int stops = 0;;) {
    int signal = 0;
    sigwait(&signals_, &signal);
    const std::lock_guard lock(mutex_);
    if (done_) return;
    if (signal == SIGHUP) {
      Reload();
      continue;
    }
    if (server_ == nullptr || ++stops > 1) _exit(128 + signal);
    std::fputs("tern: finishing the requests that are begun; again to stop at once\n", stderr);
    server_->Drain();
  }
}

}  // namespace tern
