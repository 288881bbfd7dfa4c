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

bool Connection::WaitForRequest(int seconds, const std::atomic<bool>& draining) {
  constexpr int kSliceMs = 100;
  bool ready = begin_ < end_;
  for (int waited = 0; !ready && waited < seconds * 1000 && !draining; waited += kSliceMs)
    ready = Wait(POLLIN, kSliceMs);
  request_end_ = Clock::now() + std::chrono::seconds(limits_.request_seconds);
  bytes_left_ = limits_.head_bytes;
  return ready && !draining;
}

bool Connection::WaitForInput() const {
  const auto left =
      std::chrono::duration_cast<std::chrono::milliseconds>(request_end_ - Clock::now()).count();
  // What has arrived counts, however late this thread comes to see it.
  return Wait(POLLIN, static_cast<int>(std::max<int64_t>(0, left)));
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

bool Connection::is_readable() const { return begin_ < end_ || WaitForInput(); }

ssize_t Connection::read(char* data, size_t size) {
  if (begin_ == end_) {
    if (!WaitForInput()) return -1;
    const ssize_t got = recv(socket_, buffer_.data(), buffer_.size(), 0);
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

// Everything or an error: the library does not come back for the rest of a short write everywhere.
ssize_t Connection::write(const char* data, size_t size) {
  size_t sent = 0;
  while (sent < size) {
    if (!Wait(POLLOUT, limits_.stalled_seconds * 1000)) return -1;
    const ssize_t count = send(socket_, data + sent, size - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) continue;
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
