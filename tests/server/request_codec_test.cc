// Bodies to requests: what each field becomes, and that whatever is wrong is a 400 with its name.
#include "server/request_codec.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <utility>
#include <vector>

namespace tern {
namespace {

ApiRequest Completion(const std::string& fields) {
  return ParseRequest(Dialect::kCompletion, R"({"prompt": "a")" + fields + "}");
}
ApiRequest Chat(const std::string& fields) {
  return ParseRequest(Dialect::kChat,
                      R"({"messages": [{"role": "user", "content": "a"}])" + fields + "}");
}

struct Refusal {
  int status = 0;
  std::string param, code, message;
};
Refusal RefusalOf(Dialect dialect, const std::string& body) {
  try {
    ParseRequest(dialect, body);
  } catch (const RequestError& error) {
    return {error.status, error.param, error.code, error.what()};
  }
  return {};
}

TEST(RequestCodecTest, DefaultsAreThoseOfTheApi) {
  const ApiRequest completion = Completion("");
  EXPECT_EQ(std::get<std::string>(completion.prompts.at(0)), "a");
  EXPECT_EQ(completion.generation.max_tokens, 16);
  EXPECT_EQ(completion.generation.sampling.temperature, 1.0f);
  EXPECT_EQ(completion.generation.logprobs, -1);
  EXPECT_EQ(completion.generation.draft, DraftMode::kAuto);
  EXPECT_EQ(completion.n, 1);
  EXPECT_FALSE(completion.stream || completion.include_usage || completion.has_seed);
  EXPECT_EQ(Chat("").generation.max_tokens, std::numeric_limits<int32_t>::max());
  EXPECT_EQ(Chat("").messages.at(0).content, "a");
}

TEST(RequestCodecTest, EveryOptionArrives) {
  const ApiRequest request = Completion(
      R"(, "model": "m", "max_tokens": 7, "temperature": 0.5, "top_p": 0.9, "top_k": 40,
          "min_p": 0.05, "repetition_penalty": 1.1, "frequency_penalty": -1, "presence_penalty": 2,
          "logit_bias": {"5": -100, "70": 2.5}, "seed": -3, "stop": ["x", "yz"], "logprobs": 4,
          "n": 3, "best_of": 3, "stream": true, "stream_options": {"include_usage": true},
          "ignore_eos": true, "return_token_ids": true,
          "speculation": {"mode": "chain", "max_rows": 4}, "user": "someone", "metadata": {})");
  const GenerationOptions& generation = request.generation;
  const SamplingOptions& sampling = generation.sampling;
  EXPECT_EQ(request.model, "m");
  EXPECT_EQ(generation.max_tokens, 7);
  EXPECT_EQ(sampling.temperature, 0.5f);
  EXPECT_EQ(sampling.top_p, 0.9f);
  EXPECT_EQ(sampling.top_k, 40);
  EXPECT_EQ(sampling.min_p, 0.05f);
  EXPECT_EQ(sampling.repetition_penalty, 1.1f);
  EXPECT_EQ(sampling.frequency_penalty, -1.0f);
  EXPECT_EQ(sampling.presence_penalty, 2.0f);
  EXPECT_EQ(sampling.logit_bias, (std::map<TokenId, float>{{5, -100.0f}, {70, 2.5f}}));
  EXPECT_EQ(sampling.seed, static_cast<uint64_t>(-3));
  EXPECT_EQ(generation.stops, (std::vector<std::string>{"x", "yz"}));
  EXPECT_EQ(generation.logprobs, 4);
  EXPECT_EQ(generation.draft, DraftMode::kChain);
  EXPECT_EQ(generation.max_rows, 4);
  EXPECT_TRUE(generation.ignore_eos);
  EXPECT_EQ(request.n, 3);
  EXPECT_TRUE(request.has_seed && request.stream && request.include_usage);
  EXPECT_TRUE(request.return_token_ids);
}

TEST(RequestCodecTest, PromptsOfEveryForm) {
  const auto prompts = [](const std::string& prompt) {
    return ParseRequest(Dialect::kCompletion, R"({"prompt": )" + prompt + "}").prompts;
  };
  using Ids = std::vector<TokenId>;
  EXPECT_EQ(prompts(R"("ab")"), (std::vector<PromptInput>{"ab"}));
  EXPECT_EQ(prompts(R"(["ab", ""])"), (std::vector<PromptInput>{"ab", ""}));
  EXPECT_EQ(prompts("[1, 2]"), (std::vector<PromptInput>{Ids{1, 2}}));
  EXPECT_EQ(prompts("[[1, 2], [3]]"), (std::vector<PromptInput>{Ids{1, 2}, Ids{3}}));
}

TEST(RequestCodecTest, ChatOptionsAndContents) {
  const ApiRequest request = ParseRequest(Dialect::kChat, R"({"messages": [
      {"role": "developer", "content": "be kind"},
      {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
      {"role": "assistant", "content": "c", "tool_calls": []}],
      "max_completion_tokens": 9, "max_tokens": 9, "logprobs": true, "top_logprobs": 2,
      "stop": "s", "tools": [], "tool_choice": "auto", "response_format": {"type": "text"}})");
  ASSERT_EQ(request.messages.size(), 3u);
  EXPECT_EQ(request.messages[0].role, "system");
  EXPECT_EQ(request.messages[1].content, "ab");
  EXPECT_EQ(request.generation.max_tokens, 9);
  EXPECT_EQ(request.generation.logprobs, 2);
  EXPECT_EQ(request.generation.stops, std::vector<std::string>{"s"});
  EXPECT_EQ(Chat(R"(, "logprobs": true)").generation.logprobs, 0);
}

TEST(RequestCodecTest, NullIsAsIfLeftOut) {
  const ApiRequest request = Completion(
      R"(, "max_tokens": null, "stop": null, "logit_bias": null, "stream_options": null,
          "echo": null, "n": null, "seed": null, "speculation": null, "tools": null)");
  EXPECT_EQ(request.generation.max_tokens, 16);
  EXPECT_FALSE(request.has_seed);
}

TEST(RequestCodecTest, WrongFieldsOfBothDialectsAreNamed) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"model", R"("model": 5)"},
      {"max_tokens", R"("max_tokens": 0)"},
      {"max_tokens", R"("max_tokens": "ten")"},
      {"max_tokens", R"("max_tokens": 1.5)"},
      {"max_tokens", R"("max_tokens": 99999999999999999999)"},
      {"max_completion_tokens", R"("max_completion_tokens": 4, "max_tokens": 5)"},
      {"temperature", R"("temperature": "hot")"},
      {"temperature", R"("temperature": -0.1)"},
      {"temperature", R"("temperature": 1e300)"},
      {"top_p", R"("top_p": 1.1)"},
      {"top_k", R"("top_k": -2)"},
      {"min_p", R"("min_p": true)"},
      {"repetition_penalty", R"("repetition_penalty": 0)"},
      {"frequency_penalty", R"("frequency_penalty": 2.1)"},
      {"presence_penalty", R"("presence_penalty": [])"},
      {"logit_bias", R"("logit_bias": [])"},
      {"logit_bias", R"("logit_bias": {"cat": 1})"},
      {"logit_bias", R"("logit_bias": {"-1": 1})"},
      {"logit_bias", R"("logit_bias": {"1": 101})"},
      {"logit_bias.1", R"("logit_bias": {"1": "high"})"},
      {"seed", R"("seed": "lucky")"},
      {"stop", R"("stop": 5)"},
      {"stop", R"("stop": [5])"},
      {"stop", R"("stop": "")"},
      {"n", R"("n": 0)"},
      {"n", R"("n": 129)"},
      {"best_of", R"("best_of": 2)"},
      {"stream", R"("stream": "yes")"},
      {"stream_options", R"("stream_options": {"include_usage": true})"},
      {"stream_options", R"("stream": true, "stream_options": 1)"},
      {"stream_options.include_usage", R"("stream": true, "stream_options": {"include_usage": 1})"},
      {"speculation", R"("speculation": "on")"},
      {"speculation.mode", R"("speculation": {"mode": "fast"})"},
      {"speculation.max_rows", R"("speculation": {"max_rows": 65})"},
      {"speculation.rows", R"("speculation": {"rows": 2})"},
      {"ignore_eos", R"("ignore_eos": 1)"},
      {"response_format", R"("response_format": "json")"},
      {"response_format.type", R"("response_format": {"type": "grammar"})"},
      {"tools[0].function", R"("tools": [{}])"},
      {"tools[0].function.name", R"("tools": [{"function": {"name": "a b"}}])"},
      {"tools[1].function.name",
       R"("tools": [{"function": {"name": "a"}}, {"function": {"name": "a"}}])"},
      {"tools[0].type", R"("tools": [{"type": "web_search"}])"},
      {"tool_choice",
       R"("tools": [{"function": {"name": "a"}}], "tool_choice": {"function": {"name": "b"}})"},
      {"tool_choice", R"("tools": [{"function": {"name": "a"}}], "tool_choice": "maybe")"},
      {"tool_choice", R"("tool_choice": "required")"},
      {"modalities", R"("modalities": ["audio"])"},
      {"suffix", R"("suffix": "end")"},
      {"guided_json", R"("guided_json": {"a": 1})"},
  };
  for (const auto& [param, field] : cases) {
    for (const Dialect dialect : {Dialect::kCompletion, Dialect::kChat}) {
      const std::string start = dialect == Dialect::kChat
                                    ? R"({"messages": [{"role": "user", "content": "a"}], )"
                                    : R"({"prompt": "a", )";
      const Refusal refusal = RefusalOf(dialect, start + field + "}");
      EXPECT_EQ(refusal.status, 400) << field;
      EXPECT_EQ(refusal.param, param) << field;
      EXPECT_FALSE(refusal.code.empty()) << field;
      const std::string name = param.substr(0, param.find('.'));
      EXPECT_NE(refusal.message.find(name == "n" ? "n is" : name), std::string::npos)
          << refusal.message;
    }
  }
}

TEST(RequestCodecTest, WrongPromptsAndMessagesAreNamed) {
  const std::vector<std::pair<std::string, std::string>> prompts = {
      {"prompt", "{}"},
      {"prompt", R"({"prompt": null})"},
      {"prompt", R"({"prompt": 5})"},
      {"prompt", R"({"prompt": []})"},
      {"prompt[1]", R"({"prompt": [1, "a"]})"},
      {"prompt[1]", R"({"prompt": ["a", 1]})"},
      {"prompt[1]", R"({"prompt": [[1], 2]})"},
      {"prompt[1]", R"({"prompt": [[1], []]})"},
      {"prompt[0][1]", R"({"prompt": [[1, -2]]})"},
      {"prompt[0]", R"({"prompt": [1.5]})"},
      {"prompt[0]", R"({"prompt": [{}]})"},
      {"prompt[0]", R"({"prompt": [99999999999]})"},
      {"n", R"({"prompt": ["a", "b"], "n": 65})"},
      {"logprobs", R"({"prompt": "a", "logprobs": 21})"},
      {"logprobs", R"({"prompt": "a", "logprobs": true})"}};
  for (const auto& [param, body] : prompts)
    EXPECT_EQ(RefusalOf(Dialect::kCompletion, body).param, param) << body;
  const std::vector<std::pair<std::string, std::string>> messages = {
      {"messages", "null"},
      {"messages", "[]"},
      {"messages", R"("hello")"},
      {"messages[0]", R"(["hello"])"},
      {"messages[0].role", R"([{"content": "a"}])"},
      {"messages[0].role", R"([{"role": "king", "content": "a"}])"},
      {"messages[0].role", R"([{"role": "function", "content": "a"}])"},
      {"messages[1].content", R"([{"role": "user", "content": "a"}, {"role": "user"}])"},
      {"messages[0].content", R"([{"role": "user", "content": 5}])"},
      {"messages[0].content[0]", R"([{"role": "user", "content": ["a"]}])"},
      {"messages[0].content[0].type",
       R"([{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}])"},
      {"messages[0].content[0].text", R"([{"role": "user", "content": [{"type": "text"}]}])"},
      {"messages[0].tool_calls[0].function",
       R"([{"role": "assistant", "content": "a", "tool_calls": [{}]}])"}};
  for (const auto& [param, value] : messages) {
    const Refusal refusal = RefusalOf(Dialect::kChat, R"({"messages": )" + value + "}");
    EXPECT_EQ(refusal.status, 400) << value;
    EXPECT_EQ(refusal.param, param) << value;
  }
  const std::string chat = R"({"messages": [{"role": "user", "content": "a"}], )";
  EXPECT_EQ(RefusalOf(Dialect::kChat, chat + R"("logprobs": 5})").param, "logprobs");
  EXPECT_EQ(RefusalOf(Dialect::kChat, chat + R"("top_logprobs": 5})").param, "top_logprobs");
}

TEST(RequestCodecTest, BodiesThatAreNoJsonObject) {
  const std::string deep(100000, '[');
  for (const std::string& body :
       std::vector<std::string>{"", "{", "hello", "[]", "5", "null", "{\"prompt\": \"\xFF\"}",
                                R"({"prompt": "a", "temperature": 1e999})", deep}) {
    const Refusal refusal = RefusalOf(Dialect::kCompletion, body);
    EXPECT_EQ(refusal.status, 400) << body.substr(0, 50);
    EXPECT_EQ(refusal.code, "invalid_json") << body.substr(0, 50);
    EXPECT_NE(refusal.message.find("the body is not"), std::string::npos) << refusal.message;
  }
}

}  // namespace
}  // namespace tern
