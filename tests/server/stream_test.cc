// Streams: their chunks, that they add up to the whole answer, and what happens when clients hang
// up, come in numbers, or come while the server is busy or stopping.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/test_server.h"

namespace tern {
namespace {

using nlohmann::json;

class StreamTest : public ::testing::Test {
 protected:
  // The chunks of a stream that ends as it should.
  std::vector<json> Stream(const std::string& path, json body) {
    body["stream"] = true;
    const HttpAnswer answer = server_.Post(path, body);
    EXPECT_EQ(answer.status, 200) << answer.body;
    EXPECT_EQ(answer.headers.at("content-type"), "text/event-stream");
    EXPECT_FALSE(answer.headers.at("x-request-id").empty());
    std::vector<std::string> data = SseData(answer.body);
    EXPECT_EQ(data.back(), "[DONE]");
    data.pop_back();
    std::vector<json> chunks;
    for (const std::string& text : data) chunks.push_back(json::parse(text));
    return chunks;
  }
  ComputeThread::Load Load() { return server_.compute_.load(); }

  // A request that the gate can hold, and that would take all of the context.
  static json Long() {
    return {{"prompt", "x"},
            {"max_tokens", 500},
            {"ignore_eos", true},
            {"seed", 1},
            {"speculation", {{"mode", "tree"}}}};
  }

  TestServer server_{2};
};

TEST_F(StreamTest, ChunksOfAChat) {
  const std::vector<json> chunks = Stream(kChat, {{"messages", Messages("once")},
                                                  {"max_tokens", 30},
                                                  {"n", 2},
                                                  {"seed", 3},
                                                  {"stream_options", {{"include_usage", true}}}});
  std::vector<int> roles(2), ends(2);
  for (size_t i = 0; i < chunks.size(); ++i) {
    const json& chunk = chunks[i];
    EXPECT_EQ(chunk.at("id"), chunks[0].at("id"));
    EXPECT_EQ(chunk.at("object"), "chat.completion.chunk");
    EXPECT_EQ(chunk.at("model"), "tiny");
    EXPECT_EQ(chunk.at("created"), chunks[0].at("created"));
    if (i + 1 == chunks.size()) {
      EXPECT_EQ(chunk.at("choices"), json::array());
      EXPECT_EQ(chunk.at("usage").at("prompt_tokens"), 5);
      EXPECT_TRUE(chunk.at("timings").contains("acceptance_length"));
      continue;
    }
    EXPECT_TRUE(chunk.at("usage").is_null());
    ASSERT_EQ(chunk.at("choices").size(), 1u);
    const json& choice = chunk["choices"][0];
    const size_t index = choice.at("index");
    EXPECT_TRUE(choice.contains("logprobs"));
    EXPECT_EQ(ends.at(index), 0) << "a chunk behind the choice's end";
    if (choice.at("delta").contains("role")) {
      EXPECT_EQ(choice["delta"], json({{"role", "assistant"}, {"content", ""}}));
      ++roles[index];
    }
    EXPECT_EQ(roles[index], 1) << "the role comes first";
    if (!choice.at("finish_reason").is_null()) {
      EXPECT_EQ(choice["delta"], json::object());
      ++ends[index];
    }
  }
  EXPECT_EQ(ends, (std::vector<int>{1, 1}));
}

TEST_F(StreamTest, PiecesAddUpToTheWholeAnswer) {
  for (const json& options : {json{{"temperature", 0}}, json{{"seed", 9}, {"n", 2}},
                              json{{"seed", 4}, {"stop", {"a", "B", "7"}}},
                              json{{"seed", 4}, {"speculation", {{"mode", "off"}}}}}) {
    json body = options;
    body.update(
        {{"prompt", "the cat"}, {"max_tokens", 60}, {"logprobs", 2}, {"return_token_ids", true}});
    const json whole = server_.Ask(kCompletions, body).at("choices");
    json sum = whole;
    for (json& choice : sum) {
      choice["text"] = "";
      choice["token_ids"] = json::array();
      for (json& list : choice["logprobs"]) list = json::array();
      choice["finish_reason"] = nullptr;
    }
    for (const json& chunk : Stream(kCompletions, body)) {
      const json& choice = chunk.at("choices").at(0);
      json& to = sum.at(choice.at("index").get<size_t>());
      to["text"] = to["text"].get<std::string>() + choice.at("text").get<std::string>();
      for (const json& id : choice.at("token_ids")) to["token_ids"].push_back(id);
      for (const auto& [key, list] : choice.at("logprobs").items()) {
        for (const json& value : list) to["logprobs"][key].push_back(value);
      }
      if (!choice.at("finish_reason").is_null()) to["finish_reason"] = choice["finish_reason"];
    }
    EXPECT_EQ(sum, whole) << options;
  }
}

TEST_F(StreamTest, TimingsAreInTheLastChunkOfAll) {
  const std::vector<json> chunks = Stream(kCompletions, {{"prompt", "x"}, {"n", 2}});
  for (size_t i = 0; i < chunks.size(); ++i) {
    EXPECT_EQ(chunks[i].contains("timings"), i + 1 == chunks.size());
    EXPECT_FALSE(chunks[i].contains("usage"));
  }
}

TEST_F(StreamTest, ErrorsComeBeforeTheStream) {
  const HttpAnswer answer =
      server_.Post(kChat, {{"messages", Messages("x")}, {"stream", true}, {"n", 0}});
  EXPECT_EQ(answer.status, 400);
  EXPECT_EQ(json::parse(answer.body).at("error").at("param"), "n");
}

TEST_F(StreamTest, HangingUpEndsTheWorkWithThePassThatRuns) {
  for (const bool stream : {true, false}) {
    json body = Long();
    body["stream"] = stream;
    body["n"] = 100;
    HttpClient client(server_.port());
    server_.gate_.Set(false);
    client.Send("POST", kCompletions, body.dump());
    server_.gate_.AwaitCaught();
    EXPECT_EQ(Load().running, 1u);
    if (stream) {
      EXPECT_EQ(client.ReadHead().status, 200);
    }
    client.HangUp();
    EXPECT_TRUE(TestServer::Await([&] { return Load().cancelling == 1; }));
    const int passes = server_.gate_.passes();
    server_.gate_.Set(true);
    EXPECT_TRUE(TestServer::Await([&] { return Load().running == 0; }));
    EXPECT_EQ(server_.gate_.passes(), passes);
  }
  EXPECT_EQ(server_.Ask(kCompletions, {{"prompt", "x"}}).at("choices").size(), 1u);
}

TEST_F(StreamTest, AFullQueueSaysWhenToComeBackAndHealthAnswers) {
  server_.gate_.Set(false);
  std::vector<std::unique_ptr<HttpClient>> clients;
  const auto send = [&] {
    clients.push_back(std::make_unique<HttpClient>(server_.port()));
    clients.back()->Send("POST", kCompletions, Long().dump());
  };
  send();
  server_.gate_.AwaitCaught();
  send();
  send();
  ASSERT_TRUE(TestServer::Await([&] { return Load().queued == 2; }));
  const HttpAnswer refused = server_.Post(kCompletions, Long());
  EXPECT_EQ(refused.status, 429);
  EXPECT_GE(std::stoi(refused.headers.at("retry-after")), 1);
  EXPECT_EQ(json::parse(refused.body).at("error").at("code"), "queue_full");
  EXPECT_EQ(json::parse(HttpClient(server_.port()).Get("/health").body),
            json({{"status", "ok"}, {"running", 1}, {"queued", 2}}));
  // One that waits and hangs up leaves its place to another.
  clients[2]->HangUp();
  EXPECT_TRUE(TestServer::Await([&] { return Load().queued == 1; }));
  server_.gate_.Set(true);
  for (size_t i = 0; i < 2; ++i) EXPECT_EQ(clients[i]->ReadHead().status, 200);
}

TEST_F(StreamTest, ManyAtOnceGetWhatEachGetsAlone) {
  constexpr int kClients = 6;
  const auto body = [](int i) {
    return json{{"prompt", std::string(static_cast<size_t>(i + 1), 'a')},
                {"max_tokens", 50},
                {"temperature", 1.0},
                {"seed", i},
                {"return_token_ids", true}};
  };
  for (const int parallel : {1, 4}) {
    TestServer many(kClients, TestServer::StoryTemplate(), parallel);
    std::vector<std::vector<TokenId>> expected;  // before: the number of threads is the process's
    for (int i = 0; i < kClients; ++i) {
      GenerationOptions options;
      options.max_tokens = 50;
      options.sampling.temperature = 1.0f;
      options.sampling.seed = static_cast<uint64_t>(i);
      const std::string prompt(static_cast<size_t>(i + 1), 'a');
      expected.push_back(many.Alone(prompt, options).token_ids);
    }
    std::vector<json> got(kClients);
    std::vector<std::thread> threads;
    for (int i = 0; i < kClients; ++i) {
      threads.emplace_back([&, i] {
        got[static_cast<size_t>(i)] = many.Ask(kCompletions, body(i)).at("choices").at(0);
      });
    }
    for (std::thread& thread : threads) thread.join();
    for (size_t i = 0; i < kClients; ++i) EXPECT_EQ(got[i].at("token_ids"), expected[i]);
  }
}

TEST_F(StreamTest, DrainingFinishesWhatIsBegunAndTakesNothingMore) {
  json body = Long();
  body["stream"] = true;
  HttpClient client(server_.port()), idle(server_.port());
  EXPECT_EQ(idle.Get("/health").status, 200);
  server_.gate_.Set(false);
  client.Send("POST", kCompletions, body.dump());
  server_.gate_.AwaitCaught();
  EXPECT_EQ(client.ReadHead().status, 200);
  server_.http_.Drain();
  EXPECT_THROW(HttpClient(server_.port()), std::runtime_error);
  server_.gate_.Set(true);
  std::string all, part;
  while (client.ReadPart(part)) all += part;
  const std::vector<std::string> data = SseData(all);
  EXPECT_EQ(data.back(), "[DONE]");
  EXPECT_EQ(json::parse(data[data.size() - 2]).at("choices").at(0).at("finish_reason"), "length");
}

TEST_F(StreamTest, ConnectionsAreUsedAgain) {
  HttpClient client(server_.port());
  for (int i = 0; i < 20; ++i) {
    json body = {{"prompt", "x"}, {"max_tokens", 2}, {"stream", i % 2 == 0}};
    EXPECT_EQ(client.Post(kCompletions, body.dump()).status, 200);
  }
}

}  // namespace
}  // namespace tern
