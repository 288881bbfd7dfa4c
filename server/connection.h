// A connected socket as cpp-httplib wants to see one, with time limits, and with a look whether the
// other side has gone.
#ifndef TERN_SERVER_CONNECTION_H_
#define TERN_SERVER_CONNECTION_H_

#include <httplib.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <string>

namespace tern {

class Connection final : public httplib::Stream {
 public:
  // Does not own `socket`. A write may stand still for `stalled_seconds`; a request arrives whole
  // within `request_seconds` of its first byte, or reading it fails.
  Connection(int socket, int stalled_seconds, int request_seconds)
      : socket_(socket), stalled_ms_(stalled_seconds * 1000), request_seconds_(request_seconds) {}

  // The connection that this thread serves: the library hands requests to handlers without theirs.
  // Null where it serves none.
  static Connection* Current();
  class Serving {  // makes a connection the current one while it lives
   public:
    explicit Serving(Connection& connection);
    ~Serving();
  };

  // Waits for the first byte of a request, from which its time counts. False after `seconds`, where
  // the other side has closed, or soon after `draining` is set.
  bool WaitForRequest(int seconds, const std::atomic<bool>& draining);
  // The other side has closed the connection, or at least its half of it. Sends and reads nothing.
  bool Gone() const;

  bool is_readable() const override;
  bool is_writable() const override { return !Gone(); }
  ssize_t read(char* data, size_t size) override;
  ssize_t write(const char* data, size_t size) override;
  void get_remote_ip_and_port(std::string& ip, int& port) const override;
  void get_local_ip_and_port(std::string& ip, int& port) const override;
  socket_t socket() const override { return socket_; }

 private:
  using Clock = std::chrono::steady_clock;
  bool Wait(short events, int milliseconds) const;
  bool WaitForInput() const;  // as long as the request may still take

  const int socket_, stalled_ms_;
  const std::chrono::seconds request_seconds_;
  Clock::time_point request_end_;
  std::array<char, 4096> buffer_;  // read ahead: the library reads headers byte by byte
  size_t begin_ = 0, end_ = 0;
};

}  // namespace tern

#endif  // TERN_SERVER_CONNECTION_H_
