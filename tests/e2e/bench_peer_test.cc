// `tern bench --peer` beside scripts that answer, or fail to, as llama-bench does.
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/atomic_file.h"
#include "tests/support/run_program.h"

namespace tern {
namespace {

using nlohmann::json;

// Entries as llama-bench writes them, shortened: 90 tokens in 900 ms (the first repetition does not
// count), 3 in 60 ms, 32 one by one in 320 ms, and 3 tokens behind which one is written.
constexpr const char* kEntries = R"(cat <<'END'
a fork's greeting
[
  {"model_type": "x", "n_threads": 1, "n_prompt": 90, "n_gen": 0, "avg_ns": 950000000,
   "samples_ns": [ 1000000000, 900000000 ], "samples_ts": [ 90.0, 100.0 ]},
  {"n_prompt": 3, "n_gen": 0, "avg_ns": 60000000, "avg_ts": 50.0},
  {"n_prompt": 0, "n_gen": 32, "avg_ts": 100.0},
  {"n_prompt": 3, "n_gen": 1, "avg_ts": 1.0}
]
goodbye
END)";

class BenchPeer : public testing::Test {
 protected:
  std::string Script(const char* name, const std::string& lines) {
    std::string path = dir_.Write(name, "#!/bin/sh\n" + lines + "\n");
    std::filesystem::permissions(path, std::filesystem::perms::owner_all);
    return path;
  }
  ProgramResult Run(const std::string& peer, const std::vector<std::string>& more = {}) {
    std::vector<std::string> command = {
        TERN_PROGRAM, "bench",     "--synthetic", "tiny",     "--rows", "1,3",    "--prefill",
        "90",         "--threads", "1",           "--rounds", "2",      "--peer", peer};
    command.insert(command.end(), more.begin(), more.end());
    return RunProgram(command);
  }
  void ExpectError(const std::string& peer, int status, const std::string& words,
                   const std::vector<std::string>& more = {}) {
    ExpectFailure(Run(peer, more), {words}, status);
  }
  const TempDir dir_;
};

TEST_F(BenchPeer, StandsBesideTheSameWork) {
  const std::string log = dir_ / "log";
  const std::string peer = Script("peer", "printf '%s\\n' \"$@\" >> '" + log + "'\n" + kEntries);
  const ProgramResult result = Run(peer + " -m 'a model.gguf'", {"--json"});
  ASSERT_EQ(result.status, 0) << result.err;
  const json answer = JsonOf(result);
  std::map<std::string, double> times;
  for (const json& entry : answer["peer"]) {
    times[std::to_string(entry["rows"].get<int>()) + " " + entry["tern"].get<std::string>()] =
        entry["peer_ms"];
    EXPECT_GT(entry["tern_ms"].get<double>(), 0.0);
    EXPECT_GT(entry["ratio"].get<double>(), 0.0);
  }
  const std::map<std::string, double> expected = {
      {"1 greedy", 10}, {"1 logits", 10}, {"3 greedy", 60}, {"3 hidden", 60}, {"90 prefill", 900}};
  EXPECT_EQ(times, expected);
  const std::string once =
      "-m\na model.gguf\n-t\n1\n-p\n3,90\n-n\n32\n-r\n2\n-o\njson\n";  // as llama-bench has them
  EXPECT_EQ(ReadFile(log), once + once);                               // a run a round
}

TEST_F(BenchPeer, TableSaysWhatIsCompared) {
  const ProgramResult result = Run(Script("peer", kEntries));
  ASSERT_EQ(result.status, 0) << result.err;
  for (const char* words :
       {"-p 3,90 -n 32 -r 2 -o json", "prefill", "median of peer / tern", "those of the last only"})
    EXPECT_NE(result.out.find(words), std::string::npos) << result.out;
}

TEST_F(BenchPeer, SaysWhatIsWrongWithIt) {
  ExpectError("/nowhere/llama-bench -m x", 1, "/nowhere/llama-bench: no such program");
  ExpectError(dir_ / "", 1, "cannot run");
  ExpectError(Script("fails", "echo first >&2; echo 'error: no model x' >&2; echo >&2; exit 3"), 1,
              "failed, exit status 3: error: no model x");
  ExpectError(Script("dies", "kill -9 $$"), 1, "failed, exit status 137");
  ExpectError(Script("garbage", "echo '| model | size |'"), 1,
              "expected the JSON of llama-bench, got something else");
  ExpectError(Script("half", "echo '[{\"n_prompt\": 3'"), 1, "got something else");
  ExpectError(Script("fields", "echo '[{\"n_prompt\": 3, \"n_gen\": 0}]'"), 1,
              "got something else");
  ExpectError(Script("zero", "echo '[{\"n_prompt\": 3, \"n_gen\": 0, \"avg_ns\": 0}]'"), 1,
              "got a time of");
  ExpectError(Script("nothing", "echo '[]'"), 1, "got none of the passes asked for");
  const std::string entry = R"({"n_prompt": 3, "n_gen": 0, "avg_ns": 5})";
  ExpectError(Script("twice", "echo '[" + entry + "," + entry + "]'"), 1,
              "got two entries of 3 tokens");
  ExpectError(Script("endless", "exec yes"), 1, "got too much");
  ExpectError(Script("endless_errors", "exec yes >&2"), 1, "got too much");
}

TEST_F(BenchPeer, SaysWhatItCannotRun) {
  ExpectError("x | y", 1, "expected a program and its arguments");
  ExpectError("x 'y", 1, "expected a program and its arguments");
  ExpectError("x $(y)", 1, "expected a program and its arguments");
  ExpectError("  ", 1, "expected a program and its arguments");
  ExpectError("x -p 512", 1, "-p is tern's to give");
  ExpectError("x", 2, "goes with --context 0", {"--context", "0,70"});
  ExpectError("x", 2, "goes with --context 0", {"--kv-type", "bf16,int8"});
  ExpectError("x", 2, "does not go with --against", {"--against", TERN_PROGRAM});
}

}  // namespace
}  // namespace tern
