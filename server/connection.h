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
  struct Limits {
    int stalled_seconds;  // a write may stand still for as long
    int request_seconds;  // from a request's first byte to its last, or reading it fails
    size_t head_bytes;    // of a request line and its headers together
    size_t body_bytes;    // with what its encoding adds
  };
  // Does not own `socket`.
  Connection(int socket, const Limits& limits) : socket_(socket), limits_(limits) {}

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
  // The request's headers have been read: from here on the limit is the body's.
  void HeadRead() { bytes_left_ = limits_.body_bytes; }
  // Takes what the other side still sends, for a moment: closing a socket with unread bytes would
  // take back the answer.
  void Linger();
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

  const int socket_;
  const Limits limits_;
  size_t bytes_left_ = 0;  // that the request may still have
  Clock::time_point request_end_;
  std::array<char, 4096> buffer_;  // read ahead: the library reads headers byte by byte
  size_t begin_ = 0, end_ = 0;
};

}  // namespace tern

#endif  // TERN_SERVER_CONNECTION_H_
