#include "tools/bench_against.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "engine/error.h"
#include "engine/json_text.h"
#include "tools/bench_machine.h"

namespace tern {
namespace {

using Json = nlohmann::json;

constexpr size_t kMostOutput = size_t{1} << 20;  // what `tern bench` writes is a few kilobytes

Error NoBench(const std::string& path, std::string got) {
  return BadFile({path + " bench", "output", "the JSON of tern bench", std::move(got),
                  "give the path of a tern that has this command"});
}

// What a program writes to stdout; its stderr is ours.
std::string Output(const std::vector<std::string>& command) {
  std::vector<char*> arguments;
  for (const std::string& argument : command)
    arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  int ends[2];
  if (pipe(ends) != 0) throw SystemError("cannot make a pipe", errno);
  const pid_t child = fork();
  if (child < 0) throw SystemError("cannot start " + command[0], errno);
  if (child == 0) {
    dup2(ends[1], STDOUT_FILENO);
    close(ends[0]);
    close(ends[1]);
    execv(arguments[0], arguments.data());
    _exit(127);
  }
  close(ends[1]);
  std::string text;
  char buffer[4096];
  for (ssize_t got; (got = read(ends[0], buffer, sizeof(buffer))) != 0;) {
    if (got < 0 && errno != EINTR) break;
    if (got > 0) text.append(buffer, static_cast<size_t>(got));
    if (text.size() > kMostOutput) break;
  }
  close(ends[0]);
  const bool endless = text.size() > kMostOutput;
  if (endless) kill(child, SIGKILL);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (endless) throw NoBench(command[0], "more than a megabyte");
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    throw Error(Error::Kind::kInternal,
                command[0] + " bench: failed; run it alone with the same options to see why");
  }
  return text;
}

// Milliseconds by what was measured, in the order of the output.
std::vector<std::pair<std::string, double>> Milliseconds(const std::string& path,
                                                         const std::string& text) {
  try {
    const Json json = ParseJson<Json>(text);
    std::vector<std::pair<std::string, double>> result;
    for (const Json& pass : json.at("passes")) {
      const std::string kv = pass.value("kv_type", "bf16");  // older ones have no other
      result.emplace_back("context " + std::to_string(pass.at("context").get<int32_t>()) + ", " +
                              (kv == "bf16" ? "" : kv + ", ") +
                              std::to_string(pass.at("rows").get<int32_t>()) + " rows, " +
                              pass.at("decides").get<std::string>() +
                              (pass.value("zero_skip", false) ? ", skip" : ""),
                          pass.at("ms").get<double>());
    }
    if (json.contains("prefill")) {
      const Json& prefill = json.at("prefill");
      const double tokens = prefill.at("tokens").get<double>();
      result.emplace_back("prefill of " + std::to_string(prefill.at("tokens").get<int32_t>()),
                          1e3 * tokens / prefill.at("tokens_per_second").get<double>());
    }
    return result;
  } catch (const Json::exception&) {
    throw NoBench(path, "something else");
  }
}

}  // namespace

std::vector<Comparison> BenchAgainst(const std::string& path,
                                     const std::vector<std::string>& arguments, int32_t rounds,
                                     const std::function<void(double)>& progress) {
  if (access(path.c_str(), X_OK) != 0) throw NotFound(path + ": no such program; check the path");
  const std::string self = std::filesystem::read_symlink("/proc/self/exe").string();
  const auto run = [&](const std::string& program) {
    std::vector<std::string> command = {program, "bench"};
    command.insert(command.end(), arguments.begin(), arguments.end());
    command.insert(command.end(), {"--json", "--rounds", "1"});
    return Milliseconds(program, Output(command));
  };
  std::vector<std::string> order;
  std::map<std::string, std::vector<double>> here, there, ratios;
  for (int32_t round = 0; round < rounds; ++round) {
    const auto mine = run(self);
    progress((2 * round + 1) / (2.0 * rounds));
    std::map<std::string, double> other;
    for (const auto& [what, ms] : run(path)) other[what] = ms;
    progress((2 * round + 2) / (2.0 * rounds));
    for (const auto& [what, ms] : mine) {
      if (!other.contains(what)) continue;  // an older binary may measure less
      if (round == 0) order.push_back(what);
      here[what].push_back(ms);
      there[what].push_back(other[what]);
      ratios[what].push_back(other[what] / ms);
    }
  }
  if (order.empty()) throw NoBench(path, "nothing that was measured here");
  std::vector<Comparison> result;
  for (const std::string& what : order)
    result.push_back({what, Median(here[what]), Median(there[what]), Median(ratios[what])});
  return result;
}

}  // namespace tern
