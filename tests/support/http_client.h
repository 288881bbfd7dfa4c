// A small HTTP client for tests: one connection, one request at a time, bodies with a length or in
// chunks. It can hang up in the middle of an answer.
#ifndef TERN_TESTS_SUPPORT_HTTP_CLIENT_H_
#define TERN_TESTS_SUPPORT_HTTP_CLIENT_H_

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace tern {

struct HttpAnswer {
  int status = 0;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
};

class HttpClient {
 public:
  explicit HttpClient(int port) : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const timeval limit{60, 0};  // a test that would hang fails
    setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    if (connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0)
      throw std::runtime_error("cannot connect to port " + std::to_string(port));
  }
  ~HttpClient() { HangUp(); }
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  HttpAnswer Get(const std::string& path) { return Ask("GET", path, ""); }
  HttpAnswer Post(const std::string& path, const std::string& body) {
    return Ask("POST", path, body);
  }
  HttpAnswer Ask(const std::string& method, const std::string& path, const std::string& body) {
    Send(method, path, body);
    HttpAnswer answer = ReadHead();
    std::string part;
    while (ReadPart(part)) answer.body += part;
    return answer;
  }

  void Send(const std::string& method, const std::string& path, const std::string& body) {
    SendBytes(method + " " + path + " HTTP/1.1\r\nHost: localhost\r\nContent-Length: " +
              std::to_string(body.size()) + "\r\n\r\n" + body);
  }
  void SendBytes(std::string_view bytes) {
    if (send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL) !=
        static_cast<ssize_t>(bytes.size()))
      throw std::runtime_error("cannot send");
  }
  HttpAnswer ReadHead() {
    HttpAnswer answer;
    answer.status = std::stoi(ReadLine().substr(9));  // behind "HTTP/1.1 "
    for (std::string line = ReadLine(); !line.empty(); line = ReadLine()) {
      const size_t colon = line.find(": ");
      std::string name = line.substr(0, colon);
      std::transform(name.begin(), name.end(), name.begin(),
                     [](unsigned char c) { return std::tolower(c); });
      answer.headers[name] = line.substr(colon + 2);
    }
    chunked_ = answer.headers["transfer-encoding"] == "chunked";
    left_ = chunked_ ? 0 : std::stoul("0" + answer.headers["content-length"]);
    return answer;
  }
  // The next chunk, or the whole body where it has a length. False at the end.
  bool ReadPart(std::string& part) {
    if (chunked_) {
      left_ = std::stoul(ReadLine(), nullptr, 16);
      part = ReadBytes(left_);
      ReadLine();
      return !part.empty();
    }
    part = ReadBytes(left_);
    left_ = 0;
    return !part.empty();
  }
  void HangUp() {
    if (socket_ >= 0) close(socket_);
    socket_ = -1;
  }

 private:
  void Fill() {
    char bytes[4096];
    const ssize_t count = recv(socket_, bytes, sizeof(bytes), 0);
    if (count <= 0) throw std::runtime_error("the connection ended or nothing came");
    buffer_.append(bytes, static_cast<size_t>(count));
  }
  std::string ReadLine() {
    size_t end = 0;
    while ((end = buffer_.find("\r\n")) == std::string::npos) Fill();
    std::string line = buffer_.substr(0, end);
    buffer_.erase(0, end + 2);
    return line;
  }
  std::string ReadBytes(size_t count) {
    while (buffer_.size() < count) Fill();
    std::string bytes = buffer_.substr(0, count);
    buffer_.erase(0, count);
    return bytes;
  }

  int socket_;
  bool chunked_ = false;
  size_t left_ = 0;
  std::string buffer_;
};

// The data of each event in a body of server-sent events; comments are left out.
inline std::vector<std::string> SseData(const std::string& body) {
  std::vector<std::string> all;
  for (size_t begin = 0; begin < body.size();) {
    const size_t end = std::min(body.find("\n\n", begin), body.size());
    if (body.compare(begin, 6, "data: ") == 0)
      all.push_back(body.substr(begin + 6, end - begin - 6));
    begin = end + 2;
  }
  return all;
}

}  // namespace tern

#endif  // TERN_TESTS_SUPPORT_HTTP_CLIENT_H_
