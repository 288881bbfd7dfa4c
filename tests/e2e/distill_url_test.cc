// `tern distill --url`: texts of a server become data of the local model. `tern serve` with the
// same model must give what distilling without it does; a server of the test's own fails on
// purpose.
#include <gtest/gtest.h>
#include <httplib.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>

#include "engine/error.h"
#include "engine/tokenizer.h"
#include "tests/support/background_program.h"
#include "tests/support/error_text.h"
#include "tests/support/kill_program.h"
#include "tests/support/run_program.h"
#include "tests/support/text_model_dir.h"
#include "tools/distill_report.h"
#include "trainer/hidden_cache.h"

namespace tern::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

class DistillUrlTest : public ::testing::Test {
 protected:
  DistillUrlTest() {
    setenv("OMP_WAIT_POLICY", "passive", 1);
    WriteTextModelDir(model_, 1);
    fs::copy_file(TERN_SOURCE_DIR "/tools/story.jinja", model_ + "/chat_template.jinja");
    std::string lines;
    for (int i = 0; i < 12; ++i) {
      const std::string text = "the cat " + std::to_string(i);
      lines +=
          (i % 3 == 0 ? json{{"prompt", text}} : json{{"turns", {text, "and the dog"}}}).dump() +
          "\n";
    }
    prompts_ = dir_.Write("prompts.jsonl", lines);
  }
  std::vector<std::string> Distill(const std::string& out, const std::string& url = "") const {
    std::vector<std::string> command = {TERN_PROGRAM, "distill",
                                        "--model",    model_,
                                        "--prompts",  prompts_,
                                        "--out",      out,
                                        "--threads",  "1",
                                        "--json",     "--max-tokens",
                                        "12",         "--teacher-top-k",
                                        "2",          "--chat",
                                        "--shard-mb", "0.01",
                                        "--parallel", "4"};
    if (!url.empty()) command.insert(command.end(), {"--url", url});
    return command;
  }

  TempDir dir_;
  std::string model_ = dir_ / "model", prompts_;
};

// The local text where the server's words, tokenised again, are the tokens that it wrote.
TEST_F(DistillUrlTest, OurOwnServerGivesTheLocalTexts) {
  BackgroundProgram server(
      {TERN_PROGRAM, "serve", "--model", model_, "--port", "0", "--json", "--threads", "1"});
  const json ready = json::parse(server.ReadLine(), nullptr, false);
  ASSERT_TRUE(ready.is_object());
  const std::string url = ready["url"].get<std::string>();
  const std::string local_dir = dir_ / "local", remote_dir = dir_ / "remote";
  ASSERT_EQ(RunProgram(Distill(local_dir)).status, 0);
  const std::vector<std::string> command = Distill(remote_dir, url);
  RunAndKill(command, [&] { return fs::exists(remote_dir + "/shard-00001.safetensors"); });
  const ProgramResult result = RunProgram(command);
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_GT(json::parse(result.out)["resumed_at"], 0);

  const HiddenCache local(local_dir), remote(remote_dir);
  EXPECT_EQ(remote.info().made_by["--url"], url + "/v1");
  EXPECT_NE(remote.info().made_by["--url-model"], "");
  ASSERT_EQ(remote.sequences(), 12u);
  const auto tokenizer = LoadTokenizer(model_);
  int same = 0;
  for (uint64_t s = 0; s < 12; ++s) {
    const HiddenSequence a = local.Sequence(s), b = remote.Sequence(s);
    EXPECT_EQ(a.prompt_length, b.prompt_length);
    if (!std::ranges::equal(a.tokens, b.tokens)) continue;
    ++same;
    const size_t n = a.tokens.size();
    EXPECT_TRUE(std::ranges::equal(a.assistant, b.assistant)) << s;
    EXPECT_TRUE(std::equal(a.hidden.data, a.hidden.data + n * a.hidden.cols, b.hidden.data)) << s;
    EXPECT_TRUE(std::equal(a.teacher.ids.data, a.teacher.ids.data + n * 2, b.teacher.ids.data));
    EXPECT_TRUE(
        std::equal(a.teacher.probs.data, a.teacher.probs.data + n * 2, b.teacher.probs.data));
  }
  EXPECT_GT(same, 2);
  RecordProperty("same", same);
}

// Fails every second request, and answers every prompt with a word of its own.
class FlakyServer {
 public:
  FlakyServer() {
    server_.Get("/v1/models", [](const auto&, auto& reply) {
      reply.set_content(R"({"data": [{"id": "parrot"}]})", "application/json");
    });
    const auto answer = [this](const httplib::Request& request, httplib::Response& reply) {
      if (request.get_header_value("Authorization") != "Bearer secret") {
        reply.status = 401;
        reply.set_content(R"({"error": {"message": "no such key"}})", "application/json");
        return;
      }
      if (++requests_ % 2 == 0) {
        reply.status = 503;
        return;
      }
      const json asked = json::parse(request.body);
      const bool chat = asked.contains("messages");
      const std::string said = chat ? asked["messages"].back()["content"] : asked["prompt"];
      json choice = {{"finish_reason", "stop"}};
      if (chat) {
        choice["message"] = {{"content", "re " + said}};
      } else {
        choice["text"] = " re " + said;
      }
      reply.set_content(json{{"choices", {choice}}}.dump(), "application/json");
    };
    server_.Post("/v1/completions", answer);
    server_.Post("/v1/chat/completions", answer);
    port_ = server_.bind_to_any_port("127.0.0.1");
    thread_ = std::thread([this] { server_.listen_after_bind(); });
  }
  ~FlakyServer() {
    server_.stop();
    thread_.join();
  }
  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }

 private:
  httplib::Server server_;
  std::atomic<int> requests_{0};
  int port_ = 0;
  std::thread thread_;
};

TEST_F(DistillUrlTest, FailuresPassAndKeysAreAskedFor) {
  const FlakyServer server;
  const std::string out = dir_ / "data";
  unsetenv("OPENAI_API_KEY");
  const ProgramResult closed = RunProgram(Distill(out, server.url()));
  EXPECT_EQ(closed.status, 1);
  EXPECT_NE(closed.err.find("status 401: no such key; set OPENAI_API_KEY"), std::string::npos)
      << closed.err;
  setenv("OPENAI_API_KEY", "secret", 1);
  prompts_ = dir_.Write("two.jsonl", "{\"turns\": [\"cat\", \"dog\"]}\n{\"prompt\": \"bird\"}\n");
  const std::string two = dir_ / "two";
  const ProgramResult result = RunProgram(Distill(two, server.url()));
  unsetenv("OPENAI_API_KEY");
  ASSERT_EQ(result.status, 0) << result.err;
  const HiddenCache cache(two);
  EXPECT_EQ(cache.info().made_by["--url-model"], "parrot");
  const auto tokenizer = LoadTokenizer(model_);
  const auto text = [&](uint64_t s) {
    const auto tokens = cache.Sequence(s).tokens;
    return tokenizer->Decode({tokens.begin(), tokens.end()});
  };
  EXPECT_NE(text(0).find("catre cat\ndogre dog"), std::string::npos) << text(0);
  EXPECT_NE(text(1).find("bird re bird"), std::string::npos) << text(1);
  const HiddenSequence chat = cache.Sequence(0);
  const auto tokens = tokenizer->Encode("re cat");
  EXPECT_EQ(std::ranges::count(chat.assistant, 1),
            std::ssize(tokens) + std::ssize(tokenizer->Encode("re dog")) + 1)
      << "both answers and the last one's end";
  const ProgramResult nowhere = RunProgram(Distill(dir_ / "no", "ftp://x"));
  EXPECT_NE(nowhere.err.find("expected an address"), std::string::npos) << nowhere.err;
  EXPECT_FALSE(fs::exists(dir_ / "no"));
}

TEST(DistillReport, ADiskTooSmallIsRefusedWithFigures) {
  HiddenCacheInfo info;
  info.hidden_size = 2560;
  info.teacher_top_k = 10;
  EXPECT_EQ(HiddenCacheBytes(info, 10), 10u * (4 + 1 + 2 * 2560 + 10 * 8));
  TempDir dir;
  EXPECT_EQ(ErrorText([&] { RequireDistillDisk(dir / "a/b", info, 100); }), "");
  const std::string error =
      ErrorText([&] { RequireDistillDisk(dir / "a/b", info, uint64_t{1} << 45); });
  EXPECT_NE(error.find("35184372088832 tokens need "), std::string::npos) << error;
  EXPECT_NE(error.find("--no-hidden ("), std::string::npos) << error;
  EXPECT_EQ(BytesText(1'500'000), "1.50 MB");
  EXPECT_EQ(BytesText(25'600'000'000), "26 GB");
}

}  // namespace
}  // namespace tern::test
