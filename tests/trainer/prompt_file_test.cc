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
