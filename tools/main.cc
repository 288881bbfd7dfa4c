// The `tern` program. Sub-commands live in files of their own; this one dispatches and reports
// failure.
#include <fcntl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>

#include "engine/numa.h"
#include "engine/version.h"
#include "kernels/dispatch.h"
#include "kernels/parallel.h"
#include "tools/commands.h"
#include "tools/report.h"

namespace tern {
namespace {

constexpr int kFailed = 1, kMisuse = 2;

// One line, whatever the exception's text contains.
int Report(std::string message, int status) {
  std::replace(message.begin(), message.end(), '\n', ' ');
  std::fprintf(stderr, "tern: %s\n", message.c_str());
  return status;
}

std::string VersionLine() {
  return "tern " + std::string(Version()) + " (commit " + std::string(Commit()) + ", target " +
         CurrentTarget() + ")";
}

void ApplyNuma(const std::string& node) {
  if (node == "auto") return BindToBestNumaNode();
  int id = 0;
  const auto [end, error] = std::from_chars(node.data(), node.data() + node.size(), id);
  if (error != std::errc() || end != node.data() + node.size() || id < 0)
    throw CLI::ValidationError("--numa", "expected auto or the number of a node, got " + node);
  BindToNumaNode(id);
}

void ApplyRuntimeOptions(const CommonOptions& common) {
  if (!common.max_isa.empty() && !SetMaxTarget(common.max_isa)) {
    std::string offered;
    for (const std::string& target : SupportedTargets())
      offered += (offered.empty() ? "" : ", ") + target;
    throw CLI::ValidationError(
        "--max-isa", "expected one of " + offered + " on this CPU, got " + common.max_isa);
  }
  if (!common.numa.empty()) ApplyNuma(common.numa);  // before threads are counted or started
  if (common.threads > 0) SetThreadCount(common.threads);
}

// Decimal digits, with a sign where `sign` allows one: the library would take -1 for an unsigned
// number of twenty digits, and 010 for 8.
std::string WholeNumberProblem(const std::string& text, bool sign) {
  const size_t begin = sign && text.starts_with('-') ? 1 : 0;
  const std::string digits = text.substr(begin);
  const bool plain = !digits.empty() && (digits == "0" || digits[0] != '0') &&
                     digits.find_first_not_of("0123456789") == std::string::npos;
  uint64_t number = 0;
  if (plain &&
      std::from_chars(digits.data(), digits.data() + digits.size(), number).ec == std::errc()) {
    return "";
  }
  return "expected a whole number" + std::string(sign ? "" : " of 0 or more") + ", got " + text;
}

// Ranges let "nan" pass.
std::string RealNumberProblem(const std::string& text) {
  char* end = nullptr;
  const double number = std::strtod(text.c_str(), &end);
  const bool finite = end == text.c_str() + text.size() && !text.empty() && std::isfinite(number);
  return finite ? "" : "expected a number, got " + text;
}

void CheckNumbers(CLI::App& command) {
  for (CLI::Option* option : command.get_options()) {
    const std::string type = option->get_type_name();
    if (type.starts_with("UINT")) {
      option->check([](const std::string& text) { return WholeNumberProblem(text, false); });
    } else if (type.starts_with("INT")) {
      option->check([](const std::string& text) { return WholeNumberProblem(text, true); });
    } else if (type.starts_with("FLOAT")) {
      option->check(RealNumberProblem);
    }
  }
}

void AddCommonOptions(CLI::App& command, CommonOptions& common) {
  const auto missing = [&command](const char* name) {
    return command.get_option_no_throw(name) == nullptr;
  };
  if (missing("--model")) {
    command
        .add_option("--model", common.model,
                    "Model directory, or org/name of one that `tern pull` downloaded (default: the "
                    "model that ships with tern)")
        ->check([](const std::string& given) {  // an unset variable of a script, most likely
          return given.empty() ? "expected a path or org/name, got nothing" : "";
        });
  }
  if (missing("--heads")) {
    command.add_option(
        "--heads", common.heads,
        "Draft heads: a directory, a file or none (default: those beside the model)");
  }
  if (missing("--i2s-order")) {
    command
        .add_option("--i2s-order", common.i2s_order,
                    "Order of weights in I2_S tensors of a GGUF file: 64x16 for files that an ARM "
                    "build of bitnet.cpp wrote from November 2025 on (no file tells)")
        ->check(CLI::IsMember({"128x32", "64x16"}))
        ->capture_default_str();
  }
  if (missing("--zero-skip")) {
    command.add_flag(
        "--zero-skip", common.zero_skip,
        "generate, serve, eval, bench: skip what zero gates make useless, in passes of "
        "one row; half as much memory again, the same text (squared ReLU only)");
  }
  if (missing("--kv-type")) {
    command
        .add_option(
            "--kv-type", common.kv_type,
            "Keys and values of the context as bf16, or as int8 in half the memory and less "
            "exactly")
        ->check(CLI::IsMember({"bf16", "int8"}))
        ->capture_default_str();
  }
  if (missing("--threads")) {
    command.add_option("--threads", common.threads, "Compute threads (default: physical cores)")
        ->check(CLI::Range(1, 1024));
  }
  if (missing("--numa")) {
    command.add_option("--numa", common.numa,
                       "Keep threads and memory on one NUMA node: its number, or auto for the one "
                       "with the most available memory (default: all nodes)");
  }
  if (missing("--max-isa")) {
    command.add_option("--max-isa", common.max_isa,
                       "Use no instruction set above sse4, avx2, avx512 or avx512vnni (arm64: neon "
                       "or neondot)");
  }
  if (missing("--seed")) command.add_option("--seed", common.seed, "Seed of everything random");
  if (missing("--json")) command.add_flag("--json", common.json, "Print one JSON object on stdout");
  command.parse_complete_callback([&common] { ApplyRuntimeOptions(common); });
}

// A standard stream that is closed would lend its number to the first file that is opened, and what
// is printed would go into it.
void OccupyStandardStreams() {
  for (int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    // Read-only: printing fails as on the closed stream.
    while (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDONLY) >= 0) {
    }
  }
}

int Main(int argc, char** argv) {
  OccupyStandardStreams();
  CLI::App app{"tern: ternary language models on CPUs", "tern"};
  app.require_subcommand(0, 1);  // zero: so that a wrong name is what the message is about
  app.set_version_flag("--version", VersionLine,
                       "Print version, commit and the instruction set chosen");
  CommonOptions common;
  AddBench(app, common);
  AddChat(app, common);
  AddConvert(app, common);
  AddDistill(app, common);
  AddDoctor(app, common);
  AddEval(app, common);
  AddGenerate(app, common);
  AddInfo(app, common);
  AddPretrain(app, common);
  AddPull(app, common);
  AddServe(app, common);
  AddTokenize(app, common);
  AddTrain(app, common);
  for (CLI::App* command : app.get_subcommands({})) {
    AddCommonOptions(*command, common);
    CheckNumbers(*command);
  }
  try {
    app.parse(argc, argv);
    if (app.get_subcommands().empty()) throw CLI::RequiredError("A sub-command");
    // What a pipe or a full disk did not take must not look like success.
    if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0)
      return Report("stdout: cannot write the result", kFailed);
    return 0;
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    return Report(std::string(error.what()) + "; see tern --help", kMisuse);
  } catch (const std::exception& error) {
    return Report(FailureText(error), kFailed);
  }
}

}  // namespace
}  // namespace tern

int main(int argc, char** argv) { return tern::Main(argc, argv); }
