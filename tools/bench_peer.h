// tern's passes beside those of llama.cpp's llama-bench, or of a fork's (ik_llama.cpp, bitnet.cpp).
#ifndef TERN_TOOLS_BENCH_PEER_H_
#define TERN_TOOLS_BENCH_PEER_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "tools/bench_against.h"

namespace tern {

struct PeerOptions {
  std::string command;        // "./llama-bench -m model.gguf", in words as a shell's
  std::vector<int32_t> rows;  // of passes
  int32_t prefill = 0;        // tokens; 0: none
  int32_t threads = 1, rounds = 1;
  std::string kv_type = "bf16";  // tern's
};

// The words of options.command and those that make it run the same work as tern. Throws
// kInvalidArgument where it is not a command, or has what is tern's to choose.
std::vector<std::string> PeerCommand(const PeerOptions& options);

// Runs it in turns with `tern bench TERN_ARGUMENTS --rounds 1` of this binary. llama-bench times
// one token after another with the logits of each, which stands beside tern's "greedy" and "logits"
// of one row, and a batch with the logits of its last row only, which stands beside "hidden" (less
// work: no logits) and "greedy" (more: the next token of every row). Throws kNotFound where there
// is no such program, kInternal where it fails, kBadFile where its output is not llama-bench's JSON
// or has none of the passes.
std::vector<Comparison> BenchPeer(const PeerOptions& options,
                                  const std::vector<std::string>& tern_arguments,
                                  const std::function<void(double)>& progress);

// To stdout: a table that says what is compared with what, or JSON.
void PrintPeer(const PeerOptions& options, const std::vector<Comparison>& comparisons, bool json);

}  // namespace tern

#endif  // TERN_TOOLS_BENCH_PEER_H_
