// A connected socket as cpp-httplib wants to see one, with time limits, and with a look whether the
// other side has gone.
#ifndef TERN_SERVER_CONNECTION_H_
#define TERN_SERVER_CONNECTION_H_

#include <httplib.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>

#include "server/tls.h"

namespace tern {

class Connection final : public httplib::Stream {
 public:
  struct Limits {
    int stalled_seconds;  // a write may stand still for as long
    int request_seconds;  // from a request's first byte to its last, or reading it fails
    size_t head_bytes;    // of a request line and its headers together
    size_t body_bytes;    // with what its encoding adds
  };
  // Does not own `socket`, which does not block where there is `tls`.
  Connection(int socket, const Limits& limits, std::unique_ptr<TlsSession> tls = nullptr)
      : socket_(socket), limits_(limits), tls_(std::move(tls)) {}

  // The connection that this thread serves: the library hands requests to handlers without theirs.
  // Null where it serves none.
  static Connection* Current();
  class Serving {  // makes a connection the current one while it lives
   public:
    explicit Serving(Connection& connection);
    ~Serving();
  };

  // Agrees with the client on encryption, where there is some, in the time of a request. False
  // where they do not.
  bool Handshake();
  // Waits for the first byte of a request, from which its time counts. False after `seconds`, where
  // the other side has closed, or soon after `draining` is set.
  bool WaitForRequest(int seconds, const std::atomic<bool>& draining);
  // The request's headers have been read: from here on the limit is the body's.
  void HeadRead() { bytes_left_ = limits_.body_bytes; }
  // Takes what the other side still sends, for a moment: closing a socket with unread bytes would
  // take back the answer. Behind Close.
  void Linger();
  // Ends the encryption, where there is some. Nothing can be written any more.
  void Close();
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
  int RequestMsLeft() const;
  bool WaitForInput() const;                      // as long as the request may still take
  bool WaitFor(TlsSession::Status status) const;  // as a session asks for; false where it is over
  ssize_t Receive();                              // into buffer_; 0 at the end, -1 for an error
  ssize_t Send(const char* data, size_t size);    // some of it; -1 for an error

  const int socket_;
  const Limits limits_;
  size_t bytes_left_ = 0;  // that the request may still have
  Clock::time_point request_end_;
  std::array<char, 4096> buffer_;  // read ahead: the library reads headers byte by byte
  size_t begin_ = 0, end_ = 0;
  const std::unique_ptr<TlsSession> tls_;  // null: not encrypted
};

}  // namespace tern

#endif  // TERN_SERVER_CONNECTION_H_
