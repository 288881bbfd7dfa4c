// `tern chat` as a user runs it: from a pipe, where a line is a turn, and on a terminal.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <sys/wait.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/run_program.h"
#include "tests/support/text_model_dir.h"

namespace tern {
namespace {

using nlohmann::json;

// A template of the family that joins what is said.
constexpr const char* kTemplate =
    "{{ bos_token }}{% for message in messages %}{{ message['content'] }}{% endfor %}";

class ChatTest : public ::testing::Test {
 protected:
  ChatTest() {
    WriteTextModelDir(model_);
    AddTemplate();
  }
  void AddTemplate() { WriteFileAtomically(model_ + "/chat_template.jinja", kTemplate); }
  ProgramResult Chat(const std::string& input, std::vector<std::string> more = {}) {
    more.insert(more.begin(), {TERN_PROGRAM, "chat", "--model", model_, "--max-tokens", "20",
                               "--ignore-eos", "--draft", "off"});
    return RunProgram(more, "", input);
  }
  // Each answer's object.
  std::vector<json> Answers(const std::string& input, std::vector<std::string> more = {}) {
    more.push_back("--json");
    const ProgramResult result = Chat(input, std::move(more));
    EXPECT_EQ(result.status, 0) << result.err;
    std::vector<json> answers;
    std::istringstream lines(result.out);
    for (std::string line; std::getline(lines, line);) answers.push_back(json::parse(line));
    return answers;
  }
  json Generate(const std::string& prompt, std::vector<std::string> more = {}) {
    more.insert(more.begin(), {TERN_PROGRAM, "generate", "--model", model_, "--max-tokens", "20",
                               "--ignore-eos", "--json", "--prompt", prompt});
    return JsonOf(RunProgram(more));
  }

  TempDir dir_;
  std::string model_ = dir_ / "model";
};

// With this template, a prompt is all that was said.
TEST_F(ChatTest, EachTurnSeesThoseBefore) {
  const std::vector<json> answers = Answers("the cat\n sat on\n");
  ASSERT_EQ(answers.size(), 2U);
  EXPECT_EQ(answers[0]["token_ids"], Generate("the cat")["token_ids"]);
  const std::string said = "the cat" + answers[0]["text"].get<std::string>() + " sat on";
  EXPECT_EQ(answers[1]["token_ids"], Generate(said)["token_ids"]);
  const std::vector<json> fresh = Answers("the cat\n/reset\n sat on\n");
  EXPECT_EQ(fresh.at(1)["token_ids"], Generate(" sat on")["token_ids"]);
}

TEST_F(ChatTest, WithoutATemplateTextsAreContinued) {
  std::filesystem::remove(model_ + "/chat_template.jinja");
  const std::vector<json> answers = Answers("the cat\n\n");  // an empty line: further
  ASSERT_EQ(answers.size(), 2U);
  const std::string said = "the cat" + answers[0]["text"].get<std::string>();
  EXPECT_EQ(answers[1]["token_ids"], Generate(said)["token_ids"]);
  AddTemplate();
  EXPECT_EQ(Answers("the cat\n\n").size(), 1U);  // a chat has no empty messages
}

TEST_F(ChatTest, RegeneratingDrawsAgainAndSystemStaysInFront) {
  const std::vector<json> answers =
      Answers("the cat\n/regenerate\n", {"--temperature", "1.5", "--seed", "3"});
  ASSERT_EQ(answers.size(), 2U);
  EXPECT_NE(answers[0]["token_ids"], answers[1]["token_ids"]);
  EXPECT_EQ(answers[0]["usage"]["prompt_tokens"], answers[1]["usage"]["prompt_tokens"]);
  EXPECT_EQ(Answers("the cat\n/regenerate\n")[1]["token_ids"],
            Answers("the cat\n")[0]["token_ids"]);
  EXPECT_EQ(Answers("/system sat on\nthe cat\n")[0]["token_ids"],
            Generate("sat onthe cat")["token_ids"]);
  EXPECT_EQ(Answers("//help\n")[0]["token_ids"], Generate("/help")["token_ids"]);
}

TEST_F(ChatTest, PlainOutput) {
  const ProgramResult result = Chat("the cat\n");
  EXPECT_TRUE(result.out.starts_with(" cat cat")) << result.out;  // bytes behind are no UTF-8
  EXPECT_TRUE(result.out.ends_with("\n"));
  EXPECT_NE(result.err.find("20 tokens at "), std::string::npos) << result.err;
  EXPECT_NE(result.err.find("draft off"), std::string::npos) << result.err;
  EXPECT_EQ(result.ErrorLines(), 1);
}

TEST_F(ChatTest, SavesWhatWasSaid) {
  const std::string file = dir_ / "chat.json";
  const std::vector<json> answers =
      Answers("/system be kind\nthe cat\n/save " + file + "\n/quit\nx\n");
  ASSERT_EQ(answers.size(), 1U);
  EXPECT_EQ(json::parse(ReadFile(file)),
            json({{"messages",
                   {{{"role", "system"}, {"content", "be kind"}},
                    {{"role", "user"}, {"content", "the cat"}},
                    {{"role", "assistant"}, {"content", answers[0]["text"]}}}}}));
}

TEST_F(ChatTest, AFullContextLosesItsOldestTurns) {
  std::string input;
  for (int i = 0; i < 8; ++i) input += "the cat sat\n";
  const ProgramResult result = Chat(input, {"--context", "64"});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_NE(result.err.find("the oldest 2 messages are left out"), std::string::npos) << result.err;
  std::string all;
  for (int i = 0; i < 100; ++i) all += "the cat sat ";
  const ProgramResult full = Chat(all + "\n", {"--context", "64"});
  EXPECT_EQ(full.status, 1);
  EXPECT_NE(full.err.find("this message alone makes a prompt of "), std::string::npos) << full.err;
}

TEST_F(ChatTest, WrongUse) {
  const auto fails = [&](const std::string& input, const std::vector<std::string>& more, int status,
                         const std::string& what) {
    const ProgramResult result = Chat(input, more);
    EXPECT_EQ(result.status, status);
    EXPECT_EQ(result.ErrorLines(), 1) << result.err;
    EXPECT_NE(result.err.find(what), std::string::npos) << result.err;
  };
  fails("/foo\n", {}, 1, "/foo is no command");
  fails("/regenerate\n", {}, 1, "no message yet");
  fails("/save\n", {}, 1, "expected /save FILE");
  fails("", {"--temperature", "-1"}, 2, "temperature");
  EXPECT_EQ(Chat("").status, 0);
}

// A terminal of its own for `tern chat`.
class Terminal {
 public:
  explicit Terminal(const std::vector<std::string>& command) {
    std::vector<char*> arguments;
    for (const std::string& argument : command)
      arguments.push_back(const_cast<char*>(argument.c_str()));
    arguments.push_back(nullptr);
    child_ = forkpty(&fd_, nullptr, nullptr, nullptr);
    if (child_ != 0) return;
    setenv("TERM", "xterm", 1);
    execv(arguments[0], arguments.data());
    _exit(127);
  }
  ~Terminal() {
    if (child_ > 0) kill(child_, SIGKILL);  // 0 would be all of this test's own group
    Wait();
    close(fd_);
  }
  void Type(const std::string& keys) {
    ASSERT_EQ(write(fd_, keys.data(), keys.size()), static_cast<ssize_t>(keys.size()));
  }
  // Until the terminal shows `text` behind what was awaited before; at most a minute.
  testing::AssertionResult Shows(const std::string& text) {
    for (;;) {
      const size_t at = seen_.find(text, from_);
      if (at != std::string::npos) {
        from_ = at + text.size();
        return testing::AssertionSuccess();
      }
      pollfd entry{fd_, POLLIN, 0};
      char buffer[4096];
      ssize_t got = 0;
      if (poll(&entry, 1, 60000) > 0) got = read(fd_, buffer, sizeof(buffer));
      if (got <= 0) return testing::AssertionFailure() << "no \"" << text << "\" in " << seen_;
      seen_.append(buffer, static_cast<size_t>(got));
    }
  }
  // Types `keys` and awaits each of `texts`, one behind the other.
  testing::AssertionResult Answers(const std::string& keys, const std::vector<std::string>& texts) {
    Type(keys);
    testing::AssertionResult shown = testing::AssertionSuccess();
    for (size_t i = 0; shown && i < texts.size(); ++i) shown = Shows(texts[i]);
    return shown;
  }
  // Exit status, or -signal.
  int Wait() {
    if (child_ <= 0) return status_;
    int status = 0;
    waitpid(child_, &status, 0);
    child_ = 0;
    return status_ = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

 private:
  pid_t child_ = 0;
  int fd_ = -1, status_ = 0;
  std::string seen_;
  size_t from_ = 0;
};

constexpr char kCtrlC[] = "\x03", kCtrlD[] = "\x04";
constexpr char kPrompt[] = "> ";

// Ctrl-C as soon as the answer to `line` begins, which has an "a"; then `cancelled` is shown, and a
// prompt.
testing::AssertionResult CancelsAnswer(Terminal& terminal, const std::string& line,
                                       const std::string& cancelled) {
  const auto begun = terminal.Answers(line + "\n", {line + "\r\n", "a"});
  return begun ? terminal.Answers(kCtrlC, {cancelled, kPrompt}) : begun;
}

TEST_F(ChatTest, OnATerminal) {
  const std::string history = dir_ / "history";
  {
    Terminal terminal({TERN_PROGRAM, "chat", "--model", model_, "--max-tokens", "20",
                       "--ignore-eos", "--history", history});
    ASSERT_TRUE(terminal.Shows("/help lists commands"));
    ASSERT_TRUE(terminal.Shows(kPrompt));
    ASSERT_TRUE(terminal.Answers("the cat\n", {"20 tokens at ", kPrompt}));
    ASSERT_TRUE(terminal.Answers("/foo\n", {"tern: /foo is no command", kPrompt}));
    ASSERT_TRUE(terminal.Answers(std::string("half a line") + kCtrlC,
                                 {"Ctrl-C again or Ctrl-D leaves", kPrompt}));
    terminal.Type(kCtrlD);
    EXPECT_EQ(terminal.Wait(), 0);
  }
  EXPECT_EQ(ReadFile(history), "the cat\n/foo\n");
  Terminal again({TERN_PROGRAM, "chat", "--model", model_, "--history", history});
  ASSERT_TRUE(again.Shows(kPrompt));
  ASSERT_TRUE(again.Answers(kCtrlC, {"Ctrl-C again", kPrompt}));
  again.Type(kCtrlC);
  EXPECT_EQ(again.Wait(), 0);
}

TEST_F(ChatTest, CtrlCEndsTheAnswerAndASecondLeaves) {
  constexpr int32_t kContext = 100000;  // many seconds of writing
  WriteTextModelDir(model_, 1, kContext);
  AddTemplate();
  const std::string file = dir_ / "chat.json";
  Terminal terminal({TERN_PROGRAM, "chat", "--model", model_, "--max-tokens",
                     std::to_string(kContext), "--ignore-eos", "--draft", "off"});
  ASSERT_TRUE(terminal.Shows(kPrompt));
  ASSERT_TRUE(CancelsAnswer(terminal, "the cat", "(cancelled), draft off"));
  ASSERT_TRUE(terminal.Answers("/save " + file + "\n", {kPrompt}));
  EXPECT_EQ(json::parse(ReadFile(file)).at("messages").size(), 2U);
  ASSERT_TRUE(CancelsAnswer(terminal, "/regenerate", "(cancelled)"));
  terminal.Type(kCtrlC);
  EXPECT_EQ(terminal.Wait(), 0);
}

}  // namespace
}  // namespace tern
