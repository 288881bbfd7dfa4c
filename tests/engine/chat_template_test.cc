// Chat templates: found in a model's files, recognised, rendered, or refused with a reason.
#include "engine/chat_template.h"

#include <gtest/gtest.h>

#include <ctime>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/atomic_file.h"
#include "engine/error.h"
#include "tests/support/byte_tokenizer.h"
#include "tests/support/error_text.h"
#include "tests/support/shared_vectors.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"

namespace tern {
namespace {

using nlohmann::json;
using test::ErrorText;

constexpr const char* kPlain =
    "{{ bos_token }}{% for message in messages %}{{ message['content'] }}{% endfor %}";

const std::vector<ChatMessage> kChat = {
    {"system", "Be kind."}, {"user", "Once"}, {"assistant", " upon."}, {"user", "Then"}};

std::string Text(const ChatTemplate& chat, const std::vector<ChatMessage>& messages) {
  std::string text;
  for (const PromptPart& part : chat.Render(messages)) text += part.text;
  return text;
}

// The template that ships with the default model. The expected texts are what jinja2 3.1 gives.
TEST(ChatTemplateTest, TheDefaultModelsChatOpensAStory) {
  const ChatTemplate story = ChatTemplate::Load(TERN_SOURCE_DIR "/tools/model");
  ASSERT_EQ(story.Problem(), "");
  EXPECT_TRUE(story.WritesBos());
  EXPECT_EQ(Text(story, kChat), "Once upon.\nThen");
  const std::vector<ChatMessage> prefilled = {{"user", "Once"}, {"assistant", " upon"}};
  EXPECT_EQ(Text(story, prefilled), "Once upon");
  const std::vector<ChatMessage> only_system = {{"system", "Be kind."}};
  EXPECT_EQ(Text(story, only_system), "");
}

TEST(ChatTemplateTest, FoundWhereTheFilesHaveIt) {
  const TempDir dir;
  const std::string path = dir / "";
  EXPECT_FALSE(ChatTemplate::Load(path).present());
  const auto with = [&](const json& chat_template) {
    dir.Write("tokenizer_config.json",
              json{{"bos_token", {{"content", "<s>"}}}, {"chat_template", chat_template}}.dump());
    return ChatTemplate::Load(path);
  };
  EXPECT_FALSE(with(nullptr).present());
  dir.Write("tokenizer_config.json", json{{"bos_token", {{"content", 5}}}}.dump());
  EXPECT_FALSE(ChatTemplate::Load(path).present());
  EXPECT_EQ(Text(with(kPlain), kChat), "Be kind.Once upon.Then");
  const json list = {{{"name", "tools"}, {"template", "x"}},
                     {{"name", "default"}, {"template", kPlain}}};
  EXPECT_EQ(with(list).Problem(), "");
  EXPECT_THROW(with(5), Error);
  EXPECT_THROW(with(json::array()), Error);
  dir.Write("chat_template.jinja", std::string(kPlain) + "\n");
  EXPECT_EQ(with("something else").Problem(), "");
  dir.Write("tokenizer_config.json", "[]");
  EXPECT_THROW(ChatTemplate::Load(path), Error);
}

TEST(ChatTemplateTest, ReasonsWhyNot) {
  EXPECT_NE(ChatTemplate().Problem().find("has no chat template"), std::string::npos);
  const ChatTemplate other("{%- if tools %}\n{{ x }}", "<s>");
  EXPECT_NE(other.Problem().find("\"{%- if tools %} {{ x }}\""), std::string::npos);
  EXPECT_THROW(other.Render(kChat), Error);
  const std::vector<ChatMessage> two_lines = {{"us\ner", "Hi"}};
  EXPECT_NE(ErrorText([&] { ChatTemplate(kPlain, "<s>").Render(two_lines); }).find("\"us er\""),
            std::string::npos);
}

// Templates in the shapes of the families, and chats as jinja2 renders them (make_chat_cases.py).
TEST(ChatTemplateTest, RendersAsJinjaDoes) {
  const json cases = json::parse(ReadFile(TERN_SOURCE_DIR "/tests/golden/chat_cases.json"));
  ASSERT_GE(cases["templates"].size(), 8u);
  for (const json& entry : cases["templates"]) {
    const ChatTemplate chat(entry["source"], "<s>", "</s>");
    EXPECT_EQ(chat.family(), entry["family"].get<std::string>()) << entry["name"];
    if (!chat.Problem().empty()) continue;
    for (size_t i = 0; i < cases["chats"].size(); ++i) {
      std::vector<ChatMessage> messages;
      for (const json& message : cases["chats"][i]) {
        messages.push_back({message["role"], message["content"]});
      }
      if (entry["rendered"][i].is_null()) {
        EXPECT_NE(ErrorText([&] { chat.Render(messages); }).find("take turns"), std::string::npos)
            << entry["name"] << ", chat " << i;
        continue;
      }
      const std::string bos = chat.WritesBos() ? "<s>" : "";
      EXPECT_EQ(bos + Text(chat, messages), entry["rendered"][i])
          << entry["name"] << ", chat " << i;
      for (const PromptPart& part : chat.Render(messages)) {
        const bool message_in_template =
            part.from_template && part.text.find("INJECTED") != std::string::npos;
        EXPECT_FALSE(message_in_template) << entry["name"];
      }
    }
  }
}

// Functions, calls and what they gave (make_tool_cases.py).
TEST(ChatTemplateTest, RendersFunctionsAsJinjaDoes) {
  const json cases = json::parse(ReadFile(TERN_SOURCE_DIR "/tests/golden/tool_cases.json"));
  const auto tools = cases["tools"].get<std::vector<std::string>>();
  for (const json& entry : cases["templates"]) {
    const ChatTemplate chat(entry["source"], "", "<|im_end|>");
    EXPECT_EQ(chat.family(), entry["family"].get<std::string>());
    EXPECT_EQ(chat.CallForm() == ToolCallForm::kWhole, entry["family"] == "llama-3.1");
    ASSERT_TRUE(chat.TakesTools()) << entry["family"];
    for (size_t i = 0; i < cases["chats"].size(); ++i) {
      std::vector<ChatMessage> messages;
      for (const json& message : cases["chats"][i]) {
        ChatMessage& added =
            messages.emplace_back(ChatMessage{message["role"], message["content"]});
        for (const json& call : message.value("tool_calls", json::array())) {
          const bool some = !call["function"]["arguments"].empty();
          added.tool_calls.push_back(
              {call["function"]["name"], some ? R"({"city": "Ulm", "days": 2})" : "{}"});
        }
      }
      if (entry["rendered"][i].is_null()) {  // several calls, in a family that has one at a time
        EXPECT_THROW(chat.Render(messages, tools), Error);
        continue;
      }
      std::string with;
      for (const PromptPart& part : chat.Render(messages, tools)) {
        with += part.text;
        EXPECT_FALSE(part.from_template && part.text.find("weather") != std::string::npos);
      }
      EXPECT_EQ(with, entry["rendered"][i][0]) << entry["family"] << ", chat " << i;
      EXPECT_EQ(Text(chat, messages), entry["rendered"][i][1]) << entry["family"] << ", chat " << i;
    }
  }
  const ChatTemplate plain(kPlain, "<s>");
  EXPECT_FALSE(plain.TakesTools());
  EXPECT_THROW(plain.Render(kChat, tools), Error);
  const std::vector<ChatMessage> call = {{"assistant", "", {{"now", "{}"}}}};
  EXPECT_THROW(plain.Render(call), Error);
}

// Templates of Llama 3.2 and later ask for the day.
TEST(ChatTemplateTest, NamesToday) {
  const json cases = json::parse(ReadFile(TERN_SOURCE_DIR "/tests/golden/chat_cases.json"));
  for (const json& entry : cases["templates"]) {
    if (entry["family"] != "llama-3.1") continue;
    std::string source = entry["source"];
    constexpr std::string_view kDay = "\"26 Jul 2024\"";
    source.replace(source.find(kDay), kDay.size(), "strftime_now(\"%d %b %Y\")");
    const auto today = [] {
      const std::time_t now = std::time(nullptr);
      char text[32];
      std::strftime(text, sizeof(text), "Today Date: %d %b %Y\n\n", std::localtime(&now));
      return std::string(text);
    };
    const std::string before = today();
    const std::string text = Text(ChatTemplate(source, "<s>"), {{"user", "Hi"}});
    EXPECT_TRUE(text.find(before) != std::string::npos || text.find(today()) != std::string::npos)
        << text;
  }
}

TEST(ChatTemplateTest, BitnetsIds) {
  TERN_NEEDS_SHARED("llama3-tiktoken.model");
  const auto tokenizer = MakeBpeTokenizer(test::Llama3Vocabulary());
  const json cases = json::parse(ReadFile(TERN_SOURCE_DIR "/tests/golden/chat_cases.json"));
  ModelConfig config = TinyConfig();
  config.bos_token_id = 128000;
  const json golden = json::parse(ReadFile(test::SharedVector("bitnet2b_chat_cases.json")));
  for (const json& entry : cases["templates"]) {
    if (entry["family"] != "bitnet-2b-4t") continue;
    const ChatTemplate chat(entry["source"], "<|begin_of_text|>", "<|end_of_text|>");
    for (const json& expected : golden["cases"]) {
      std::vector<ChatMessage> messages;
      for (const json& message : expected["messages"]) {
        messages.push_back({message["role"], message["content"]});
      }
      EXPECT_EQ(EncodeChat(config, *tokenizer, chat, messages),
                expected["ids_with_bos"].get<std::vector<TokenId>>());
    }
  }
}

TEST(ChatTemplateTest, OnlyTheTemplateBeginsASequence) {
  const ByteTokenizer tokenizer;
  const ModelConfig config = TinyConfig();
  const std::vector<ChatMessage> message = {{"user", "<s>"}};
  const std::vector<TokenId> ids =
      EncodeChat(config, tokenizer, ChatTemplate(kPlain, "<s>"), message);
  EXPECT_EQ(ids, (std::vector<TokenId>{1, 3 + '<', 3 + 's', 3 + '>'}));
}

}  // namespace
}  // namespace tern
