// `echo`: prompts repeated and scored, as evaluation harnesses ask for.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/support/test_server.h"

namespace tern {
namespace {

using nlohmann::json;

class EchoTest : public ::testing::Test {
 protected:
  json Choice(json body) const { return server_.Ask(kCompletions, body).at("choices").at(0); }

  TestServer server_;
};

// A text's tokens have the same log-probabilities, bit for bit, as answer and as prompt; the
// prompt's come in several batches.
TEST_F(EchoTest, ScoringIsAsGenerating) {
  const json written = Choice({{"prompt", "once upon"},
                               {"max_tokens", 50},
                               {"seed", 4},
                               {"temperature", 1.5},
                               {"ignore_eos", true},
                               {"logprobs", 3},
                               {"return_token_ids", true}});
  std::vector<int> ids = {1};
  for (const char c : std::string("once upon")) ids.push_back(3 + c);
  const size_t prompt = ids.size();
  for (const int id : written.at("token_ids")) ids.push_back(id);
  const json scored = Choice({{"prompt", ids}, {"max_tokens", 0}, {"echo", true}, {"logprobs", 3}});
  const json& logprobs = scored.at("logprobs");
  ASSERT_EQ(logprobs.at("tokens").size(), ids.size());
  for (const char* key : {"tokens", "token_logprobs", "top_logprobs"}) {
    const json& all = logprobs.at(key);
    ASSERT_EQ(all.size(), ids.size());
    const json tail(std::vector<json>(all.begin() + static_cast<ptrdiff_t>(prompt), all.end()));
    EXPECT_EQ(tail, written.at("logprobs").at(key)) << key;
  }
  EXPECT_TRUE(logprobs["token_logprobs"][0].is_null());
  EXPECT_TRUE(logprobs["top_logprobs"][0].is_null());
  EXPECT_EQ(scored.at("finish_reason"), "length");
}

// lm-evaluation-harness asks for one token and takes [context, -1) of the lists.
TEST_F(EchoTest, AsEvaluationHarnessesAsk) {
  const json prompts = {{1, 100, 101, 102}, {1, 110, 111}};
  const json answer = server_.Ask(kCompletions, {{"model", "tiny"},
                                                 {"prompt", prompts},
                                                 {"temperature", 0},
                                                 {"max_tokens", 1},
                                                 {"logprobs", 1},
                                                 {"seed", 1234},
                                                 {"logit_bias", {{"2", 100}}},
                                                 {"echo", true}});
  for (size_t i = 0; i < 2; ++i) {
    const json& choice = answer.at("choices").at(i);
    const json& logprobs = choice.at("logprobs");
    // Also where, as the bias forces here, the token ends the text.
    EXPECT_EQ(choice.at("finish_reason"), "stop");
    for (const char* key : {"tokens", "token_logprobs", "top_logprobs", "text_offset"})
      EXPECT_EQ(logprobs.at(key).size(), prompts[i].size() + 1) << key;
    for (size_t at = 1; at < prompts[i].size(); ++at) {
      EXPECT_LT(logprobs["token_logprobs"][at], 0.0);
      EXPECT_EQ(logprobs["top_logprobs"][at].size(), 1u);
    }
  }
  EXPECT_EQ(answer.at("choices")[0].at("text"), "abc");
  EXPECT_EQ(answer["choices"][0].at("logprobs").at("text_offset"), json({0, 0, 1, 2, 3}));
  EXPECT_EQ(answer.at("usage").at("prompt_tokens"), 7);
}

TEST_F(EchoTest, TextStandsBeforeTheAnswer) {
  const json body = {{"prompt", "once"}, {"max_tokens", 6}, {"seed", 2}};
  json echoed = body;
  echoed["echo"] = true;
  const std::string text = Choice(body).at("text");
  const json choice = Choice(echoed);
  EXPECT_EQ(choice.at("text"), "once" + text);
  EXPECT_TRUE(choice.at("logprobs").is_null());
  echoed["max_tokens"] = 0;
  const json answer = server_.Ask(kCompletions, echoed);
  EXPECT_EQ(answer.at("choices").at(0).at("text"), "once");
  EXPECT_EQ(answer.at("usage").at("completion_tokens"), 0);
}

// Chunks add up to the whole answer.
TEST_F(EchoTest, Streams) {
  for (const bool scored : {false, true}) {
    json body = {{"prompt", {"once", "ab"}}, {"max_tokens", 9}, {"seed", 2}, {"echo", true}};
    body["n"] = 2;
    if (scored) body["logprobs"] = 2;
    const json whole = server_.Ask(kCompletions, body).at("choices");
    body["stream"] = true;
    std::vector<std::string> texts(4);
    std::vector<json> offsets(4, json::array());
    for (const std::string& data : SseData(server_.Post(kCompletions, body).body)) {
      if (data == "[DONE]") continue;
      const json chunk = json::parse(data);
      for (const json& choice : chunk.at("choices")) {
        const size_t index = choice.at("index");
        texts[index] += choice.at("text").get<std::string>();
        if (choice.at("logprobs").is_null()) continue;
        for (const json& at : choice["logprobs"].at("text_offset")) offsets[index].push_back(at);
      }
    }
    for (size_t i = 0; i < 4; ++i) {
      EXPECT_EQ(texts[i], whole[i].at("text"));
      if (scored) {
        EXPECT_EQ(offsets[i], whole[i].at("logprobs").at("text_offset"));
      }
    }
  }
}

TEST_F(EchoTest, APromptOfOneToken) {
  const json choice =
      Choice({{"prompt", {100}}, {"max_tokens", 0}, {"echo", true}, {"logprobs", 0}});
  EXPECT_EQ(choice.at("logprobs").at("token_logprobs"), json({nullptr}));
  EXPECT_EQ(choice.at("text"), "a");
}

TEST_F(EchoTest, NothingToWriteNeedsAnEcho) {
  for (const json& body : {json{{"prompt", "x"}, {"max_tokens", 0}},
                           json{{"prompt", "x"}, {"max_tokens", 0}, {"echo", false}}}) {
    const HttpAnswer answer = server_.Post(kCompletions, body);
    EXPECT_EQ(answer.status, 400);
    EXPECT_EQ(json::parse(answer.body).at("error").at("param"), "max_tokens");
  }
  const HttpAnswer chat =
      server_.Post(kChat, {{"messages", Messages("x")}, {"echo", true}, {"max_tokens", 1}});
  EXPECT_EQ(json::parse(chat.body).at("error").at("param"), "echo");
}

}  // namespace
}  // namespace tern
