// Runs a program and kills it, and what a run leaves behind.
#ifndef TERN_TESTS_SUPPORT_KILL_PROGRAM_H_
#define TERN_TESTS_SUPPORT_KILL_PROGRAM_H_

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "engine/atomic_file.h"

namespace tern {

// Starts `command` silently and sends `signal` as soon as `now` is true, asked every 50
// microseconds. True where the program had ended before; it must then have succeeded.
inline bool RunAndKill(const std::vector<std::string>& command, const std::function<bool()>& now,
                       int signal = SIGKILL) {
  std::vector<char*> arguments;
  for (const std::string& argument : command)
    arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    if (std::freopen("/dev/null", "w", stderr) == nullptr ||
        std::freopen("/dev/null", "w", stdout) == nullptr)
      _exit(126);
    execv(arguments[0], arguments.data());
    _exit(127);
  }
  int status = 0;
  pid_t ended = 0;
  while (ended == 0 && !now()) {
    std::this_thread::sleep_for(std::chrono::microseconds(50));
    ended = waitpid(child, &status, WNOHANG);
  }
  if (ended == 0) {
    kill(child, signal);
    waitpid(child, &status, 0);
  }
  const bool by_signal = WIFSIGNALED(status) && WTERMSIG(status) == signal;
  EXPECT_TRUE(by_signal || (WIFEXITED(status) && WEXITSTATUS(status) == 0))
      << "the program failed by itself, status " << status;
  return !by_signal;
}

inline bool RunAndKill(const std::vector<std::string>& command, std::chrono::microseconds delay) {
  const auto end = std::chrono::steady_clock::now() + delay;
  return RunAndKill(command, [end] { return std::chrono::steady_clock::now() >= end; });
}

// For RunAndKill: true as soon as a temporary file of an AtomicFile appears in `folder` for the
// time after `skipped` others.
inline std::function<bool()> WhileWriting(const std::string& folder, int skipped) {
  return [folder, to_skip = skipped, seen_before = std::string()]() mutable {
    std::string seen;
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator(folder, ignored)) {
      std::string name = entry.path().filename();
      if (name.find(".tmp.") != std::string::npos) seen = std::move(name);
    }
    const bool appeared = !seen.empty() && seen != seen_before;
    seen_before = seen;
    return appeared && to_skip-- == 0;
  };
}

// Path and content of everything in the folder `out` but metrics, which hold times.
inline std::map<std::string, std::string> RunResults(const std::string& out) {
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(out)) {
    if (!entry.is_regular_file()) continue;
    const std::string name = entry.path().filename();
    if (name.starts_with("metrics.") || name.starts_with("events.")) continue;
    files[std::filesystem::relative(entry.path(), out)] = ReadFile(entry.path());
  }
  return files;
}

inline void ExpectSameResults(const std::string& expected_out, const std::string& got_out,
                              const std::string& after) {
  const auto expected = RunResults(expected_out), got = RunResults(got_out);
  for (const auto& [name, unused] : got)
    EXPECT_TRUE(expected.contains(name)) << name << " is left over after " << after;
  for (const auto& [name, bytes] : expected) {
    ASSERT_TRUE(got.contains(name)) << name << " is missing after " << after;
    EXPECT_TRUE(got.at(name) == bytes) << name << " differs after " << after;
  }
}

}  // namespace tern

#endif  // TERN_TESTS_SUPPORT_KILL_PROGRAM_H_
