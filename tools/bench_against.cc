#include "tools/bench_against.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "engine/error.h"
#include "engine/json_text.h"
#include "tools/bench_machine.h"
#include "tools/child_program.h"

namespace tern {
namespace {

using Json = nlohmann::json;

Error NoBench(const std::string& path, std::string got) {
  return BadFile({path + " bench", "output", "the JSON of tern bench", std::move(got),
                  "give the path of a tern that has this command"});
}

BenchTimes Times(const std::string& path, const std::string& text) {
  try {
    const Json json = ParseJson<Json>(text);
    BenchTimes result;
    for (const Json& pass : json.at("passes")) {
      const BenchWork work = {.context = pass.at("context"),
                              .kv_type = pass.value("kv_type", "bf16"),  // older ones: no other
                              .rows = pass.at("rows"),
                              .decides = pass.at("decides"),
                              .zero_skip = pass.value("zero_skip", false)};
      result[work] = pass.at("ms");
    }
    if (json.contains("prefill")) {
      const Json& prefill = json.at("prefill");
      const double tokens = prefill.at("tokens"), speed = prefill.at("tokens_per_second");
      result[{.prefill = true, .rows = prefill.at("tokens")}] = 1e3 * tokens / speed;
    }
    return result;
  } catch (const Json::exception&) {
    throw NoBench(path, "something else");
  }
}

}  // namespace

std::string BenchWork::Label() const {
  if (prefill) return "prefill of " + std::to_string(rows);
  return "context " + std::to_string(context) + ", " + (kv_type == "bf16" ? "" : kv_type + ", ") +
         std::to_string(rows) + " rows, " + decides + (zero_skip ? ", skip" : "");
}

std::vector<Comparison> TakeTurns(const BenchRun& here, const BenchRun& there, int32_t rounds,
                                  const std::function<void(double)>& progress) {
  struct Samples {
    std::vector<double> here, there, ratios;
  };
  std::map<BenchWork, Samples> all;
  for (int32_t round = 0; round < rounds; ++round) {
    BenchTimes mine, other;
    for (int turn = 0; turn < 2; ++turn) {
      // The other first: what is wrong with it shows at once.
      if ((round + turn) % 2 == 0) {
        other = there();
      } else {
        mine = here();
      }
      progress((2 * round + turn + 1) / (2.0 * rounds));
    }
    for (const auto& [work, ms] : mine) {
      const auto found = other.find(work);
      if (found == other.end()) continue;  // an older binary may measure less
      Samples& samples = all[work];
      samples.here.push_back(ms);
      samples.there.push_back(found->second);
      samples.ratios.push_back(found->second / ms);
    }
  }
  std::vector<Comparison> result;
  for (const auto& [work, samples] : all)
    result.push_back({work, Median(samples.here), Median(samples.there), Median(samples.ratios)});
  return result;
}

BenchTimes RunTernBench(const std::string& program, const std::vector<std::string>& arguments) {
  std::vector<std::string> command = {program, "bench"};
  command.insert(command.end(), arguments.begin(), arguments.end());
  command.insert(command.end(), {"--json", "--rounds", "1"});
  const ChildOutput output = RunChild(command);
  if (output.endless) throw NoBench(program, "more than a megabyte");
  if (output.exit_status != 0) {
    throw Error(Error::Kind::kInternal, program + " bench: failed, " + output.Failure());
  }
  return Times(program, output.text);
}

std::string ThisProgram() { return std::filesystem::read_symlink("/proc/self/exe").string(); }

std::vector<Comparison> BenchAgainst(const std::string& path,
                                     const std::vector<std::string>& arguments, int32_t rounds,
                                     const std::function<void(double)>& progress) {
  // A name without '/' is a file here, not in PATH.
  const std::string there = path.find('/') == std::string::npos ? "./" + path : path;
  const std::string here = ThisProgram();
  const auto result = TakeTurns([&] { return RunTernBench(here, arguments); },
                                [&] { return RunTernBench(there, arguments); }, rounds, progress);
  if (result.empty()) throw NoBench(path, "nothing that was measured here");
  return result;
}

}  // namespace tern
