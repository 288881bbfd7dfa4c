#include "tools/bench_peer.h"

#include <wordexp.h>

#include <algorithm>
#include <cstdio>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "engine/error.h"
#include "engine/json_text.h"
#include "tools/child_program.h"

namespace tern {
namespace {

using Json = nlohmann::json;

constexpr int32_t kGenerated = 32;  // tokens, one by one

Error NoPeer(const std::string& program, std::string got) {
  return BadFile({program, "output", "the JSON of llama-bench", std::move(got),
                  "give --peer the llama-bench of llama.cpp or of a fork, and its model"});
}

// As a shell cuts it, but nothing is run for it.
std::vector<std::string> Words(const std::string& command) {
  wordexp_t expansion = {};
  const int code = wordexp(command.c_str(), &expansion, WRDE_NOCMD);
  std::vector<std::string> words;
  if (code == 0) words.assign(expansion.we_wordv, expansion.we_wordv + expansion.we_wordc);
  if (code == 0 || code == WRDE_NOSPACE) wordfree(&expansion);
  if (words.empty()) {
    throw InvalidArgument("--peer: expected a program and its arguments, got '" +
                          Printable(command) + "'; e.g. \"./llama-bench -m model.gguf\"");
  }
  return words;
}

// The batches that llama-bench calls prompts.
std::set<int32_t> Batches(const PeerOptions& options) {
  std::set<int32_t> batches;
  if (options.prefill > 0) batches.insert(options.prefill);
  for (const int32_t rows : options.rows)
    if (rows > 1) batches.insert(rows);
  return batches;
}

bool HasOneRow(const PeerOptions& options) {
  return std::find(options.rows.begin(), options.rows.end(), 1) != options.rows.end();
}

// Milliseconds of an entry, of all its tokens. The first repetition only warms up, as tern's does;
// who does not tell them apart gives their mean.
double Milliseconds(const Json& entry, int32_t tokens) {
  const auto samples = entry.find("samples_ns");
  if (samples != entry.end() && samples->is_array() && !samples->empty())
    return 1e-6 * samples->back().get<double>();
  if (entry.contains("avg_ns")) return 1e-6 * entry.at("avg_ns").get<double>();
  return 1e3 * tokens / entry.at("avg_ts").get<double>();
}

// llama-bench's output without the lines that some forks print around it.
std::string JsonPart(const std::string& text) {
  const size_t first = ("\n" + text).find("\n[");  // of a line, hence its place in `text`
  const size_t last = text.rfind(']');
  if (first == std::string::npos || last == std::string::npos || last < first) return "";
  return text.substr(first, last + 1 - first);
}

struct PeerTimes {
  std::map<int32_t, double> batches;  // milliseconds by rows
  double one_row = 0.0;               // 0: not measured
};

PeerTimes Parse(const std::string& program, const std::string& text) {
  try {
    const Json json = ParseJson<Json>(JsonPart(text));
    if (!json.is_array()) throw NoPeer(program, "something else");
    PeerTimes times;
    for (const Json& entry : json) {
      const int32_t prompt = entry.at("n_prompt"), generated = entry.at("n_gen");
      if ((prompt > 0) == (generated > 0)) continue;  // one behind the other
      const int32_t tokens = prompt + generated;
      double& place = prompt > 0 ? times.batches[prompt] : times.one_row;
      if (place > 0.0)
        throw NoPeer(program, "two entries of " + std::to_string(tokens) + " tokens");
      const double ms = Milliseconds(entry, tokens) / (prompt > 0 ? 1 : generated);
      if (!(ms > 0.0 && ms < 1e9)) throw NoPeer(program, "a time of " + std::to_string(ms) + " ms");
      place = ms;
    }
    return times;
  } catch (const Json::exception&) {
    throw NoPeer(program, "something else");
  }
}

// What of tern's each of these stands beside.
BenchTimes BesideTerns(const PeerTimes& times, const PeerOptions& options) {
  BenchTimes result;
  const auto add = [&](int32_t rows, const char* decides, double ms) {
    for (const bool skip : {false, true}) {
      result[{.kv_type = options.kv_type, .rows = rows, .decides = decides, .zero_skip = skip}] =
          ms;
    }
  };
  for (const auto& [rows, ms] : times.batches) {
    if (rows == options.prefill) result[{.prefill = true, .rows = rows}] = ms;
    add(rows, "hidden", ms);
    add(rows, "greedy", ms);
  }
  if (times.one_row > 0.0) {
    add(1, "greedy", times.one_row);
    add(1, "logits", times.one_row);
  }
  return result;
}

std::string TernsPart(const BenchWork& work) {
  return work.prefill ? "prefill" : work.decides + (work.zero_skip ? ", skip" : "");
}

BenchTimes RunPeer(const std::vector<std::string>& command, const PeerOptions& options) {
  const ChildOutput output = RunChild(command);
  if (output.endless) throw NoPeer(command[0], "too much of it");
  if (output.exit_status != 0)
    throw Error(Error::Kind::kInternal, command[0] + ": failed, " + output.Failure());
  return BesideTerns(Parse(command[0], output.text), options);
}

}  // namespace

std::vector<std::string> PeerCommand(const PeerOptions& options) {
  std::vector<std::string> words = Words(options.command);
  static const std::set<std::string> kOurs = {"-t", "--threads", "-p",  "--n-prompt",
                                              "-n", "--n-gen",   "-r",  "--repetitions",
                                              "-o", "--output",  "-pg", "-gp"};
  for (const std::string& word : words) {
    if (kOurs.contains(word))
      throw InvalidArgument("--peer: " + word + " is tern's to give; leave it out");
  }
  std::string batches;
  for (const int32_t rows : Batches(options))
    batches += (batches.empty() ? "" : ",") + std::to_string(rows);
  words.insert(words.end(),
               {"-t", std::to_string(options.threads), "-p", batches.empty() ? "0" : batches, "-n",
                std::to_string(HasOneRow(options) ? kGenerated : 0), "-r", "2", "-o", "json"});
  return words;
}

std::vector<Comparison> BenchPeer(const PeerOptions& options,
                                  const std::vector<std::string>& tern_arguments,
                                  const std::function<void(double)>& progress) {
  const std::vector<std::string> command = PeerCommand(options);
  const std::string here = ThisProgram();
  auto result = TakeTurns([&] { return RunTernBench(here, tern_arguments); },
                          [&] { return RunPeer(command, options); }, options.rounds, progress);
  if (result.empty()) throw NoPeer(command[0], "none of the passes asked for");
  return result;
}

void PrintPeer(const PeerOptions& options, const std::vector<Comparison>& comparisons, bool json) {
  std::string command;
  for (const std::string& word : PeerCommand(options))
    command += (command.empty() ? "" : " ") + word;
  if (json) {
    nlohmann::ordered_json peer = nlohmann::ordered_json::array();
    for (const Comparison& c : comparisons) {
      peer.push_back({{"rows", c.work.rows},
                      {"tern", TernsPart(c.work)},
                      {"peer_ms", c.there_ms},
                      {"tern_ms", c.here_ms},
                      {"ratio", c.ratio}});
    }
    std::cout << nlohmann::ordered_json{{"peer_command", command}, {"peer", peer}}.dump(2)
              << std::endl;
    return;
  }
  std::printf("peer: %s\n\n%6s  %-16s %10s %10s %8s\n", command.c_str(), "rows", "tern", "peer, ms",
              "tern, ms", "ratio");
  for (const Comparison& c : comparisons) {
    std::printf("%6d  %-16s %10.3f %10.3f %8.3f\n", c.work.rows, TernsPart(c.work).c_str(),
                c.there_ms, c.here_ms, c.ratio);
  }
  std::printf(
      "\nratio: median of peer / tern, above 1 tern is faster. The peer computes all logits of a\n"
      "single row (as tern's \"logits\"; \"greedy\" finds the most probable token), and of "
      "several\n"
      "rows those of the last only: more than tern's \"hidden\", which computes none, less than\n"
      "\"greedy\", which decides the next token of every row.\n");
}

}  // namespace tern
