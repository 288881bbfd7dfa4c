// Which instruction set the kernels use. Chosen once per process from what the CPU offers;
// --max-isa caps it. Results are bit-identical within one target and differ within derived
// tolerances across.
#ifndef TERN_KERNELS_DISPATCH_H_
#define TERN_KERNELS_DISPATCH_H_

#include <string>
#include <string_view>
#include <vector>

namespace tern {

// Names in rising order on x86-64: "sse4", "avx2", "avx512", "avx512vnni"; on arm64: "neon",
// "neondot"; "scalar" elsewhere. Only the targets that this CPU can run are listed.
std::vector<std::string> SupportedTargets();

// The target in force.
std::string CurrentTarget();

// Caps the target. False, and no change, where `name` is unknown or this CPU cannot run it.
// Call before any kernel runs.
bool SetMaxTarget(std::string_view name);

// Whether the target in force is "neondot"; for foreach_int_target-inl.h.
bool NeonDotInForce();

}  // namespace tern

#endif  // TERN_KERNELS_DISPATCH_H_
