#include "server/connection.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace tern {
namespace {

thread_local Connection* current_connection = nullptr;

using GetName = int (*)(int, sockaddr*, socklen_t*);

void ReadAddress(GetName get_name, int socket, std::string& ip, int& port) {
  sockaddr_storage storage{};
  socklen_t size = sizeof(storage);
  if (get_name(socket, reinterpret_cast<sockaddr*>(&storage), &size) != 0) return;
  char text[INET6_ADDRSTRLEN] = "";
  if (storage.ss_family == AF_INET) {
    const auto* address = reinterpret_cast<const sockaddr_in*>(&storage);
    inet_ntop(AF_INET, &address->sin_addr, text, sizeof(text));
    port = ntohs(address->sin_port);
  } else if (storage.ss_family == AF_INET6) {
    const auto* address = reinterpret_cast<const sockaddr_in6*>(&storage);
    inet_ntop(AF_INET6, &address->sin6_addr, text, sizeof(text));
    port = ntohs(address->sin6_port);
  }
  ip = text;
}

}  // namespace

Connection* Connection::Current() { return current_connection; }
Connection::Serving::Serving(Connection& connection) { current_connection = &connection; }
Connection::Serving::~Serving() { current_connection = nullptr; }

bool Connection::Wait(short events, int milliseconds) const {
  pollfd entry{socket_, events, 0};
  int ready = 0;
  do {
    ready = poll(&entry, 1, milliseconds);
  } while (ready < 0 && errno == EINTR);
  return ready > 0;
}

bool Connection::Handshake() {
  request_end_ = Clock::now() + std::chrono::seconds(limits_.request_seconds);
  if (tls_ == nullptr) return true;
  while (true) {
    const TlsSession::Status status = tls_->Handshake().status;
    if (status == TlsSession::Status::kDone) return true;
    if (!WaitFor(status)) return false;
  }
}

bool Connection::WaitForRequest(int seconds, const std::atomic<bool>& draining) {
  constexpr int kSliceMs = 100;
  bool ready = begin_ < end_ || (tls_ != nullptr && tls_->has_pending());
  for (int waited = 0; !ready && waited < seconds * 1000 && !draining; waited += kSliceMs)
    ready = Wait(POLLIN, kSliceMs);
  request_end_ = Clock::now() + std::chrono::seconds(limits_.request_seconds);
  bytes_left_ = limits_.head_bytes;
  return ready && !draining;
}

int Connection::RequestMsLeft() const {
  const auto left =
      std::chrono::duration_cast<std::chrono::milliseconds>(request_end_ - Clock::now()).count();
  return static_cast<int>(std::max<int64_t>(0, left));
}

// What has arrived counts, however late this thread comes to see it.
bool Connection::WaitForInput() const { return Wait(POLLIN, RequestMsLeft()); }

bool Connection::WaitFor(TlsSession::Status status) const {
  if (status == TlsSession::Status::kWaitToRead) return WaitForInput();
  return status == TlsSession::Status::kWaitToWrite && Wait(POLLOUT, RequestMsLeft());
}

void Connection::Close() {
  if (tls_ != nullptr) tls_->Close();
}

void Connection::Linger() {
  constexpr int kMost = 64, kWaitMs = 100;  // reads, and the pause that ends them
  shutdown(socket_, SHUT_WR);
  for (int i = 0; i < kMost && Wait(POLLIN, kWaitMs); ++i) {
    if (recv(socket_, buffer_.data(), buffer_.size(), 0) <= 0) return;
  }
}

bool Connection::Gone() const {
  pollfd entry{socket_, POLLRDHUP, 0};
  return poll(&entry, 1, 0) > 0 &&
         (entry.revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL)) != 0;
}

bool Connection::is_readable() const {
  return begin_ < end_ || (tls_ != nullptr && tls_->has_pending()) || WaitForInput();
}

ssize_t Connection::Receive() {
  if (tls_ == nullptr) {
    return WaitForInput() ? recv(socket_, buffer_.data(), buffer_.size(), 0) : -1;
  }
  while (true) {
    const TlsSession::Result result = tls_->Read(buffer_.data(), buffer_.size());
    if (result.status == TlsSession::Status::kDone) return static_cast<ssize_t>(result.bytes);
    if (result.status == TlsSession::Status::kClosed) return 0;
    if (!WaitFor(result.status)) return -1;
  }
}

ssize_t Connection::read(char* data, size_t size) {
  if (begin_ == end_) {
    const ssize_t got = Receive();
    if (got <= 0) return got;
    begin_ = 0;
    end_ = static_cast<size_t>(got);
  }
  const size_t count = std::min(size, end_ - begin_);
  if (count > bytes_left_) return -1;
  bytes_left_ -= count;
  std::memcpy(data, buffer_.data() + begin_, count);
  begin_ += count;
  return static_cast<ssize_t>(count);
}

ssize_t Connection::Send(const char* data, size_t size) {
  while (true) {
    short events = POLLOUT;
    if (tls_ == nullptr) {
      const ssize_t count = send(socket_, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (count >= 0 || (errno != EAGAIN && errno != EINTR)) return count;
    } else {
      const TlsSession::Result result = tls_->Write(data, size);
      if (result.status == TlsSession::Status::kDone) return static_cast<ssize_t>(result.bytes);
      if (result.status == TlsSession::Status::kWaitToRead) events = POLLIN;
      if (result.status == TlsSession::Status::kClosed) return -1;
      if (result.status == TlsSession::Status::kFailed) return -1;
    }
    if (!Wait(events, limits_.stalled_seconds * 1000)) return -1;
  }
}

// Everything or an error: the library does not come back for the rest of a short write everywhere.
ssize_t Connection::write(const char* data, size_t size) {
  size_t sent = 0;
  while (sent < size) {
    const ssize_t count = Send(data + sent, size - sent);
    if (count < 0) return -1;
    sent += static_cast<size_t>(count);
  }
  return static_cast<ssize_t>(sent);
}

void Connection::get_remote_ip_and_port(std::string& ip, int& port) const {
  ReadAddress(getpeername, socket_, ip, port);
}

void Connection::get_local_ip_and_port(std::string& ip, int& port) const {
  ReadAddress(getsockname, socket_, ip, port);
}

}  // namespace tern
