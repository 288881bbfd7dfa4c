// The endpoints beside completions: tokens, templates, properties, figures, and what is answered
// while the model loads.
#include <gtest/gtest.h>

#include <string>
#include <thread>

#include "tests/support/test_server.h"

namespace tern {
namespace {

using nlohmann::json;

class EndpointsTest : public ::testing::Test {
 protected:
  std::string Metrics() { return HttpClient(server_.port()).Get("/metrics").body; }

  TestServer server_;
};

// The byte tokenizer has <unk>, <s> and </s>, then the bytes from 3 on.
TEST_F(EndpointsTest, TokenizeAsLlamaCppDoes) {
  EXPECT_EQ(server_.Ask("/tokenize", {{"content", "ab"}}), json({{"tokens", {100, 101}}}));
  EXPECT_EQ(server_.Ask("/tokenize", {{"content", ""}}), json({{"tokens", json::array()}}));
  EXPECT_EQ(server_.Ask("/tokenize", {{"content", "ab"}, {"add_special", true}}),
            json({{"tokens", {1, 100, 101}}}));
  // A token that is only a part of a character is a list of bytes.
  EXPECT_EQ(server_.Ask("/tokenize", {{"content", "a\xc3\xa9"}, {"with_pieces", true}}),
            json({{"tokens",
                   {{{"id", 100}, {"piece", "a"}},
                    {{"id", 3 + 0xc3}, {"piece", {0xc3}}},
                    {{"id", 3 + 0xa9}, {"piece", {0xa9}}}}}}));
}

TEST_F(EndpointsTest, TokenizeAsVllmDoes) {
  EXPECT_EQ(server_.Ask("/tokenize", {{"prompt", "ab"}}), json({{"count", 3},
                                                                {"max_model_len", 512},
                                                                {"tokens", {1, 100, 101}},
                                                                {"token_strs", nullptr}}));
  EXPECT_EQ(
      server_.Ask("/tokenize", {{"prompt", "ab"}, {"add_special_tokens", false}, {"model", "tiny"}})
          .at("count"),
      2);
  const json chat =
      server_.Ask("/tokenize", {{"messages", Messages("ab")}, {"return_token_strs", true}});
  EXPECT_EQ(chat.at("tokens"), json({1, 100, 101}));
  EXPECT_EQ(chat.at("token_strs"), json({"", "a", "b"}));
}

TEST_F(EndpointsTest, DetokenizeForBoth) {
  EXPECT_EQ(server_.Ask("/detokenize", {{"tokens", {1, 100, 101}}}),
            json({{"content", "ab"}, {"prompt", "ab"}}));
  EXPECT_EQ(server_.Ask("/detokenize", {{"tokens", json::array()}}).at("content"), "");
}

TEST_F(EndpointsTest, ApplyTemplateGivesWhatTheModelContinues) {
  EXPECT_EQ(server_.Ask("/apply-template", {{"messages", Messages("once")}}),
            json({{"prompt", "once"}}));
}

TEST_F(EndpointsTest, Props) {
  const json props = json::parse(HttpClient(server_.port()).Get("/props").body);
  EXPECT_EQ(props.at("default_generation_settings").at("n_ctx"), 512);
  EXPECT_EQ(props.at("total_slots"), 1);
  EXPECT_TRUE(props.at("chat_problem").is_null());
  EXPECT_TRUE(props.at("chat_template").is_string());
}

TEST_F(EndpointsTest, WrongBodiesNameTheirField) {
  const auto param = [&](const std::string& path, const json& body) {
    const HttpAnswer answer = server_.Post(path, body);
    EXPECT_EQ(answer.status, 400) << answer.body;
    return json::parse(answer.body).at("error").at("param");
  };
  EXPECT_EQ(param("/tokenize", json::object()), "content");
  EXPECT_EQ(param("/tokenize", {{"content", 5}}), "content");
  EXPECT_EQ(param("/tokenize", {{"content", "a"}, {"prompt", "b"}}), "content");
  EXPECT_EQ(param("/detokenize", json::object()), "tokens");
  EXPECT_EQ(param("/detokenize", {{"tokens", "a"}}), "tokens");
  EXPECT_EQ(param("/detokenize", {{"tokens", {1, 259}}}), "tokens[1]");
  EXPECT_EQ(param("/detokenize", {{"tokens", {-1}}}), "tokens[0]");
  EXPECT_EQ(param("/apply-template", json::object()), "messages");
}

TEST_F(EndpointsTest, MetricsCountWhatHappened) {
  EXPECT_NE(Metrics().find("tern_generation_tokens_total 0\n"), std::string::npos);
  server_.Ask(kCompletions, {{"prompt", "once"},
                             {"max_tokens", 12},
                             {"ignore_eos", true},
                             {"speculation", {{"mode", "off"}}}});
  server_.Post(kCompletions, json::object());
  HttpClient(server_.port()).Get("/v1/nothing");
  // A request has its answer a moment before its job is gone.
  EXPECT_TRUE(TestServer::Await([&] { return server_.compute_.load().running == 0; }));
  const std::string text = Metrics();
  for (const char* line :
       {"tern_requests_total{code=\"200\",route=\"/v1/completions\"} 1\n",
        "tern_requests_total{code=\"400\",route=\"/v1/completions\"} 1\n",
        "tern_requests_total{code=\"404\",route=\"other\"} 1\n", "tern_prompt_tokens_total 5\n",
        "tern_generation_tokens_total 12\n", "tern_requests_running 0\n",
        "tern_texts_total{draft=\"off\",finish_reason=\"length\",reason=\"asked\"} 1\n",
        "tern_time_to_first_token_seconds_count 1\n", "tern_pass_cost_ratio{rows=\"1\"} 1\n"}) {
    EXPECT_NE(text.find(line), std::string::npos) << line << text;
  }
}

TEST_F(EndpointsTest, ARequestKeepsItsId) {
  const auto id = [&](const std::string& given) {
    HttpClient client(server_.port());
    client.SendBytes("GET /health HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: " + given +
                     "\r\n\r\n");
    return client.ReadHead().headers.at("x-request-id");
  };
  EXPECT_EQ(id("abc-1.2:3_4"), "abc-1.2:3_4");
  EXPECT_TRUE(id("no spaces").starts_with("req_"));
  EXPECT_TRUE(id(std::string(200, 'a')).starts_with("req_"));
}

TEST(Loading, IsSaidUntilTheModelIsThere) {
  ServerMetrics metrics;
  HttpServer http({.port = 0, .connections = 2}, metrics);
  std::thread thread([&] { http.Serve(); });
  {
    HttpClient client(http.port());
    const HttpAnswer health = client.Get("/health");
    EXPECT_EQ(health.status, 503);
    EXPECT_EQ(json::parse(health.body), json({{"status", "loading"}}));
    for (const HttpAnswer& answer :
         {client.Get("/v1/models"), client.Post(kCompletions, "{}"), client.Get("/props")}) {
      EXPECT_EQ(answer.status, 503);
      EXPECT_EQ(json::parse(answer.body).at("error").at("code"), "model_loading");
      EXPECT_EQ(answer.headers.at("retry-after"), "1");
    }
    EXPECT_EQ(client.Get("/metrics").status, 200);
  }
  http.Drain();
  thread.join();
}

}  // namespace
}  // namespace tern
