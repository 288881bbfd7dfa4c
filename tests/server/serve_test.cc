// `tern serve` as a user runs it: the same tokens as `tern generate`, ports, signals, wrong usage.
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/background_program.h"
#include "tests/support/http_client.h"
#include "tests/support/model_dir.h"
#include "tests/support/run_program.h"
#include "tests/support/text_model_dir.h"

namespace tern {
namespace {

using nlohmann::json;

class ServeTest : public ::testing::Test {
 protected:
  ServeTest() { WriteTextModelDir(model_); }
  // Starts the server and returns its port.
  int Start(std::vector<std::string> more = {}) {
    more.insert(more.begin(), {TERN_PROGRAM, "serve", "--model", model_, "--port", "0", "--json"});
    server_ = std::make_unique<BackgroundProgram>(more);
    const std::string line = server_->ReadLine();
    EXPECT_FALSE(line.empty()) << server_->Errors();
    const json started = json::parse(line);
    EXPECT_EQ(started.at("model"), "model");
    EXPECT_EQ(started.at("url"),
              "http://127.0.0.1:" + std::to_string(started.at("port").get<int>()));
    return started.at("port");
  }
  json Generate(const std::vector<std::string>& more) {
    std::vector<std::string> command = {TERN_PROGRAM, "generate", "--model", model_, "--json"};
    command.insert(command.end(), more.begin(), more.end());
    const ProgramResult result = RunProgram(command);
    EXPECT_EQ(result.status, 0) << result.err;
    return json::parse(result.out);
  }

  TempDir dir_;
  std::string model_ = dir_ / "model";
  std::unique_ptr<BackgroundProgram> server_;
};

TEST_F(ServeTest, TheSameTokensAsGenerate) {
  const int port = Start();
  json body = {{"prompt", "the cat sat on the cat"},
               {"max_tokens", 60},
               {"temperature", 0.8},
               {"top_p", 0.9},
               {"min_p", 0.01},
               {"repetition_penalty", 1.2},
               {"presence_penalty", 0.5},
               {"seed", 11},
               {"logprobs", 3},
               {"return_token_ids", true}};
  const json generated =
      Generate({"--prompt", "the cat sat on the cat", "--max-tokens", "60", "--temperature", "0.8",
                "--top-p", "0.9", "--min-p", "0.01", "--repetition-penalty", "1.2",
                "--presence-penalty", "0.5", "--seed", "11", "--logprobs", "3"});
  for (const char* mode : {"auto", "ngram", "off"}) {
    body["speculation"] = {{"mode", mode}};
    const HttpAnswer answer = HttpClient(port).Post("/v1/completions", body.dump());
    ASSERT_EQ(answer.status, 200) << answer.body;
    const json choice = json::parse(answer.body).at("choices").at(0);
    EXPECT_EQ(choice.at("token_ids"), generated.at("token_ids")) << mode;
    EXPECT_EQ(choice.at("text"), generated.at("text")) << mode;
    EXPECT_EQ(choice.at("finish_reason"), generated.at("finish_reason")) << mode;
    const json& logprobs = choice.at("logprobs").at("token_logprobs");
    for (size_t i = 0; i < logprobs.size(); ++i)
      EXPECT_EQ(logprobs[i], generated.at("logprobs").at(i).at("logprob"));
  }
  server_->Signal(SIGTERM);
  EXPECT_EQ(server_->Wait(), 0);
}

// The ids of a streamed answer's one choice.
json StreamedIds(const std::string& body) {
  json ids = json::array();
  for (const std::string& data : SseData(body)) {
    if (data == "[DONE]") return ids;
    const json chunk = json::parse(data);
    for (const json& choice : chunk.at("choices"))
      for (const json& id : choice.at("token_ids")) ids.push_back(id);
  }
  return "no [DONE]";
}

// Nine requests, each of which has eight others beside it; one thread each asks for a text streamed
// or not, with each way of drafting.
TEST_F(ServeTest, TheSameTokensAsGenerateAmongEightOthers) {
  constexpr int kClients = 9;
  const std::vector<std::string> prompts = {"the cat sat", "x", "the the the the the the cat"};
  const auto body = [&](int i) {
    return json{{"prompt", prompts[static_cast<size_t>(i) % prompts.size()]},
                {"max_tokens", 40 + 5 * i},
                {"temperature", i % 2 == 0 ? 0.0 : 0.9},
                {"seed", i},
                {"ignore_eos", true},
                {"return_token_ids", true}};
  };
  std::vector<json> generated;
  for (int i = 0; i < kClients; ++i) {
    const json request = body(i);
    generated.push_back(
        Generate({"--prompt", request["prompt"], "--max-tokens", request["max_tokens"].dump(),
                  "--temperature", request["temperature"].dump(), "--seed", std::to_string(i),
                  "--ignore-eos"})
            .at("token_ids"));
  }
  const int port = Start({"--parallel", std::to_string(kClients)});
  const auto ask = [&](int i) {
    for (const char* mode : {"auto", "tree", "ngram", "off"}) {
      for (const bool stream : {false, true}) {
        json request = body(i);
        request["speculation"] = {{"mode", mode}};
        request["stream"] = stream;
        const HttpAnswer answer = HttpClient(port).Post("/v1/completions", request.dump());
        const json ids = stream ? StreamedIds(answer.body)
                                : json::parse(answer.body).at("choices").at(0).at("token_ids");
        EXPECT_EQ(ids, generated[static_cast<size_t>(i)]) << i << mode << stream;
      }
    }
  };
  ask(0);  // alone
  std::vector<std::thread> threads;
  for (int i = 0; i < kClients; ++i) threads.emplace_back(ask, i);
  for (std::thread& thread : threads) thread.join();
}

TEST_F(ServeTest, TheFirstSignalWaitsForWhatIsBegunTheSecondDoesNot) {
  const int port = Start();
  HttpClient client(port);
  const json body = {
      {"prompt", "x"}, {"max_tokens", 400}, {"ignore_eos", true}, {"stream", true}, {"n", 100}};
  client.Send("POST", "/v1/completions", body.dump());
  EXPECT_EQ(client.ReadHead().status, 200);
  std::string part;
  EXPECT_TRUE(client.ReadPart(part));
  server_->Signal(SIGINT);
  for (int i = 0; i < 500; ++i) {
    try {
      HttpClient refused(port);
    } catch (const std::runtime_error&) {
      break;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_THROW(HttpClient{port}, std::runtime_error);
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(client.ReadPart(part));  // still streaming
  server_->Signal(SIGTERM);
  EXPECT_EQ(server_->Wait(), 128 + SIGTERM);
}

TEST_F(ServeTest, KeysAreReadAgainAndRecordingIsSaid) {
  const std::string keys = dir_ / "keys", ring = dir_ / "ring";
  const auto write = [&](const char* text) { std::ofstream(keys) << text; };
  write("first\n");
  const int port = Start({"--api-key-file", keys, "--record", ring, "--record-mb", "1"});
  const auto status = [&](const std::string& key) {
    HttpClient client(port);
    client.SendBytes("GET /v1/models HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + key +
                     "\r\n\r\n");
    return client.ReadHead().status;
  };
  EXPECT_EQ(status("first"), 200);
  EXPECT_EQ(status("second"), 401);
  EXPECT_TRUE(std::filesystem::exists(ring + "/traffic-00000001.jsonl"));
  write("second\n");
  server_->Signal(SIGHUP);
  for (int i = 0; i < 500 && status("second") != 200; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_EQ(status("second"), 200);
  EXPECT_EQ(status("first"), 401);
  server_->Signal(SIGTERM);
  EXPECT_EQ(server_->Wait(), 0);
  EXPECT_NE(server_->Errors().find("recorded in " + ring), std::string::npos);
}

TEST_F(ServeTest, WhatCannotBeServedIsOneLine) {
  const int port = Start();
  const auto serve = [&](std::vector<std::string> more) {
    more.insert(more.begin(), {TERN_PROGRAM, "serve", "--model", model_});
    return RunProgram(more);
  };
  ExpectFailure(serve({"--port", std::to_string(port)}), {std::to_string(port)});
  EXPECT_EQ(serve({"--context", "100000"}).status, 1);
  ExpectFailure(serve({"--port", "0", "--api-key-file", dir_ / "absent"}), {});
  for (const std::vector<std::string>& wrong :
       {std::vector<std::string>{"--port", "70000"}, {"--queue", "-1"}, {"--nonsense"}}) {
    ExpectFailure(serve(wrong), {}, 2);
  }
}

}  // namespace
}  // namespace tern
