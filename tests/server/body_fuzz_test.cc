// Bodies made wrong at random, from fixed seeds: whatever they are, the answer is a 200 or a 4xx in
// the shape of the API.
#include <gtest/gtest.h>

#include <array>
#include <random>
#include <string>
#include <vector>

#include "server/token_endpoints.h"
#include "tests/support/test_server.h"

namespace tern {
namespace {

using nlohmann::json;

constexpr std::array<const char*, 5> kPaths = {kCompletions, kChat, "/tokenize", "/detokenize",
                                               "/apply-template"};

// Every field that is read somewhere, so that a mutation meets its checks.
json Whole() {
  return {{"model", "tiny"},
          {"prompt", {"ab", "c"}},
          {"messages", {{{"role", "user"}, {"content", {{{"type", "text"}, {"text", "ab"}}}}}}},
          {"content", "ab"},
          {"tokens", {1, 100}},
          {"max_tokens", 2},
          {"temperature", 0.5},
          {"top_p", 0.9},
          {"top_k", 5},
          {"min_p", 0.1},
          {"repetition_penalty", 1.1},
          {"frequency_penalty", 0.1},
          {"presence_penalty", 0.1},
          {"logit_bias", {{"70", 1}}},
          {"seed", 1},
          {"stop", {"x", "yz"}},
          {"n", 1},
          {"logprobs", 1},
          {"echo", true},
          {"stream", false},
          {"ignore_eos", true},
          {"speculation", {{"mode", "ngram"}, {"max_rows", 4}}},
          {"response_format", {{"type", "text"}}},
          {"add_special", true},
          {"with_pieces", true}};
}

class Mutator {
 public:
  explicit Mutator(uint32_t seed) : random_(seed) {}

  std::string Body() {
    json body = Whole();
    // Some fields exclude each other or belong to another endpoint: most requests lack them.
    for (const char* field : {"content", "prompt", "messages", "logprobs", "echo"})
      if (Below(2) == 0) body.erase(field);
    for (int i = Below(3); i > 0; --i) Change(body);
    std::string text = body.dump(-1, ' ', false, json::error_handler_t::replace);
    if (Below(4) == 0) Damage(text);
    return text;
  }

 private:
  int Below(int limit) { return static_cast<int>(random_() % static_cast<uint32_t>(limit)); }

  json Odd() {
    static const std::vector<json> kOdd = {nullptr,
                                           true,
                                           -1,
                                           0,
                                           1e300,
                                           -1e-300,
                                           3.5,
                                           9223372036854775807,
                                           18446744073709551615u,
                                           "",
                                           "x",
                                           "\xff\xfe",
                                           json::array(),
                                           json::object(),
                                           {1, "a", {}},
                                           {{"a", {{"b", 1}}}},
                                           {-5},
                                           std::string(700, 'y'),
                                           {"", ""},
                                           {{}, {}},
                                           2147483648,
                                           "\u0000",
                                           {259},
                                           {{1, 2}, {3}}};
    return kOdd[static_cast<size_t>(Below(static_cast<int>(kOdd.size())))];
  }

  // One value of the body, at any depth, becomes another.
  void Change(json& value) {
    if (!value.is_structured() || value.empty() || Below(4) == 0) {
      value = Odd();
      return;
    }
    auto at = value.begin();
    std::advance(at, Below(static_cast<int>(value.size())));
    Below(8) == 0 ? static_cast<void>(value.erase(at)) : Change(*at);
  }

  void Damage(std::string& text) {
    for (int i = 1 + Below(4); i > 0 && !text.empty(); --i) {
      const auto at = static_cast<size_t>(Below(static_cast<int>(text.size())));
      switch (Below(4)) {
        case 0:
          text[at] = static_cast<char>(Below(256));
          break;
        case 1:
          text.erase(at);
          break;
        case 2:
          text.insert(at, std::string(static_cast<size_t>(1 + Below(300)), "[{\"\\"[Below(4)]));
          break;
        default:
          text.insert(at, text.substr(0, 20));
      }
    }
  }

  std::mt19937 random_;
};

// Empty where the answer is as it should be.
std::string Problem(const HttpAnswer& answer) {
  if (answer.status == 200) {
    const std::string& type = answer.headers.at("content-type");
    if (type == "text/event-stream")
      return answer.body.ends_with("data: [DONE]\n\n") ? "" : "a stream without end";
    return json::accept(answer.body) ? "" : "no JSON";
  }
  if (answer.status < 400 || answer.status >= 500) return "status";
  const json body = json::parse(answer.body, nullptr, false);
  if (!body.is_object() || !body.contains("error")) return "no error";
  const json& error = body["error"];
  const auto text_or_null = [&](const char* key) {
    return error.contains(key) && (error[key].is_string() || error[key].is_null());
  };
  const bool shaped = error.size() == 4 && error.contains("message") &&
                      error["message"].is_string() && error.value("type", json()).is_string() &&
                      text_or_null("param") && text_or_null("code");
  return shaped ? "" : "the error's shape";
}

// About half are understood; the client's time limit turns a hang into a failure.
TEST(BodyFuzzTest, EveryAnswerIsOneOfTheApi) {
  const TestServer server(16, TestServer::StoryTemplate(), 4);
  HttpClient client(server.port());
  int understood = 0;
  for (uint32_t seed = 0; seed < 2000; ++seed) {
    Mutator mutator(seed);
    const std::string body = mutator.Body();
    const char* path = kPaths[seed % kPaths.size()];
    const HttpAnswer answer = client.Ask("POST", path, body);
    ASSERT_EQ(Problem(answer), "") << path << " seed " << seed << "\n"
                                   << body << "\n"
                                   << answer.status << " " << answer.body;
    understood += answer.status == 200 ? 1 : 0;
  }
  EXPECT_GT(understood, 200);
  EXPECT_EQ(client.Get("/health").status, 200);
}

}  // namespace
}  // namespace tern
