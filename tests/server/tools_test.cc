// Functions to call: forced calls of a model that knows none are calls all the same, and calls in a
// text are found.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "engine/atomic_file.h"
#include "engine/tool_calls.h"
#include "server/json_slices.h"
#include "tests/support/json_validator.h"
#include "tests/support/test_server.h"

namespace tern {
namespace {

using nlohmann::json;

TEST(ToolCallReaderTest, TakesTextsApart) {
  const std::string call =
      "<tool_call>\n{\"name\": \"now\", \"arguments\": {\"a\": 1.50}}\n</tool_call>";
  const auto read = [](const std::string& text, size_t step) {
    ToolCallReader reader(ToolCallForm::kMarked, {"now", "weather"});
    std::string shown;
    for (size_t at = 0; at < text.size(); at += step) shown += reader.Feed(text.substr(at, step));
    ToolCallReader::Rest rest = reader.Finish();
    rest.text = shown + rest.text;
    return rest;
  };
  for (const size_t step : {1, 3, 1000}) {
    EXPECT_EQ(read("a < b <tool", step).text, "a < b <tool");
    const auto one = read("Wait.\n" + call, step);
    EXPECT_EQ(one.text, "Wait.\n");
    ASSERT_EQ(one.calls.size(), 1u);
    EXPECT_EQ(one.calls[0].name, "now");
    EXPECT_EQ(one.calls[0].arguments, "{\"a\": 1.50}");
    EXPECT_EQ(read(call + "\n" + call, step).calls.size(), 2u);
    const auto loose =
        read("<tool_call>{\"arguments\":{\"x\":[1]},\"name\":\"weather\"} </tool_call>", step);
    ASSERT_EQ(loose.calls.size(), 1u);
    EXPECT_EQ(loose.calls[0].arguments, "{\"x\":[1]}");
    for (const std::string& none :
         {std::string("<tool_call>\n{\"name\": \"other\", \"arguments\": {}}\n</tool_call>"),
          std::string("<tool_call>{\"name\": 5}</tool_call>"), call.substr(0, 40),
          std::string("<tool_call></tool_call>"), std::string("<tool_call>[[</tool_call> x")}) {
      EXPECT_EQ(read(none, step).text, none);
      EXPECT_TRUE(read(none, step).calls.empty());
    }
  }
}

TEST(ToolCallReaderTest, AWholeTextMayBeACall) {
  const auto read = [](const std::string& text, size_t step) {
    ToolCallReader reader(ToolCallForm::kWhole, {"now"});
    std::string shown;
    for (size_t at = 0; at < text.size(); at += step) shown += reader.Feed(text.substr(at, step));
    ToolCallReader::Rest rest = reader.Finish();
    rest.text = shown + rest.text;
    return rest;
  };
  for (const size_t step : {1, 5, 1000}) {
    for (const char* call : {R"({"name": "now", "parameters": {"a": 1.50}})",
                             R"(
 {"parameters":{"a": 1.50},"name":"now"} )"}) {
      const auto one = read(call, step);
      ASSERT_EQ(one.calls.size(), 1u) << call;
      EXPECT_EQ(one.calls[0].name, "now");
      EXPECT_EQ(json::parse(one.calls[0].arguments), (json{{"a", 1.5}}));
      EXPECT_EQ(one.text, "");
    }
    for (const char* none : {"It is noon.", R"({"name": "other", "parameters": {}})", "{}", "{", "",
                             R"(Well: {"name": "now", "parameters": {}})",
                             R"({"name": "now", "parameters": {}} then)"}) {
      EXPECT_EQ(read(none, step).text, none);
      EXPECT_TRUE(read(none, step).calls.empty()) << none;
    }
  }
}

TEST(PythonJsonTest, WritesAsPythonDoes) {
  EXPECT_EQ(PythonJson("{ \"b\":1,\n\"a\" : [ \"\\u00fc\\/\\\"\\n, :\",null ,1.0] }"),
            "{\"b\": 1, \"a\": [\"\xc3\xbc/\\\"\\n, :\", null, 1.0]}");
}

class ToolsTest : public ::testing::Test {
 protected:
  static ChatTemplate Template(size_t index = 1) {
    const json cases = json::parse(ReadFile(TERN_SOURCE_DIR "/tests/golden/tool_cases.json"));
    return {cases["templates"][index]["source"], "", "<|im_end|>"};
  }
  static json Tools() {
    return json::parse(R"([{"type": "function", "function": {"name": "add", "parameters": {
        "type": "object", "properties": {"x": {"type": "integer"}, "y": {"type": "integer"}},
        "required": ["x", "y"], "additionalProperties": false}}},
        {"type": "function", "function": {"name": "say", "parameters": {"type": "object",
        "properties": {"word": {"enum": ["yes", "no"]}}, "required": ["word"]}}}])");
  }
  json Ask(json body) {
    body["messages"] = Messages("hi");
    body["tools"] = Tools();
    return server_.Ask(kChat, body);
  }

  TestServer server_{16, Template(), 1, 2048};
};

TEST_F(ToolsTest, ForcedCallsAreCalls) {
  int called = 0;
  const json answer = Ask({{"tool_choice", "required"},
                           {"n", 16},
                           {"seed", 1},
                           {"max_tokens", 180},
                           {"parallel_tool_calls", false}});
  for (const json& choice : answer.at("choices")) {
    if (choice.at("finish_reason") != "tool_calls") continue;
    ++called;
    EXPECT_TRUE(choice.at("message").at("content").is_null());
    const json& calls = choice.at("message").at("tool_calls");
    ASSERT_EQ(calls.size(), 1u);
    EXPECT_EQ(calls[0].at("type"), "function");
    EXPECT_FALSE(calls[0].at("id").get<std::string>().empty());
    const json& function = calls[0].at("function");
    const json arguments = json::parse(function.at("arguments").get<std::string>());
    const bool add = function.at("name") == "add";
    EXPECT_TRUE(JsonValidator(Tools()[add ? 0 : 1]["function"]["parameters"]).Valid(arguments))
        << function;
  }
  EXPECT_GT(called, 8);
}

TEST_F(ToolsTest, ANamedFunctionIsTheOneCalledStreamedOrNot) {
  json body = {{"tool_choice", {{"type", "function"}, {"function", {{"name", "say"}}}}},
               {"seed", 4},
               {"max_tokens", 180}};
  const json whole = Ask(body).at("choices").at(0);
  ASSERT_EQ(whole.at("finish_reason"), "tool_calls") << whole;
  const json& function = whole.at("message").at("tool_calls").at(0).at("function");
  EXPECT_EQ(function.at("name"), "say");

  body["stream"] = true;
  body["messages"] = Messages("hi");
  body["tools"] = Tools();
  std::string reason;
  json call;
  for (const std::string& data : SseData(server_.Post(kChat, body).body)) {
    if (data == "[DONE]") continue;
    const json choice = json::parse(data).at("choices").at(0);
    EXPECT_EQ(choice.at("delta").value("content", ""), "");
    if (choice.at("delta").contains("tool_calls")) call = choice["delta"]["tool_calls"].at(0);
    if (!choice.at("finish_reason").is_null()) reason = choice["finish_reason"];
  }
  EXPECT_EQ(reason, "tool_calls");
  EXPECT_EQ(call.at("index"), 0);
  EXPECT_EQ(call.at("function"), function);
}

// Llama 3.1's form: one call and nothing around it.
TEST_F(ToolsTest, ForcedCallsOfLlamaAreCalls) {
  TestServer server(16, Template(2), 1, 4096);
  const json body = {{"messages", Messages("hi")},
                     {"tools", Tools()},
                     {"tool_choice", "required"},
                     {"n", 8},
                     {"seed", 1},
                     {"max_tokens", 180}};
  int called = 0;
  const json answer = server.Ask(kChat, body);
  for (const json& choice : answer.at("choices")) {
    if (choice.at("finish_reason") != "tool_calls") continue;
    ++called;
    const json& calls = choice.at("message").at("tool_calls");
    ASSERT_EQ(calls.size(), 1u);
    const json& function = calls[0].at("function");
    const json arguments = json::parse(function.at("arguments").get<std::string>());
    const bool add = function.at("name") == "add";
    EXPECT_TRUE(JsonValidator(Tools()[add ? 0 : 1]["function"]["parameters"]).Valid(arguments));
  }
  EXPECT_GT(called, 3) << answer;
}

TEST_F(ToolsTest, AutoAndNoneLeaveTextAlone) {
  const json text = Ask({{"seed", 4}, {"max_tokens", 20}}).at("choices").at(0);
  EXPECT_FALSE(text.at("message").contains("tool_calls"));
  EXPECT_TRUE(text["message"].at("content").is_string());
  // Functions that may not be called are not in the prompt.
  const auto prompt = [&](const char* choice) {
    return Ask({{"tool_choice", choice}, {"max_tokens", 1}})
        .at("usage")
        .at("prompt_tokens")
        .get<int>();
  };
  EXPECT_GT(prompt("auto"), prompt("none") + 100);
}

TEST_F(ToolsTest, WhatCannotBeDoneIsNamed) {
  const auto param = [&](const json& body) { return Ask(body).at("error").at("param"); };
  EXPECT_EQ(param({{"response_format", {{"type", "json_object"}}}}), "response_format");
  EXPECT_EQ(param({{"tool_choice", "required"}, {"ignore_eos", true}}), "ignore_eos");
  json body = {{"messages", Messages("x")}, {"tool_choice", "required"}, {"tools", Tools()}};
  body["tools"][0]["function"]["parameters"]["properties"]["x"]["multipleOf"] = 2;
  const json error = server_.Ask(kChat, body).at("error");
  EXPECT_EQ(error.at("param"), "tools");
  EXPECT_NE(
      error.at("message").get<std::string>().find("add: schema at #/properties/x: the keyword"),
      std::string::npos)
      << error;
  const TestServer plain;
  body = {{"messages", Messages("x")}, {"tools", Tools()}};
  EXPECT_EQ(plain.Ask(kChat, body).at("error").at("param"), "tools");
  EXPECT_EQ(plain.Ask(kCompletions, {{"prompt", "x"}, {"tools", Tools()}}).at("error").at("param"),
            "tools");
}

}  // namespace
}  // namespace tern
