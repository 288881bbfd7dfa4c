// What the sub-commands of `tern` share: registration, common options, and how they end.
//
// A sub-command is one file with one Add function, called by main:
//
//   void AddGenerate(CLI::App& app, const CommonOptions& common) {
//     auto options = std::make_shared<GenerateOptions>();
//     CLI::App* command = app.add_subcommand("generate", "Writes text from a prompt");
//     command->add_option("--max-tokens", options->max_tokens, "...");
//     command->callback([options, &common] { RunGenerate(*options, common); });
//   }
//
// Main adds the common options to every sub-command, except where the command has its own of that
// name, and puts NUMA node, threads and ISA cap into force before the callback runs. The callback
// ends normally (exit 0), throws Error or another exception (one line on stderr, exit 1), or throws
// CLI::ValidationError for options that do not go together (exit 2). stdout carries results only;
// logs go to stderr.
#ifndef TERN_TOOLS_COMMANDS_H_
#define TERN_TOOLS_COMMANDS_H_

#include <cstdint>
#include <string>

#include "engine/ggml_types.h"
#include "kernels/kv_block.h"

namespace CLI {
class App;
}

namespace tern {

// What --kv-type asks for.
inline KvType KvTypeNamed(const std::string& name) {
  return name == "int8" ? KvType::kInt8 : KvType::kBFloat16;
}

// Options every sub-command understands.
struct CommonOptions {
  std::string
      model;  // directory, file or hub name; empty: the model that ships (tools/model_path.h)
  std::string heads;                 // directory, file or "none"; empty: the heads beside the model
  std::string i2s_order = "128x32";  // of I2_S tensors of a GGUF file: 128x32 or 64x16
  std::string kv_type = "bf16";      // of the cache of keys and values: bf16 or int8
  std::string numa;                  // a node's number or "auto"; empty: all nodes
  int threads = 0;                   // 0: physical cores within CPU affinity and cgroup quota
  std::string max_isa;               // empty: the best the CPU offers
  uint64_t seed = 0;
  bool zero_skip = false;  // copies for zero skipping (engine/zero_skip.h)
  bool json = false;       // one JSON object on stdout instead of text
  KvType Kv() const { return KvTypeNamed(kv_type); }
  I2sOrder I2s() const { return i2s_order == "64x16" ? I2sOrder::k64x16 : I2sOrder::k128x32; }
};

// `common` outlives the parse and is filled in when the callback runs.
void AddBench(CLI::App& app, const CommonOptions& common);
void AddChat(CLI::App& app, const CommonOptions& common);
void AddConvert(CLI::App& app, const CommonOptions& common);
void AddDistill(CLI::App& app, const CommonOptions& common);
void AddDoctor(CLI::App& app, const CommonOptions& common);
void AddEval(CLI::App& app, const CommonOptions& common);
void AddGenerate(CLI::App& app, const CommonOptions& common);
void AddInfo(CLI::App& app, const CommonOptions& common);
void AddPretrain(CLI::App& app, const CommonOptions& common);
void AddPull(CLI::App& app, const CommonOptions& common);
void AddServe(CLI::App& app, const CommonOptions& common);
void AddTokenize(CLI::App& app, const CommonOptions& common);
void AddTrain(CLI::App& app, const CommonOptions& common);

}  // namespace tern

#endif  // TERN_TOOLS_COMMANDS_H_
