// What is recorded of served traffic, and how long requests may take.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "engine/atomic_file.h"
#include "engine/error.h"
#include "server/traffic_recorder.h"
#include "tests/support/temp_dir.h"
#include "tests/support/test_server.h"

namespace tern {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

std::vector<std::string> Files(const std::string& dir) {
  std::vector<std::string> files;
  for (const auto& entry : fs::directory_iterator(dir)) files.push_back(entry.path().string());
  std::ranges::sort(files);
  return files;
}

TEST(TrafficRecorderTest, KeepsTheLatestWithinItsSize) {
  TempDir dir;
  const std::string ring = dir / "ring";
  TrafficRecorder recorder(ring, 8000);
  const std::vector<TokenId> ids = {1, 2};
  for (int i = 0; i < 300; ++i) {
    recorder.Add("prompt " + std::to_string(i), ids, "\xff", ids);
    uint64_t total = 0;
    for (const std::string& file : Files(ring)) total += fs::file_size(file);
    ASSERT_LE(total, 8000u);
  }
  struct stat info {};
  ASSERT_EQ(stat(ring.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700u);
  int expected = -1;
  for (const std::string& file : Files(ring)) {
    ASSERT_EQ(stat(file.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0600u);
    std::ifstream lines(file);
    for (std::string line; std::getline(lines, line);) {
      const json record = json::parse(line);
      EXPECT_EQ(record.at("prompt_ids"), json(ids));
      if (expected < 0) expected = std::stoi(record.at("prompt").get<std::string>().substr(7));
      EXPECT_EQ(record["prompt"], "prompt " + std::to_string(expected++));
    }
  }
  EXPECT_EQ(expected, 300);                            // ends with the latest, without a gap
  recorder.Add(std::string(5000, 'x'), ids, "", ids);  // never fits: left out
}

TEST(TrafficRecorderTest, GoesOnAfterACrash) {
  TempDir dir;
  const std::string ring = dir / "ring";
  const std::vector<TokenId> ids = {7};
  TrafficRecorder(ring, 1 << 20).Add("a", ids, "b", ids);
  ASSERT_EQ(Files(ring).size(), 1u);
  const std::string first = Files(ring)[0], line = ReadFile(first);
  std::ofstream(first, std::ios::app) << line.substr(0, 20);
  std::ofstream(ring + "/notes.txt") << "of somebody else";
  TrafficRecorder(ring, 1 << 20).Add("c", ids, "d", ids);
  EXPECT_EQ(ReadFile(first), line);
  EXPECT_EQ(Files(ring).size(), 3u);
  EXPECT_THROW(TrafficRecorder(dir / "no" + "/where", 1 << 20), Error);
}

class ServiceTest : public ::testing::Test {
 protected:
  explicit ServiceTest() : thread_([this] { http_.Serve(); }) { http_.SetService(service_); }
  ~ServiceTest() override {
    server_.gate_.Set(true);
    http_.Drain();
    thread_.join();
  }
  HttpAnswer Post(const char* path, const json& body) const {
    return HttpClient(http_.port()).Post(path, body.dump());
  }

  TempDir dir_;
  TestServer server_;
  TrafficRecorder recorder_{dir_ / "ring", 1 << 20};
  CompletionService service_{
      server_.served_, server_.compute_, {.deadline_seconds = 20.0, .recorder = &recorder_}};
  ServerMetrics metrics_;
  HttpServer http_{{.port = 0, .connections = 4}, metrics_};
  std::thread thread_;
};

TEST_F(ServiceTest, AnswersAreRecorded) {
  const json answer = json::parse(
      Post(kCompletions,
           {{"prompt", "ab"}, {"max_tokens", 5}, {"return_token_ids", true}, {"seed", 1}})
          .body);
  Post(kChat, {{"messages", Messages("cd")}, {"max_tokens", 3}, {"stream", true}});
  Post(kCompletions, {{"prompt", "scored"}, {"max_tokens", 0}, {"echo", true}, {"logprobs", 1}});
  std::ifstream lines(Files(dir_ / "ring").at(0));
  std::vector<json> records;
  for (std::string line; std::getline(lines, line);) records.push_back(json::parse(line));
  ASSERT_EQ(records.size(), 2u);
  EXPECT_EQ(records[0].at("prompt"), "ab");
  EXPECT_EQ(records[0].at("prompt_ids"), json({1, 100, 101}));
  EXPECT_EQ(records[0].at("answer"), answer.at("choices").at(0).at("text"));
  EXPECT_EQ(records[0].at("answer_ids"), answer["choices"][0].at("token_ids"));
  EXPECT_EQ(records[1].at("prompt"), "cd");
}

TEST_F(ServiceTest, ARequestMayTakeItsTimeAndNoLonger) {
  json body = {{"prompt", "x"},
               {"max_tokens", 400},
               {"ignore_eos", true},
               {"timeout", 0.2},
               {"speculation", {{"mode", "tree"}}}};
  server_.gate_.Set(false);
  const HttpAnswer answer = Post(kCompletions, body);
  EXPECT_EQ(answer.status, 504);
  EXPECT_EQ(json::parse(answer.body).at("error").at("code"), "deadline_exceeded");
  EXPECT_EQ(answer.headers.at("x-should-retry"), "false");
  body["stream"] = true;
  const std::vector<std::string> events = SseData(Post(kCompletions, body).body);
  EXPECT_EQ(json::parse(events.back()).at("error").at("code"), "deadline_exceeded");
  server_.gate_.Set(true);
  for (const json& wrong : {json(0), json(-1), json("1")}) {
    const HttpAnswer refused = Post(kCompletions, {{"prompt", "x"}, {"timeout", wrong}});
    EXPECT_EQ(refused.status, 400);
    EXPECT_EQ(json::parse(refused.body).at("error").at("param"), "timeout");
  }
  body = {{"prompt", "x"}, {"timeout", 1e300}};
  EXPECT_EQ(Post(kCompletions, body).status, 200);
}

}  // namespace
}  // namespace tern
