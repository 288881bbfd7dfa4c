// response_format: answers of a model that knows no JSON are JSON all the same, and what the schema
// asks for, streamed or not, with and without speculation alike.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "server/json_slices.h"
#include "tests/support/json_schemas.h"
#include "tests/support/json_validator.h"
#include "tests/support/test_server.h"

namespace tern {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

TEST(JsonSlicesTest, KeepWhatWasSent) {
  const std::string text =
      R"( {"a": {"z":1, "b":[2,{"c":",:]}"}]} , "\u0062":[1, [2,3],"x" ], "a\"":null, "b" : true})";
  EXPECT_EQ(JsonMember(text, "a"), R"({"z":1, "b":[2,{"c":",:]}"}]})");
  EXPECT_EQ(JsonMember(JsonMember(text, "a"), "z"), "1");
  EXPECT_EQ(JsonMember(text, "b"), "true");
  EXPECT_EQ(JsonMember(text, "a\""), "null");
  EXPECT_EQ(JsonMember(text, "c"), "");
  EXPECT_EQ(JsonMember("[1]", "c"), "");
  EXPECT_EQ(JsonItems(R"([ {"a":[1,2]}, "," ,3 ])"),
            (std::vector<std::string_view>{R"({"a":[1,2]})", "\",\"", "3"}));
  EXPECT_TRUE(JsonItems(" [ ] ").empty());
  EXPECT_TRUE(JsonItems("{}").empty());
}

class StructuredOutputTest : public ::testing::Test {
 protected:
  // A body with a schema, whose properties stay in order.
  static std::string Body(json body, const std::string& schema) {
    std::string text = body.dump();
    text.pop_back();
    return text + R"(, "response_format": {"type": "json_schema", "json_schema": {"name": "x",)" +
           R"("strict": true, "schema": )" + schema + "}}}";
  }
  HttpAnswer Post(const std::string& path, const std::string& body) const {
    return HttpClient(server_.port()).Post(path, body);
  }
  json Choices(const std::string& path, const std::string& body) const {
    const HttpAnswer answer = Post(path, body);
    EXPECT_EQ(answer.status, 200) << answer.body;
    return json::parse(answer.body).at("choices");
  }

  TestServer server_;
};

TEST_F(StructuredOutputTest, AnswersAreWhatTheSchemaAsksFor) {
  int stopped = 0;
  for (const char* schema : kSchemas) {
    const JsonValidator validator(json::parse(schema));
    json body = {{"messages", Messages("the cat")},
                 {"n", 8},
                 {"seed", 3},
                 {"max_tokens", 150},
                 {"return_token_ids", true}};
    json expected;
    for (const char* mode : {"off", "ngram", "tree"}) {
      body["speculation"] = {{"mode", mode}};
      const json choices = Choices(kChat, Body(body, schema));
      ASSERT_EQ(choices.size(), 8u);
      if (expected.is_null()) expected = choices;
      EXPECT_EQ(choices, expected) << schema;
    }
    for (const json& choice : expected) {
      if (choice.at("finish_reason") != "stop") continue;
      ++stopped;
      const std::string content = choice.at("message").at("content");
      const json value = json::parse(content, nullptr, false);
      EXPECT_TRUE(!value.is_discarded() && validator.Valid(value)) << schema << content;
    }
  }
  EXPECT_GT(stopped, 36);
}

TEST_F(StructuredOutputTest, DraftsAreAcceptedUnderASchema) {
  // Objects that begin alike: what the look-up drafts is often right.
  const std::string schema = R"({"type": "array", "minItems": 8, "maxItems": 8, "items":
      {"type": "object", "properties": {"animal": {"enum": ["cat", "dog"]},
       "legs": {"type": "integer", "minimum": 0, "maximum": 8}}, "required": ["animal", "legs"]}})";
  json body = {{"prompt", "x"},
               {"temperature", 0.3},
               {"seed", 2},
               {"max_tokens", 450},
               {"return_token_ids", true}};
  json expected;
  for (const char* mode : {"off", "ngram", "chain", "tree"}) {
    body["speculation"] = {{"mode", mode}};
    const json answer = json::parse(Post(kCompletions, Body(body, schema)).body);
    const json& choice = answer.at("choices").at(0);
    if (expected.is_null()) expected = choice;
    EXPECT_EQ(choice.at("token_ids"), expected.at("token_ids")) << mode;
    EXPECT_EQ(choice.at("finish_reason"), "stop") << mode;
    const int accepted = answer.at("timings").at("accepted");
    if (mode == std::string("off"))
      EXPECT_EQ(accepted, 0);
    else
      EXPECT_GT(accepted, 50) << mode;
  }
}

TEST_F(StructuredOutputTest, AStreamAddsUpToTheSame) {
  json body = {{"prompt", "x"}, {"seed", 1}, {"max_tokens", 100}};
  const std::string text = Choices(kCompletions, Body(body, kSchemas[0])).at(0).at("text");
  body["stream"] = true;
  std::string streamed;
  for (const std::string& data : SseData(Post(kCompletions, Body(body, kSchemas[0])).body)) {
    if (data != "[DONE]")
      streamed += json::parse(data).at("choices").at(0).at("text").get<std::string>();
  }
  EXPECT_EQ(streamed, text);
  EXPECT_FALSE(text.empty());
}

TEST_F(StructuredOutputTest, PropertiesComeInTheSchemasOrder) {
  const std::string schema = R"({"type": "object", "additionalProperties": false, "properties":
      {"z": {"const": 1}, "a": {"const": 2}, "m": {"const": 3}}, "required": ["a", "m", "z"]})";
  const std::string text =
      Choices(kCompletions, Body({{"prompt", "x"}, {"max_tokens", 400}}, schema)).at(0).at("text");
  EXPECT_EQ(ordered_json::parse(text).dump(), R"({"z":1,"a":2,"m":3})");
}

TEST_F(StructuredOutputTest, AnyObject) {
  int stopped = 0;
  const json body = {{"messages", Messages("x")},
                     {"n", 20},
                     {"seed", 5},
                     {"max_tokens", 200},
                     {"response_format", {{"type", "json_object"}}}};
  for (const json& choice : Choices(kChat, body.dump())) {
    if (choice.at("finish_reason") != "stop") continue;
    ++stopped;
    const std::string content = choice.at("message").at("content");
    EXPECT_TRUE(json::parse(content, nullptr, false).is_object()) << content;
  }
  EXPECT_GT(stopped, 2);
}

// The end comes with the last byte that the grammar allows, with its log-probability.
TEST_F(StructuredOutputTest, LogprobsOfAForcedText) {
  const json choice =
      Choices(kChat, Body({{"messages", Messages("x")}, {"logprobs", true}}, R"({"const": [1]})"))
          .at(0);
  EXPECT_EQ(choice.at("message").at("content"), "[1]");
  EXPECT_EQ(choice.at("finish_reason"), "stop");
  EXPECT_EQ(choice.at("logprobs").at("content").size(), 3u);
}

TEST_F(StructuredOutputTest, WhatCannotBeFollowedIsNamed) {
  const std::string at = "response_format.json_schema.schema";
  const std::vector<std::tuple<std::string, std::string, std::string>> cases = {
      {R"({"type": "regex"})", "response_format.type", "regex"},
      {R"({})", "response_format.type", "is missing"},
      {R"({"type": "json_schema"})", "response_format.json_schema", "is missing"},
      {R"({"type": "json_schema", "json_schema": 5})", "response_format.json_schema", "object"},
      {R"({"type": "json_schema", "json_schema": {"name": "x"}})", at, "is missing"},
      {R"({"type": "json_schema", "json_schema": {"name": 1, "schema": {}}})",
       "response_format.json_schema.name", "string"},
      {R"({"type": "json_schema", "json_schema": {"schema": {"type": "string", "pattern": "(a)\\1"}}})",
       at, "\\1, which is not supported"},
      {R"({"type": "json_schema", "json_schema": {"schema": [1]}})", at, "object or true"},
  };
  for (const auto& [format, param, words] : cases) {
    const HttpAnswer answer =
        Post(kCompletions, R"({"prompt": "x", "response_format": )" + format + "}");
    EXPECT_EQ(answer.status, 400) << format;
    const json error = json::parse(answer.body).at("error");
    EXPECT_EQ(error.at("param"), param) << answer.body;
    EXPECT_NE(error.at("message").get<std::string>().find(words), std::string::npos) << answer.body;
  }
  const HttpAnswer answer = Post(kCompletions, Body({{"prompt", "x"}, {"ignore_eos", true}}, "{}"));
  EXPECT_EQ(json::parse(answer.body).at("error").at("param"), "ignore_eos");
}

}  // namespace
}  // namespace tern
