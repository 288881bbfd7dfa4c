// The options that set how tokens are sampled, for every command that generates.
#ifndef TERN_TOOLS_SAMPLING_FLAGS_H_
#define TERN_TOOLS_SAMPLING_FLAGS_H_

#include "engine/sampler.h"
#include "engine/typical_acceptance.h"

namespace CLI {
class App;
}

namespace tern {

// --temperature, --top-k, --top-p, --min-p and the penalties, written into `sampling`.
void AddSamplingOptions(CLI::App& command, SamplingOptions& sampling);

// --lossy-typical, written into `typical`.
void AddTypicalOption(CLI::App& command, TypicalAcceptance& typical);

}  // namespace tern

#endif  // TERN_TOOLS_SAMPLING_FLAGS_H_
