// A program that runs beside the test, which reads its stdout line by line and sends it signals.
#ifndef TERN_TESTS_SUPPORT_BACKGROUND_PROGRAM_H_
#define TERN_TESTS_SUPPORT_BACKGROUND_PROGRAM_H_

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <vector>

#include "engine/atomic_file.h"
#include "tests/support/temp_dir.h"

namespace tern {

// Killed where it still runs at the end.
class BackgroundProgram {
 public:
  explicit BackgroundProgram(const std::vector<std::string>& command) {
    std::vector<char*> arguments;
    for (const std::string& argument : command)
      arguments.push_back(const_cast<char*>(argument.c_str()));
    arguments.push_back(nullptr);
    const std::string err = dir_ / "err";
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("cannot make a pipe");
    child_ = fork();
    if (child_ < 0) throw std::runtime_error("cannot fork");
    if (child_ == 0) {
      const int fd = open(err.c_str(), O_WRONLY | O_CREAT, 0600);
      if (fd < 0 || dup2(fd, STDERR_FILENO) < 0 || dup2(ends[1], STDOUT_FILENO) < 0) _exit(126);
      execv(arguments[0], arguments.data());
      _exit(127);
    }
    close(ends[1]);
    out_ = fdopen(ends[0], "r");
  }
  ~BackgroundProgram() {
    if (child_ > 0) {
      kill(child_, SIGKILL);
      Wait();
    }
    if (out_ != nullptr) std::fclose(out_);
  }
  BackgroundProgram(const BackgroundProgram&) = delete;
  BackgroundProgram& operator=(const BackgroundProgram&) = delete;

  // The next line of stdout, without its line feed; empty at the end.
  std::string ReadLine() {
    std::string line;
    for (int c = std::fgetc(out_); c != EOF && c != '\n'; c = std::fgetc(out_))
      line += static_cast<char>(c);
    return line;
  }
  pid_t pid() const { return child_; }
  void Signal(int signal) const { kill(child_, signal); }
  // Exit status, or -signal.
  int Wait() {
    int status = 0;
    if (waitpid(child_, &status, 0) != child_) throw std::runtime_error("cannot wait");
    child_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
  // All of stderr so far.
  std::string Errors() const { return ReadFile(dir_ / "err"); }

 private:
  TempDir dir_;
  pid_t child_ = -1;
  FILE* out_ = nullptr;
};

}  // namespace tern

#endif  // TERN_TESTS_SUPPORT_BACKGROUND_PROGRAM_H_
