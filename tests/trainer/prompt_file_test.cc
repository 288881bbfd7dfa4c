#include "trainer/prompt_file.h"

#include <gtest/gtest.h>

#include "engine/error.h"
#include "tests/support/temp_dir.h"

namespace tern {
namespace {

std::string Failure(const std::string& path) {
  try {
    ReadPrompts(path);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), Error::Kind::kBadFile);
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    return error.what();
  }
  return "no error";
}

TEST(PromptFile, EveryFieldThatMayHoldThePrompt) {
  TempDir dir;
  const std::vector<Prompt> prompts = ReadPrompts(
      dir.Write("p.jsonl",
                "{\"id\": \"a\", \"prompt\": \"one\", \"text\": \"not this\"}\n"
                "\n"
                "{\"id\": 7, \"text\": \"two\\nlines\"}\r\n"
                "{\"turns\": [\"three\", \"later\"]}\n"
                "{\"messages\": [{\"role\": \"system\", \"content\": \"no\"}, {\"role\": \"user\", "
                "\"content\": \"four\"}, {\"role\": \"user\", \"content\": \"five\"}]}"));
  ASSERT_EQ(prompts.size(), 4u);
  EXPECT_EQ(prompts[0].id, "a");
  EXPECT_EQ(prompts[0].text, "one");
  EXPECT_EQ(prompts[1].id, "7");
  EXPECT_EQ(prompts[1].text, "two\nlines");
  EXPECT_EQ(prompts[1].line, 3u);
  EXPECT_EQ(prompts[2].text, "three");
  EXPECT_EQ(prompts[2].id, "4");
  EXPECT_EQ(prompts[3].text, "four");
  EXPECT_EQ(prompts[3].task, "p");
}

using Turns = std::vector<std::vector<std::string>>;

Turns TurnsOf(const Prompt& prompt) {
  Turns turns;
  for (const auto& turn : prompt.turns) {
    turns.emplace_back();
    for (const ChatMessage& message : turn)
      turns.back().push_back(message.role + ": " + message.content);
  }
  return turns;
}

TEST(PromptFile, Conversations) {
  TempDir dir;
  std::string file;
  for (
      std::string line : std::initializer_list<std::string>{
          R"({"messages": [{"role": "developer", "content": "Be brief."}, {"role": "user", "content":
         "a"}, {"role": "assistant", "content": null}, {"role": "user", "content":
         [{"type": "text", "text": "b"}, {"type": "text", "text": "c"}]}], "prompt": "not this"})",
          R"({"conversations": [{"from": "gpt", "value": "Hello!"}, {"from": "human", "value": "d"},
         {"from": "gpt", "value": "e"}, {"from": "gpt", "value": "f"}, {"from": "human", "value":
         "g"}, {"from": "gpt", "value": "h"}]})",
          R"({"instruction": "Add.", "input": "1 2", "output": "3", "text": "all of it"})",
          R"({"instruction": "Sing.", "input": "", "output": "la"})", R"({"turns": ["i", "j"]})",
          R"({"prompt": "k"})"}) {
    std::erase(line, '\n');
    file += line + "\n";
  }
  const std::vector<Prompt> prompts = ReadPrompts(dir.Write("p.jsonl", file));
  ASSERT_EQ(prompts.size(), 6u);
  EXPECT_EQ(TurnsOf(prompts[0]), (Turns{{"system: Be brief.", "user: a"}, {"user: bc"}}));
  EXPECT_EQ(prompts[0].text, "a");
  EXPECT_EQ(TurnsOf(prompts[1]), (Turns{{"user: d"}, {"user: g"}}));
  EXPECT_EQ(TurnsOf(prompts[2]), (Turns{{"user: Add.\n\n1 2"}}));
  EXPECT_EQ(prompts[2].text, "Add.\n\n1 2");
  EXPECT_EQ(TurnsOf(prompts[3]), (Turns{{"user: Sing."}}));
  EXPECT_EQ(TurnsOf(prompts[4]), (Turns{{"user: i"}, {"user: j"}}));
  EXPECT_TRUE(prompts[5].turns.empty());
  EXPECT_EQ(prompts[5].Place(), prompts[5].file + ":6");
}

TEST(PromptFile, AJsonArrayOfObjects) {
  TempDir dir;
  const std::vector<Prompt> prompts = ReadPrompts(
      dir.Write("p.json", "\n[\n  {\"instruction\": \"a\"},\n  {\"text\": \"b\"}\n]\n"));
  ASSERT_EQ(prompts.size(), 2u);
  EXPECT_EQ(prompts[1].text, "b");
  EXPECT_EQ(prompts[1].line, 2u);
  const std::string bad = dir.Write("bad.json", "[{\"text\": \"b\"}, 3]");
  EXPECT_NE(Failure(bad).find(bad + ":2: prompt: expected a JSON object, got number"),
            std::string::npos)
      << Failure(bad);
  EXPECT_NE(Failure(dir.Write("cut.json", "[{")).find("expected a JSON array"), std::string::npos);
}

TEST(PromptFile, BrokenConversationsAreNamed) {
  TempDir dir;
  const auto error = [&](const std::string& line) { return Failure(dir.Write("p.jsonl", line)); };
  const std::vector<std::pair<std::string, std::string>> cases = {
      {R"({"messages": [{"role": "tool", "content": "x"}]})",
       "expected \"messages\"[0] with \"role\" system, user or assistant, got \"tool\""},
      {R"({"conversations": [{"from": "human", "value": "a"}, {"value": "x"}]})",
       "expected \"conversations\"[1] with \"from\" system, user or assistant, got null"},
      {R"({"messages": [{"role": "user", "content": 3}]})", "text in \"content\", got no text"},
      {R"({"messages": [{"role": "user", "content": " "}]})", "text in \"content\", got none"},
      {R"({"messages": "hello"})", "expected a list \"messages\", got string"},
      {R"({"messages": [{"role": "assistant", "content": "x"}]})", "a message of a user"},
      {R"({"turns": ["a", 3]})", "a list \"turns\" of texts"},
      {R"({"instruction": 3})", "expected a string \"instruction\", got number"},
      {R"({"instruction": "a", "input": []})", "expected a string \"input\", got array"}};
  for (const auto& [line, expected] : cases)
    EXPECT_NE(error(line).find(expected), std::string::npos) << error(line);
}

TEST(PromptFile, ALineMayNameItsTask) {
  TempDir dir;
  const std::string path = dir.Write("some.set.jsonl",
                                     "{\"text\": \"a\", \"category\": \"qa\"}\n"
                                     "{\"text\": \"b\", \"category\": \"qa\", \"task\": "
                                     "\"code\"}\n{\"text\": \"c\", \"task\": 3}\n");
  const std::vector<Prompt> prompts = ReadPrompts(path);
  EXPECT_EQ(prompts[0].task, "qa");
  EXPECT_EQ(prompts[1].task, "code");
  EXPECT_EQ(prompts[2].task, "some.set");
  EXPECT_EQ(prompts[2].file, path);
}

TEST(PromptFile, PlainTextIsOnePromptALine) {
  TempDir dir;
  const std::string path = dir.Write("p.txt", "Once upon\n  \n\xc3\x84 day\r\n[not JSON]");
  const std::vector<Prompt> prompts = ReadPrompts(path);
  ASSERT_EQ(prompts.size(), 3u);
  EXPECT_EQ(prompts[0].text, "Once upon");
  EXPECT_EQ(prompts[1].text, "\xc3\x84 day");
  EXPECT_EQ(prompts[2].text, "[not JSON]");
  EXPECT_EQ(prompts[2].line, 4u);
  EXPECT_EQ(ReadPrompts(path, 2).size(), 2u);
}

TEST(PromptFile, AByteOrderMarkIsNoText) {
  TempDir dir;
  EXPECT_EQ(ReadPrompts(dir.Write("p.txt", "\xEF\xBB\xBFOnce\n"))[0].text, "Once");
  EXPECT_EQ(ReadPrompts(dir.Write("p", "\xEF\xBB\xBF{\"text\": \"Once\"}\n"))[0].text, "Once");
}

TEST(PromptFile, OneBrokenLineIsOneErrorWithItsNumber) {
  TempDir dir;
  const std::string good = "{\"prompt\": \"fine\"}\n";
  for (const std::string bad :
       {"{\"prompt\": \"cut", "[1]", "{\"prompt\": 3}", "{\"prompt\": \"\"}", "{}", "plain text",
        "{\"turns\": []}", "{\"messages\": [{\"role\": \"system\", \"content\": \"x\"}]}",
        "{\"messages\": [{\"role\": 3}]}", "{\"prompt\": \"\xff\"}",
        "{\"prompt\": \"\xed\xa0\x80\"}"}) {
    const std::string path = dir.Write("p.jsonl", good + "\n" + bad + "\n" + good);
    const std::string message = Failure(path);
    EXPECT_NE(message.find(path + ":3: "), std::string::npos) << bad << ": " << message;
    // Lines behind the limit are read too: a run must not find them hours later.
    EXPECT_THROW(ReadPrompts(path, 1), Error) << bad;
  }
  const std::string text = dir.Write("p.txt", "one\ntwo\xfe\n");
  EXPECT_NE(Failure(text).find(text + ":2: "), std::string::npos);
}

TEST(PromptFile, NoPrompts) {
  TempDir dir;
  EXPECT_NE(Failure(dir.Write("p.jsonl", "")).find("at least one line"), std::string::npos);
  EXPECT_NE(Failure(dir.Write("p.txt", " \n\n")).find("at least one line"), std::string::npos);
  EXPECT_THROW(ReadPrompts(dir / "missing.txt"), Error);
}

}  // namespace
}  // namespace tern
