// Runs a program, catches all that it says, and judges it.
#ifndef TERN_TESTS_SUPPORT_RUN_PROGRAM_H_
#define TERN_TESTS_SUPPORT_RUN_PROGRAM_H_

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "engine/atomic_file.h"
#include "tests/support/temp_dir.h"

namespace tern {

struct ProgramResult {
  int status = -1;  // exit status, or -signal
  std::string out, err;
  int64_t ErrorLines() const { return std::count(err.begin(), err.end(), '\n'); }
};

// `input` is what stdin has. `stdout_path` takes stdout (e.g. /dev/full); empty = caught in `out`.
inline ProgramResult RunProgram(const std::vector<std::string>& command,
                                const std::string& stdout_path = "",
                                const std::string& input = "") {
  const TempDir dir;
  const std::string out = stdout_path.empty() ? dir.Write("out", "") : stdout_path,
                    err = dir / "err", in = dir.Write("in", input);
  std::vector<char*> arguments;
  for (const std::string& argument : command)
    arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  const pid_t child = fork();
  if (child < 0) throw std::runtime_error("cannot fork");
  if (child == 0) {
    const auto redirect = [](const char* path, int flags, int target) {
      const int fd = open(path, flags, 0600);
      if (fd < 0 || dup2(fd, target) < 0) _exit(126);
    };
    redirect(in.c_str(), O_RDONLY, STDIN_FILENO);
    redirect(out.c_str(), O_WRONLY, STDOUT_FILENO);
    redirect(err.c_str(), O_WRONLY | O_CREAT, STDERR_FILENO);
    execv(arguments[0], arguments.data());
    _exit(127);
  }
  int status = 0;
  if (waitpid(child, &status, 0) != child) throw std::runtime_error("cannot wait");
  ProgramResult result;
  result.status = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  if (stdout_path.empty()) result.out = ReadFile(out);
  result.err = ReadFile(err);
  return result;
}

// What a program that ended well printed as JSON; discarded where it printed something else.
inline nlohmann::json JsonOf(const ProgramResult& result) {
  EXPECT_EQ(result.status, 0) << result.err;
  return nlohmann::json::parse(result.out, nullptr, false);
}

// Nothing but one line, on stderr, that has all `words`.
inline void ExpectFailure(const ProgramResult& result, const std::vector<std::string>& words,
                          int status = 1) {
  EXPECT_EQ(result.status, status) << result.err;
  EXPECT_EQ(result.ErrorLines(), 1) << result.err;
  EXPECT_EQ(result.out, "");
  for (const std::string& word : words)
    EXPECT_NE(result.err.find(word), std::string::npos) << "no " << word << " in " << result.err;
}

}  // namespace tern

#endif  // TERN_TESTS_SUPPORT_RUN_PROGRAM_H_
