// The options of commands that write text: how it is sampled, drafted and ended.
#ifndef TERN_TOOLS_GENERATION_FLAGS_H_
#define TERN_TOOLS_GENERATION_FLAGS_H_

#include <string>

#include "engine/generation_options.h"
#include "tools/commands.h"

namespace tern {

struct GenerationFlags {
  GenerationOptions generation;  // with the defaults
  std::string draft = "auto", cost_table;

  // What was asked for, with the seed of `common`. Throws CLI::ValidationError.
  GenerationOptions Checked(const CommonOptions& common) const;
};

// `flags` outlives the parse.
void AddGenerationOptions(CLI::App& command, GenerationFlags& flags);

}  // namespace tern

#endif  // TERN_TOOLS_GENERATION_FLAGS_H_
