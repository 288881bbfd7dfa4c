#include "tools/child_program.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "engine/error.h"

extern char** environ;

namespace tern {
namespace {

constexpr size_t kMostOutput = size_t{1} << 20;  // what a bench writes is a few kilobytes
constexpr size_t kMostErrors = size_t{1} << 26;  // logs may be long; only their end is kept
constexpr size_t kKeptErrors = size_t{1} << 12;

// Both ends are closed in programs started while it exists, but for what a spawn duplicates.
class Pipe {
 public:
  Pipe() {
    if (pipe2(ends_, O_CLOEXEC) != 0) throw SystemError("cannot make a pipe", errno);
  }
  ~Pipe() {
    close(ends_[0]);
    CloseWriteEnd();
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  int read_end() const { return ends_[0]; }
  int write_end() const { return ends_[1]; }
  void CloseWriteEnd() {
    if (ends_[1] >= 0) close(ends_[1]);
    ends_[1] = -1;
  }

 private:
  int ends_[2] = {-1, -1};
};

pid_t Start(const std::vector<std::string>& command, const Pipe& out, const Pipe& err) {
  std::vector<char*> arguments;
  for (const std::string& argument : command)
    arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, out.write_end(), STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, err.write_end(), STDERR_FILENO);
  pid_t child = 0;
  const int code = posix_spawnp(&child, arguments[0], &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (code == ENOENT) throw NotFound(command[0] + ": no such program; check the path");
  if (code != 0) throw SystemError("cannot run " + command[0], code);
  return child;
}

// Appends what `fd` has; false at its end.
bool ReadSome(int fd, std::string& text) {
  char buffer[4096];
  const ssize_t got = read(fd, buffer, sizeof(buffer));
  if (got > 0) text.append(buffer, static_cast<size_t>(got));
  return got > 0 || (got < 0 && (errno == EINTR || errno == EAGAIN));
}

std::string LastLine(const std::string& text) {
  const size_t last = text.find_last_not_of(" \t\r\n");
  if (last == std::string::npos) return "";
  const size_t before = text.find_last_of("\r\n", last);
  const size_t first = before == std::string::npos ? 0 : before + 1;
  return text.substr(first, last + 1 - first);
}

// Until both are closed; false where there is no end to it.
bool ReadBoth(const Pipe& out, const Pipe& err, ChildOutput& result) {
  std::string errors;
  size_t dropped = 0;
  pollfd fds[2] = {{out.read_end(), POLLIN, 0}, {err.read_end(), POLLIN, 0}};
  while (fds[0].fd >= 0 || fds[1].fd >= 0) {
    if (poll(fds, 2, -1) < 0) {
      if (errno == EINTR) continue;
      throw SystemError("cannot wait for a program's output", errno);
    }
    if (fds[0].revents != 0 && !ReadSome(fds[0].fd, result.text)) fds[0].fd = -1;
    if (fds[1].revents != 0 && !ReadSome(fds[1].fd, errors)) fds[1].fd = -1;
    if (errors.size() > 2 * kKeptErrors) {
      dropped += errors.size() - kKeptErrors;
      errors.erase(0, errors.size() - kKeptErrors);
    }
    if (result.text.size() > kMostOutput || dropped > kMostErrors) return false;
  }
  result.last_error = LastLine(errors);
  return true;
}

}  // namespace

std::string ChildOutput::Failure() const {
  return "exit status " + std::to_string(exit_status) + (last_error.empty() ? "" : ": ") +
         last_error;
}

ChildOutput RunChild(const std::vector<std::string>& command) {
  ChildOutput result;
  Pipe out, err;
  const pid_t child = Start(command, out, err);
  out.CloseWriteEnd();
  err.CloseWriteEnd();
  result.endless = !ReadBoth(out, err, result);
  if (result.endless) kill(child, SIGKILL);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  result.exit_status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  return result;
}

}  // namespace tern
