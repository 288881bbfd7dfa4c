// The sub-commands of the `tern` program: each file registers its own. A sub-command's callback runs after
// main has applied the common options (threads, ISA cap), prints results on stdout and logs on stderr, and
// throws Error where the operation fails.
#ifndef TERN_TOOLS_COMMANDS_H_
#define TERN_TOOLS_COMMANDS_H_

#include <cstdint>
#include <string>

namespace CLI {
class App;
}

namespace tern {

// Options every sub-command understands.
struct CommonOptions {
  int threads = 0;      // 0: physical cores
  std::string max_isa;  // empty: the best the CPU offers
  uint64_t seed = 0;
  bool json = false;  // one JSON object on stdout instead of text
};

// `common` outlives the parse and is filled in when the callback runs.
void AddPretrain(CLI::App& app, const CommonOptions& common);

}  // namespace tern

#endif  // TERN_TOOLS_COMMANDS_H_
