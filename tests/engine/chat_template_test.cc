// Chat templates: found in a model's files, recognised, rendered, or refused with a reason.
#include "engine/chat_template.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/error.h"
#include "tests/support/byte_tokenizer.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"

namespace tern {
namespace {

using nlohmann::json;

constexpr const char* kPlain =
    "{{ bos_token }}{% for message in messages %}{{ message['content'] }}{% endfor %}";

const std::vector<ChatMessage> kChat = {
    {"system", "Be kind."}, {"user", "Once"}, {"assistant", " upon."}, {"user", "Then"}};

// The template that ships with the default model. The expected texts are what jinja2 3.1 gives.
TEST(ChatTemplateTest, TheDefaultModelsChatOpensAStory) {
  const ChatTemplate story = ChatTemplate::Load(TERN_SOURCE_DIR "/tools/model");
  ASSERT_EQ(story.Problem(), "");
  EXPECT_EQ(story.bos_token(), "<s>");
  EXPECT_EQ(story.Render(kChat), "<s>Once upon.\nThen");
  const std::vector<ChatMessage> prefilled = {{"user", "Once"}, {"assistant", " upon"}};
  EXPECT_EQ(story.Render(prefilled), "<s>Once upon");
  const std::vector<ChatMessage> only_system = {{"system", "Be kind."}};
  EXPECT_EQ(story.Render(only_system), "<s>");
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
  EXPECT_EQ(with(kPlain).Render(kChat), "<s>Be kind.Once upon.Then");
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
