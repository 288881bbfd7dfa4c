// The JSON contract of whole answers and of errors, against a server of a tiny model.
#include <gtest/gtest.h>

#include <chrono>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/test_server.h"

namespace tern {
namespace {

using nlohmann::json;

class ApiTest : public ::testing::Test {
 protected:
  // Status, and all four parts of an error.
  void ExpectError(const HttpAnswer& answer, int status, const json& param, const json& code) {
    EXPECT_EQ(answer.status, status) << answer.body;
    EXPECT_EQ(answer.headers.at("content-type"), "application/json");
    EXPECT_FALSE(answer.headers.at("x-request-id").empty());
    const json error = json::parse(answer.body).at("error");
    EXPECT_EQ(error.size(), 4u);
    EXPECT_FALSE(error.at("message").get<std::string>().empty());
    EXPECT_TRUE(error.at("type").is_string());
    EXPECT_EQ(error.at("param"), param) << answer.body;
    EXPECT_EQ(error.at("code"), code) << answer.body;
  }
  void ExpectUsageAndTimings(const json& answer, int prompt, int completion) {
    const json& usage = answer.at("usage");
    EXPECT_EQ(usage.at("prompt_tokens"), prompt);
    EXPECT_EQ(usage.at("completion_tokens"), completion);
    EXPECT_EQ(usage.at("total_tokens"), prompt + completion);
    EXPECT_EQ(usage.at("prompt_tokens_details").at("cached_tokens"), 0);
    for (const char* key : {"prompt_tokens_per_second", "decode_tokens_per_second", "steps",
                            "drafted", "accepted", "acceptance_length", "draft"}) {
      EXPECT_TRUE(answer.at("timings").contains(key)) << key;
    }
  }

  TestServer server_;
};

TEST_F(ApiTest, HealthAndModels) {
  HttpClient client(server_.port());
  const HttpAnswer health = client.Get("/health");
  EXPECT_EQ(health.status, 200);
  EXPECT_EQ(json::parse(health.body), json({{"status", "ok"}, {"running", 0}, {"queued", 0}}));
  const json model = {{"id", "tiny"},
                      {"object", "model"},
                      {"created", 1},
                      {"owned_by", "tern"},
                      {"max_model_len", 512}};
  EXPECT_EQ(json::parse(client.Get("/v1/models").body),
            json({{"object", "list"}, {"data", {model}}}));
  EXPECT_EQ(json::parse(client.Get("/v1/models/tiny").body), model);
  ExpectError(client.Get("/v1/models/huge"), 404, "model", "model_not_found");
}

TEST_F(ApiTest, ACompletion) {
  const json answer = server_.Ask(
      kCompletions,
      {{"prompt", "once"}, {"max_tokens", 12}, {"temperature", 0}, {"ignore_eos", true}});
  EXPECT_EQ(answer.at("id").get<std::string>().substr(0, 5), "cmpl-");
  EXPECT_EQ(answer.at("object"), "text_completion");
  EXPECT_GT(answer.at("created"), 1600000000);
  EXPECT_EQ(answer.at("model"), "tiny");
  ASSERT_EQ(answer.at("choices").size(), 1u);
  const json& choice = answer["choices"][0];
  EXPECT_EQ(choice.size(), 4u);
  EXPECT_EQ(choice.at("index"), 0);
  EXPECT_TRUE(choice.at("text").is_string());
  EXPECT_TRUE(choice.at("logprobs").is_null());
  EXPECT_EQ(choice.at("finish_reason"), "length");
  ExpectUsageAndTimings(answer, 5, 12);
}

TEST_F(ApiTest, AChat) {
  const json answer = server_.Ask(
      kChat, {{"model", "tiny"}, {"messages", Messages("once")}, {"max_completion_tokens", 5}});
  EXPECT_EQ(answer.at("id").get<std::string>().substr(0, 9), "chatcmpl-");
  EXPECT_EQ(answer.at("object"), "chat.completion");
  const json& choice = answer.at("choices").at(0);
  EXPECT_EQ(choice.at("message").at("role"), "assistant");
  EXPECT_TRUE(choice["message"].at("content").is_string());
  EXPECT_TRUE(choice["message"].at("refusal").is_null());
  EXPECT_TRUE(choice.at("logprobs").is_null());
  EXPECT_TRUE(choice.at("finish_reason").is_string());
  EXPECT_EQ(answer.at("usage").at("prompt_tokens"), 5);  // with <s>
}

// A chat and a completion of the same text are the same tokens; n texts differ by their noise.
TEST_F(ApiTest, TokensAreThoseOfTheEngine) {
  GenerationOptions options;
  options.max_tokens = 40;
  options.sampling.temperature = 1.3f;
  options.sampling.top_p = 0.9f;
  options.sampling.frequency_penalty = 0.5f;
  options.sampling.logit_bias[70] = 3.0f;
  options.sampling.seed = 77;
  json body = {
      {"max_tokens", 40}, {"temperature", 1.3},        {"top_p", 0.9}, {"frequency_penalty", 0.5},
      {"seed", 77},       {"logit_bias", {{"70", 3}}}, {"n", 3},       {"return_token_ids", true}};
  std::vector<std::vector<TokenId>> expected;
  for (uint32_t i = 0; i < 3; ++i) {
    options.sampling.stream = i;
    expected.push_back(server_.Alone("the cat", options).token_ids);
  }
  EXPECT_NE(expected[0], expected[1]);
  for (const json& speculation :
       {json{{"mode", "auto"}}, json{{"mode", "off"}}, json{{"mode", "ngram"}, {"max_rows", 3}}}) {
    body["speculation"] = speculation;
    body["messages"] = Messages("the cat");
    body["prompt"] = {"a dog", "the cat"};
    const json chat = server_.Ask(kChat, body).at("choices");
    const json completion = server_.Ask(kCompletions, body).at("choices");
    ASSERT_EQ(completion.size(), 6u);
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_EQ(chat.at(i).at("token_ids"), expected[i]);
      EXPECT_EQ(completion[3 + i].at("token_ids"), expected[i]);
      EXPECT_EQ(completion[3 + i].at("index"), 3 + i);
    }
  }
}

TEST_F(ApiTest, PromptsOfIdsAndLists) {
  const json options = {{"max_tokens", 8}, {"seed", 5}, {"return_token_ids", true}};
  const auto ids = [&](const json& prompt) {
    json body = options;
    body["prompt"] = prompt;
    return server_.Ask(kCompletions, body).at("choices");
  };
  const json text = ids("ab");
  const json list = {1, 3 + 'a', 3 + 'b'};
  EXPECT_EQ(ids(list), text);
  const json two = ids(json::array({list, list}));
  ASSERT_EQ(two.size(), 2u);
  EXPECT_EQ(two[1].at("token_ids"), text[0].at("token_ids"));
  EXPECT_EQ(ids("").size(), 1u);  // from the beginning of a text
}

TEST_F(ApiTest, WithoutASeedTextsDiffer) {
  const json body = {
      {"prompt", "x"}, {"max_tokens", 30}, {"temperature", 2}, {"return_token_ids", true}};
  // The tiny model often repeats one token, so that two texts may agree; twelve do not.
  std::set<json> texts;
  for (int i = 0; i < 12; ++i) texts.insert(server_.Ask(kCompletions, body)["choices"]);
  EXPECT_GT(texts.size(), 1u);
}

TEST_F(ApiTest, StopStringsCutTheText) {
  json body = {{"prompt", "x"}, {"max_tokens", 60}, {"seed", 3}, {"ignore_eos", true}};
  GenerationOptions options;
  options.max_tokens = 60;
  options.sampling.temperature = 1.0f;
  options.sampling.seed = 3;
  options.ignore_eos = true;
  const std::string text = server_.Alone("x", options).text;
  // A character of the text, in ASCII so that JSON can say it.
  const auto at = std::find_if(text.begin() + 1, text.end(), [](char c) { return c > ' '; });
  ASSERT_NE(at, text.end());
  body["stop"] = {"unlikely to come", std::string(1, *at)};
  const json choice = server_.Ask(kCompletions, body).at("choices").at(0);
  EXPECT_EQ(choice.at("finish_reason"), "stop");
  EXPECT_EQ(choice.at("text").get<std::string>().find(*at), std::string::npos);

  // Log-probabilities are of the tokens that are left.
  options.stops = {std::string(1, *at)};
  const std::string cut = server_.Alone("x", options).text;
  body["messages"] = Messages("x");
  body["logprobs"] = true;
  std::string bytes;
  const json chat = server_.Ask(kChat, body).at("choices").at(0);
  for (const json& token : chat.at("logprobs").at("content")) {
    for (const int byte : token.at("bytes")) bytes += static_cast<char>(byte);
  }
  EXPECT_EQ(bytes, cut);
}

TEST_F(ApiTest, LogprobsOfCompletions) {
  const json answer = server_.Ask(kCompletions, {{"prompt", "x"},
                                                 {"max_tokens", 20},
                                                 {"temperature", 0},
                                                 {"ignore_eos", true},
                                                 {"logprobs", 2},
                                                 {"return_token_ids", true}});
  const json& choice = answer.at("choices").at(0);
  const json& logprobs = choice.at("logprobs");
  EXPECT_EQ(logprobs.size(), 4u);
  ASSERT_EQ(logprobs.at("tokens").size(), choice.at("token_ids").size());
  EXPECT_EQ(logprobs.at("token_logprobs").size(), 20u);
  EXPECT_EQ(logprobs.at("text_offset").at(0), 0);
  for (size_t i = 0; i < 20; ++i) {
    EXPECT_LE(logprobs["token_logprobs"][i], 0.0);
    const json& top = logprobs.at("top_logprobs").at(i);
    EXPECT_EQ(top.size(), 2u);
    double best = -1e9;
    for (const json& value : top) best = std::max(best, value.get<double>());
    EXPECT_EQ(logprobs["token_logprobs"][i], best);  // greedy
  }
}

TEST_F(ApiTest, LogprobsOfChats) {
  const json answer = server_.Ask(kChat, {{"messages", Messages("x")},
                                          {"max_tokens", 10},
                                          {"logit_bias", {{"2", -100}}},
                                          {"logprobs", true},
                                          {"top_logprobs", 3},
                                          {"return_token_ids", true}});
  const json& choice = answer.at("choices").at(0);
  const json& content = choice.at("logprobs").at("content");
  ASSERT_EQ(content.size(), 10u);
  for (size_t i = 0; i < 10; ++i) {
    const json& token = content[i];
    EXPECT_EQ(token.size(), 4u);
    const std::string text = token.at("token");
    EXPECT_LE(token.at("logprob"), 0.0);
    const int id = choice.at("token_ids").at(i);
    const json bytes = id < 3 ? json::array() : json::array({id - 3});
    EXPECT_EQ(token.at("bytes"), bytes);
    // A byte that is no character alone is spelt out.
    EXPECT_EQ(text.starts_with("bytes:\\x"), id >= 3 + 128) << text;
    EXPECT_EQ(token.at("top_logprobs").size(), 3u);
    for (const json& top : token["top_logprobs"]) EXPECT_EQ(top.size(), 3u);
  }
}

TEST_F(ApiTest, ErrorsNameTheirField) {
  HttpClient client(server_.port());
  const auto post = [&](const json& body) { return client.Post(kCompletions, body.dump()); };
  ExpectError(post({{"prompt", "x"}, {"temperature", "hot"}}), 400, "temperature", "invalid_value");
  ExpectError(post({{"prompt", "x"}, {"suffix", "y"}}), 400, "suffix", "unsupported_parameter");
  ExpectError(post({{"model", "tiny"}}), 400, "prompt", "missing_required_parameter");
  ExpectError(post({{"prompt", {5, 259}}}), 400, "prompt[1]", "invalid_value");
  ExpectError(post({{"prompt", "x"}, {"logit_bias", {{"259", 1}}}}), 400, "logit_bias",
              "invalid_value");
  ExpectError(post({{"prompt", "x"}, {"model", "gpt"}}), 404, "model", "model_not_found");
  ExpectError(client.Post(kCompletions, "{"), 400, nullptr, "invalid_json");
  ExpectError(client.Get("/v1/nothing"), 404, nullptr, "unknown_url");
  ExpectError(client.Get(kCompletions), 404, nullptr, "unknown_url");
}

TEST_F(ApiTest, APromptBeyondTheContextSaysBothCounts) {
  const HttpAnswer answer = server_.Post(kCompletions, {{"prompt", std::string(600, 'x')}});
  ExpectError(answer, 400, "prompt", "context_length_exceeded");
  EXPECT_NE(answer.body.find("512"), std::string::npos);
  EXPECT_NE(answer.body.find("601"), std::string::npos);
  ExpectError(
      server_.Post(kChat, {{"messages", Messages(std::string(600, 'x'))}, {"stream", true}}), 400,
      "messages", "context_length_exceeded");
  // One less than the context leaves room for one token.
  const json fits =
      server_.Ask(kCompletions, {{"prompt", std::string(510, 'x')}, {"ignore_eos", true}});
  EXPECT_EQ(fits.at("usage").at("completion_tokens"), 1);
}

TEST_F(ApiTest, ChatsNeedATemplate) {
  for (const ChatTemplate& chat : {ChatTemplate(), ChatTemplate("{{ raise('x') }}", "<s>")}) {
    const TestServer server(16, chat);
    const HttpAnswer answer = server.Post(kChat, {{"messages", Messages("x")}});
    ExpectError(answer, 400, "messages", "no_chat_template");
    EXPECT_EQ(server.Post(kCompletions, {{"prompt", "x"}}).status, 200);
  }
}

TEST_F(ApiTest, MalformedHttpDoesNoHarm) {
  for (const std::string& bytes :
       {std::string("nonsense\r\n\r\n"), std::string("GET / HTTP/9.9\r\n\r\n"),
        std::string("POST /v1/completions HTTP/1.1\r\nContent-Length: 5000000000\r\n\r\n"),
        std::string("POST /v1/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
        "GET /" + std::string(9000, 'a') + " HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nX: " + std::string(9000, 'a') + "\r\n\r\n"}) {
    HttpClient client(server_.port());
    client.SendBytes(bytes);
    try {
      const HttpAnswer answer = client.ReadHead();
      EXPECT_GE(answer.status, 400) << bytes.substr(0, 60);
      EXPECT_LT(answer.status, 500) << bytes.substr(0, 60);
    } catch (const std::exception&) {  // hanging up is an answer, too
    }
  }
  EXPECT_EQ(HttpClient(server_.port()).Get("/health").status, 200);
}

TEST_F(ApiTest, NoLengthIsNoBody) {
  HttpClient client(server_.port());
  client.SendBytes("POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_EQ(client.ReadHead().status, 400);  // at once: the connection stays open
}

// A request that trickles in would hold a thread for as long as its sender likes.
TEST_F(ApiTest, ARequestArrivesInTimeOrNotAtAll) {
  HttpClient client(server_.port());
  const auto start = std::chrono::steady_clock::now();
  const auto trickle = [&] {
    for (int i = 0; i < 100; ++i) {
      client.SendBytes("X");  // throws where the server has hung up
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
  };
  EXPECT_THROW(trickle(), std::runtime_error);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(8));
}

}  // namespace
}  // namespace tern
