// Who may ask: hosts, origins, keys; and how much a request may bring.
#include <gtest/gtest.h>

#include <cstddef>
#include <fstream>
#include <stdexcept>
#include <string>
#include <thread>

#include "engine/error.h"
#include "tests/support/temp_dir.h"
#include "tests/support/test_server.h"

namespace tern {
namespace {

using nlohmann::json;

// The status of the error that is thrown, 0 for none.
template <class Fn>
int StatusOf(const Fn& fn) {
  try {
    fn();
    return 0;
  } catch (const RequestError& error) {
    return error.status;
  }
}

TEST(AccessTest, HostsAreAddressesLocalhostAndWhatIsListed) {
  const Access access({.allowed_hosts = {"Tern.Example"}}, "myhost");
  for (const char* host :
       {"", "127.0.0.1", "127.0.0.1:8080", "10.1.2.3:1", "[::1]:8080", "[fe80::1]", "localhost",
        "LOCALHOST:80", "a.localhost:9", "myhost:8080", "tern.example", "TERN.example:443"}) {
    EXPECT_EQ(StatusOf([&] { access.CheckSource(host, ""); }), 0) << host;
  }
  for (const char* host : {"evil.example", "evil.example:8080", "localhost.evil.example",
                           "127.0.0.1.evil.example", "tern.example.evil", "[evil]", "xlocalhost"}) {
    EXPECT_EQ(StatusOf([&] { access.CheckSource(host, ""); }), 403) << host;
  }
  const Access any({.allowed_hosts = {"*"}}, "127.0.0.1");
  EXPECT_EQ(StatusOf([&] { any.CheckSource("evil.example", ""); }), 0);
}

TEST(AccessTest, PagesOfOtherOriginsAreRefusedUnlessListed) {
  const Access access({.cors_origins = {"https://chat.example"}}, "127.0.0.1");
  const auto status = [&](const char* origin) {
    return StatusOf([&] { access.CheckSource("127.0.0.1:8080", origin); });
  };
  EXPECT_EQ(status(""), 0);
  EXPECT_EQ(status("http://127.0.0.1:8080"), 0);  // our own page
  EXPECT_EQ(status("https://chat.example"), 0);
  EXPECT_EQ(status("https://evil.example"), 403);
  EXPECT_EQ(status("http://127.0.0.1:3000"), 403);
  EXPECT_EQ(status("http://chat.example"), 403);
  EXPECT_EQ(status("null"), 403);
}

TEST(AccessTest, KeysOfAFileAreReadAgain) {
  EXPECT_EQ(ParseKeys(" a,b\n# c d\n\te # f\n"), (std::vector<std::string>{"a", "b", "e"}));
  TempDir dir;
  const std::string file = dir / "keys";
  const auto write = [&](const char* text) { std::ofstream(file) << text; };
  write("one\ntwo\n");
  Access access({.api_keys = {"zero"}, .api_key_file = file}, "127.0.0.1");
  const auto status = [&](const std::string& authorization, const std::string& key) {
    return StatusOf([&] { access.CheckKey(authorization, key); });
  };
  for (const char* key : {"zero", "one", "two"}) {
    EXPECT_EQ(status("Bearer " + std::string(key), ""), 0);
    EXPECT_EQ(status("", key), 0);
  }
  for (const char* header : {"", "Bearer", "Bearer ", "Bearer on", "Bearer onee", "Bearer ONE",
                             "Basic one", "one", "Bearer one two"})
    EXPECT_EQ(status(header, ""), 401) << header;
  write("three\n");
  access.ReloadKeys();
  EXPECT_EQ(status("bearer three", ""), 0);
  EXPECT_EQ(status("Bearer one", ""), 401);
  write("# none\n");  // would open the server
  EXPECT_THROW(access.ReloadKeys(), Error);
  EXPECT_EQ(status("Bearer three", ""), 0);
  EXPECT_THROW(Access({.api_key_file = dir / "absent"}, "x"), Error);
  EXPECT_EQ(StatusOf([] { Access({}, "x").CheckKey("", ""); }), 0);
}

class GuardedTest : public ::testing::Test {
 protected:
  GuardedTest() : thread_([this] { http_.Serve(); }) { http_.SetService(server_.service_); }
  ~GuardedTest() override {
    http_.Drain();
    thread_.join();
  }
  HttpAnswer Ask(const std::string& head, const std::string& body = "") const {
    HttpClient client(http_.port());
    client.SendBytes(head + "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
    HttpAnswer answer = client.ReadHead();
    client.ReadPart(answer.body);
    return answer;
  }

  TestServer server_;
  ServerMetrics metrics_;
  HttpServer http_{{.port = 0,
                    .connections = 4,
                    .max_body_bytes = 2000,
                    .access = {.cors_origins = {"https://chat.example"}, .api_keys = {"secret"}}},
                   metrics_};
  std::thread thread_;
};

TEST_F(GuardedTest, KeysAreAskedFor) {
  const std::string get = "GET /v1/models HTTP/1.1\r\nHost: localhost\r\n";
  const HttpAnswer refused = Ask(get);
  EXPECT_EQ(refused.status, 401);
  EXPECT_EQ(json::parse(refused.body).at("error").at("code"), "invalid_api_key");
  EXPECT_EQ(refused.headers.at("www-authenticate"), "Bearer");
  EXPECT_FALSE(refused.headers.at("x-request-id").empty());
  EXPECT_EQ(Ask(get + "Authorization: Bearer secret\r\n").status, 200);
  EXPECT_EQ(Ask(get + "X-Api-Key: secret\r\n").status, 200);
  EXPECT_EQ(Ask("GET /metrics HTTP/1.1\r\nHost: localhost\r\n").status, 401);
  EXPECT_EQ(Ask("GET /health HTTP/1.1\r\nHost: localhost\r\n").status, 200);  // balancers ask
}

TEST_F(GuardedTest, HostsAndOrigins) {
  EXPECT_EQ(Ask("GET /health HTTP/1.1\r\nHost: evil.example\r\n").status, 403);
  EXPECT_EQ(
      Ask("GET /health HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example\r\n").status,
      403);
  const HttpAnswer answer =
      Ask("GET /health HTTP/1.1\r\nHost: localhost\r\nOrigin: https://chat.example\r\n");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.headers.at("access-control-allow-origin"), "https://chat.example");
  EXPECT_EQ(answer.headers.at("vary"), "Origin");
  EXPECT_FALSE(Ask("GET /health HTTP/1.1\r\nHost: localhost\r\n")
                   .headers.contains("access-control-allow-origin"));
}

TEST_F(GuardedTest, Preflights) {
  const std::string ask =
      "OPTIONS /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
      "Access-Control-Request-Method: POST\r\n"
      "Access-Control-Request-Headers: authorization, content-type\r\nOrigin: ";
  const HttpAnswer answer = Ask(ask + "https://chat.example\r\n");
  EXPECT_EQ(answer.status, 204);
  EXPECT_EQ(answer.headers.at("access-control-allow-origin"), "https://chat.example");
  EXPECT_EQ(answer.headers.at("access-control-allow-headers"), "authorization, content-type");
  EXPECT_EQ(Ask(ask + "https://evil.example\r\n").status, 403);
}

// What comes behind a refused head is its body: never another request.
TEST_F(GuardedTest, ARefusedRequestEndsItsConnection) {
  HttpClient client(http_.port());
  const std::string body = "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";
  client.SendBytes("POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: " +
                   std::to_string(body.size()) + "\r\n\r\n" + body);
  std::string part;
  const HttpAnswer answer = client.ReadHead();
  EXPECT_EQ(answer.status, 401);
  EXPECT_EQ(answer.headers.at("connection"), "close");
  client.ReadPart(part);
  EXPECT_THROW(client.ReadHead(), std::runtime_error);
}

TEST_F(GuardedTest, Limits) {
  const std::string post =
      "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nX-Api-Key: secret\r\n";
  EXPECT_EQ(Ask(post, std::string(2001, ' ')).status, 413);
  EXPECT_EQ(Ask(post + "Content-Encoding: gzip\r\n", "xx").status, 415);
  // Without a length, and headers without end: the connection ends.
  for (const std::string& bytes :
       {post + "Transfer-Encoding: chunked\r\n\r\nffff\r\n" + std::string(0xffff, ' '), post + [] {
          std::string headers;
          for (int i = 0; i < 100; ++i) headers += "X-" + std::string(1000, 'a') + ": b\r\n";
          return headers;
        }()}) {
    HttpClient client(http_.port());
    client.SendBytes(bytes);
    try {
      const HttpAnswer answer = client.ReadHead();
      EXPECT_GE(answer.status, 400);
      EXPECT_LT(answer.status, 500);
    } catch (const std::exception&) {  // hanging up is an answer, too
    }
  }
  EXPECT_EQ(Ask("GET /health HTTP/1.1\r\nHost: localhost\r\n").status, 200);
}

}  // namespace
}  // namespace tern
